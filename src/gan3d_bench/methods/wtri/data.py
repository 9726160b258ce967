"""Pictures and EG3D's cameras that took them: synthetic heads, or a folder with dataset.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from gan3d_bench.datamodules.base import DataModule, Item, Split, open_data
from gan3d_bench.datamodules.images import ImageFolderDataset
from gan3d_bench.errors import UserError
from gan3d_bench.generators.eg3d.cameras import CameraOrbit
from gan3d_bench.generators.eg3d.dataset_labels import LABELS, read_labels
from gan3d_bench.geometry.views import View
from gan3d_bench.heads.sampling import CENTRE_DEPTH
from gan3d_bench.methods.wtri.config import IMAGES, DataConfig


def head_cameras(orbit: CameraOrbit, angles: Tensor, translation: Tensor) -> Tensor:
    """Labels (B, 25) of the cameras that see heads where they are.

    A head's centre becomes the orbit's pivot, and lengths are scaled by their depths, so that
    nothing moves in the picture. The focal length is the orbit's: that of a generator of heads is
    the heads' own.

    Args:
        orbit: of the generator.
        angles: (B, 3) yaw, pitch and roll in degrees.
        translation: (B, 3) in the heads' scene units.
    """
    scale = orbit.centre_depth / CENTRE_DEPTH
    yaw, pitch, roll = angles.unbind(1)
    shift = translation * scale
    return orbit.labels(View.from_angles(yaw, pitch, roll, shift, centre_depth=orbit.centre_depth))


class PosedPictures:
    """Pictures with cameras, of any split.

    Args:
        config: where they come from.
        image_size: S.
        orbit: of the generator.

    Raises:
        UserError: nothing usable there.
    """

    def __init__(self, config: DataConfig, image_size: int, orbit: CameraOrbit) -> None:
        self.config, self.orbit = config, orbit
        counts: dict[Split, int] = {"train": config.train, "val": config.val}
        self.module: DataModule = open_data(
            config.name,
            config.path,
            image_size,
            counts=counts,
            seed=config.seed,
            on_bad=config.on_bad,
            on_bad_key="data.on_bad",
        )

    @cached_property
    def _labels(self) -> Mapping[str, Tensor]:
        return read_labels(Path(self.config.path) / LABELS)

    def prepare(self) -> None:
        """Render the heads that the cache lacks, or look through pictures and labels.

        Raises:
            UserError: a picture cannot be read, or has no camera.
        """
        for split in ("train", "val"):
            self.module.prepare(split)
        if self.config.name == IMAGES:
            for split in ("train", "val"):
                self._require_posed(self.module.dataset(split))  # type: ignore[arg-type]

    def _require_posed(self, data: ImageFolderDataset) -> None:
        for name, number in zip(data.names, data.indices, strict=True):
            self._label(name)
            # whole pictures have been decoded before; their headers tell their sizes
            width, height = Image.open(BytesIO(data.source.read(number))).size
            if width != height:
                raise UserError(
                    f"data.path={self.config.path}: {name!r} has {width} x {height} pixels, "
                    "expected a square, which its camera is for"
                )

    def count(self, split: Split) -> int:
        """Pictures of a split."""
        return len(self.module.dataset(split))

    def read(self, split: Split, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, S, S) in [-1, 1] and cameras (B, 25) of a split that is prepared."""
        data = self.module.dataset(split)
        return self._stack([data[number] for number in numbers])

    def shown(self, count: int) -> tuple[Tensor, Tensor]:
        """The first pictures to show, and their cameras; nothing has to be prepared."""
        return self._stack(self.module.read("val", range(count)))

    def _stack(self, items: Sequence[Item]) -> tuple[Tensor, Tensor]:
        images = torch.stack([item["image"] for item in items])
        if self.config.name == IMAGES:
            return images, torch.stack([self._label(item["name"]) for item in items])
        angles, translation = (
            torch.stack([item[key] for item in items]) for key in ("angles", "translation")
        )
        return images, head_cameras(self.orbit, angles, translation)

    def _label(self, name: str) -> Tensor:
        label = self._labels.get(Path(name).as_posix())
        if label is None:
            raise UserError(f"data.path={self.config.path}: {LABELS} has no camera of {name!r}")
        return label
