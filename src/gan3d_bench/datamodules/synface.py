"""Synface: the BFM benchmark of Unsup3D and GAN2Shape, from the folder a researcher has.

Layout, as the data loaders of the released codes read it (Unsup3D: ``dataloaders.py``; GAN2Shape:
``gan2shape/dataset.py``): ``{train,val,test}/image/*.png`` and ``.../depth/*.png``, whose names
differ by "image" and "depth"; optionally ``.../latents/<image stem>.pt`` (GAN2Shape).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from gan3d_bench.config import require
from gan3d_bench.datamodules.base import (
    SPLITS,
    DataModule,
    Item,
    Split,
    require_counts,
    require_items,
)
from gan3d_bench.datamodules.survey import look_through, require_good
from gan3d_bench.errors import UserError, unknown_name
from gan3d_bench.files.photographs import centre, read_depth_map, read_picture, to_tensor
from gan3d_bench.files.picture_sources import PictureFiles
from gan3d_bench.files.weights import read_torch

CROP = 170
NEAR, FAR = 0.9, 1.1


class SynfaceDataset(Dataset[dict[str, Any]]):
    """Faces with ground-truth depth.

    Items: ``image`` (3, S, S) in [-1, 1]; ``depth`` (1, S, S), 0.9 (white) to 1.1 (black, the
    background); ``name``, the image's stem; ``latent`` if a latents folder is there.

    Args:
        root: the ``synface`` folder.
        split: train, val or test.
        image_size: pixels per side after the centre crop of 170.
        limit: use only the first images, in order of their names (the paper: 500 of test).
        bad: names of images that are left out.

    Raises:
        UserError: missing folder, no images, unknown split; on reading, a damaged image or one
            without a depth map.
    """

    def __init__(
        self,
        root: str | Path,
        split: Split,
        image_size: int = 64,
        *,
        limit: int | None = None,
        bad: Collection[str] = (),
    ) -> None:
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        folder = Path(root) / split
        self.image_size = image_size
        if not (folder / "image").is_dir() or not (folder / "depth").is_dir():
            raise UserError(
                f"{folder}: expected the Synface layout, folders 'image' and 'depth' with PNG files"
            )
        found = (folder / "image").glob("[!.]*.png")
        self.images = [path for path in sorted(found)[:limit] if path.name not in bad]
        if not self.images:
            raise UserError(f"{folder / 'image'}: no PNG images here")
        self.depths = [
            folder / "depth" / path.name.replace("image", "depth") for path in self.images
        ]
        latents = folder / "latents"
        self.latents = [latents / f"{p.stem}.pt" for p in self.images] if latents.is_dir() else None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.images[index]
        if not self.depths[index].is_file():
            raise UserError(f"{path}: its depth map {self.depths[index]} is missing")
        image = self._values(read_picture(path), path).permute(2, 0, 1)
        depth = self._values(read_depth_map(self.depths[index]), self.depths[index])[None]
        item: dict[str, Any] = {
            "image": image * 2 - 1,
            "depth": (1 - depth) * FAR + depth * NEAR,
            "name": path.stem,
        }
        if self.latents is not None:
            item["latent"] = _read_latent(self.latents[index])
        return item

    def _values(self, picture: Image.Image, path: Path) -> Tensor:
        """A picture, cropped and resized: (S, S) or (S, S, 3) in [0, 1]."""
        width, height = picture.size
        if min(width, height) < CROP:
            raise UserError(
                f"{path}: {width}x{height} pixels; expected at least {CROP}x{CROP} pixels"
            )
        left, top = round((width - CROP) / 2), round((height - CROP) / 2)
        square = picture.crop((left, top, left + CROP, top + CROP))
        small = square.resize((self.image_size, self.image_size), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(small)).float() / 255


def _read_latent(path: Path) -> Tensor:
    try:
        latent = read_torch(path, "a torch tensor")
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    if not isinstance(latent, Tensor):
        raise UserError(f"{path}: expected a tensor, got {type(latent).__name__}")
    return latent.float()


class SynfaceDataModule(DataModule[SynfaceDataset]):
    """The three splits of Synface; see `SynfaceDataset`.

    Args:
        root: the ``synface`` folder.
        image_size: S.
        batch_size: images a batch.
        num_workers: worker processes of each loader.
        train_limit, val_limit, test_limit: use only the first images of a split; None: all.

    Raises:
        UserError: a setting out of range; on `setup`, when the folder is not there or damaged.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        image_size: int = 64,
        batch_size: int = 32,
        num_workers: int = 0,
        train_limit: int | None = None,
        val_limit: int | None = None,
        test_limit: int | None = 500,
    ) -> None:
        super().__init__(batch_size, num_workers)
        require("image_size", image_size, least=8, most=2048)
        require_counts(1, train_limit=train_limit, val_limit=val_limit, test_limit=test_limit)
        self.root = Path(root)
        self.image_size = image_size
        self.limits: dict[Split, int | None] = {
            "train": train_limit,
            "val": val_limit,
            "test": test_limit,
        }

    @classmethod
    def open(
        cls, path: str, image_size: int, *, counts: Mapping[Split, int], seed: int
    ) -> SynfaceDataModule:
        """See `DataModule.open`; nothing is drawn."""
        limits: dict[str, Any] = {f"{split}_limit": count for split, count in counts.items()}
        return cls(path, image_size=image_size, **limits)

    def build(self, split: Split) -> SynfaceDataset:
        """The data set of a split, of the images that can be used."""
        return self._good(split, self.limits[split])

    def prepare(self, split: Split) -> None:
        """Look through images, depth maps and latents, unless the cache knows them."""
        self.dataset(split)

    def read(self, split: Split, numbers: Sequence[int]) -> list[Item]:
        """Images by number, whatever the limits, with their ``original``: the centred square.

        Only these are looked at, or all where bad ones are skipped, which then have no number.
        """
        skips = self.on_bad == "skip"
        data = self._good(split) if skips else SynfaceDataset(self.root, split, self.image_size)
        require_items(numbers, len(data), f"{str(self.root / split)!r}", "images")
        return [
            {**data[number], "original": to_tensor(centre(read_picture(data.images[number])))}
            for number in numbers
        ]

    def _good(self, split: Split, limit: int | None = None) -> SynfaceDataset:
        """A split that is looked through, without its bad images."""
        whole = SynfaceDataset(self.root, split, self.image_size, limit=limit)
        files = [*whole.images, *whole.depths, *(whole.latents or ())]
        state = PictureFiles([path.name for path in files], files).fingerprint()
        survey = look_through(
            len(whole), _Look(whole), ("synface", self.image_size, state), workers=self.num_workers
        )
        where = repr(str(self.root / split))
        require_good(survey, len(whole), where, self.on_bad, self.on_bad_key)
        bad = [whole.images[index].name for index in survey.bad]
        return SynfaceDataset(self.root, split, self.image_size, limit=limit, bad=bad)


class _Look:
    """Reads an item, to see whether it can be used."""

    def __init__(self, data: SynfaceDataset) -> None:
        self.data = data

    def __call__(self, index: int) -> None:
        self.data[index]
