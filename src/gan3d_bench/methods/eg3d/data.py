"""Real images and the cameras that took them, with the latents of those that are heads."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from gan3d_bench.assets.store import cache_dir
from gan3d_bench.datamodules.rendered_arrays import (
    IMAGES,
    LATENTS,
    is_rendered,
    open_array,
    render_once,
)
from gan3d_bench.datamodules.specs import OnBad
from gan3d_bench.datamodules.survey import look_through, require_good
from gan3d_bench.errors import UserError
from gan3d_bench.files.photographs import decode, square, to_tensor
from gan3d_bench.files.picture_sources import PictureSource, open_source
from gan3d_bench.generators.eg3d import CameraOrbit
from gan3d_bench.generators.eg3d.dataset_labels import LABELS, read_labels
from gan3d_bench.methods.eg3d.config import DataConfig
from gan3d_bench.methods.eg3d.heads import draw_latents, photographed

CAMERAS = "camera.npy"
CHUNK = 32  # heads that are rendered together


class Posed(NamedTuple):
    """Subjects and pictures of them.

    Attributes:
        images: (B, K, 3, S, S) in [-1, 1]; the first of a subject's K is its own.
        cameras: (B, K, 25) that took them.
        latents: (B, z_dim), or None where they are not known.
    """

    images: Tensor
    cameras: Tensor
    latents: Tensor | None

    def to(self, device: torch.device) -> Posed:
        """The same on another device."""
        images, cameras, latents = self
        moved = None if latents is None else latents.to(device)
        return Posed(images.to(device), cameras.to(device), moved)


class Images(Protocol):
    """A finite set of subjects.

    Attributes:
        cameras: (N, 25) that took the first picture of each.
    """

    cameras: Tensor

    def __len__(self) -> int: ...

    def read(self, indices: Tensor) -> Posed:
        """Return some of them."""
        ...


class HeadViews:
    """Heads that `RenderedHeads` has rendered.

    Args:
        folder: of its files.

    Raises:
        UserError: they are missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.images, latents, cameras = (open_array(folder / x) for x in (IMAGES, LATENTS, CAMERAS))
        self._latents = torch.from_numpy(np.array(latents)).float()
        self._cameras = torch.from_numpy(np.array(cameras))
        self.cameras = self._cameras[:, 0]

    def __len__(self) -> int:
        return len(self.cameras)

    def read(self, indices: Tensor) -> Posed:
        """See `Images.read`."""
        images = torch.from_numpy(self.images[indices.numpy()]).float() / 127.5 - 1
        return Posed(images, self._cameras[indices], self._latents[indices])


class Photographs:
    """Square pictures with the cameras of EG3D's ``dataset.json`` beside them.

    Every picture is looked at before anything uses it. They are not cropped, for a camera is that
    of the whole picture.

    Args:
        path: folder, those within it included.
        image_size: S; larger ones are reduced.
        on_bad: what is done with pictures that cannot be used.

    Raises:
        UserError: no pictures there; cameras missing, damaged or none; pictures that are damaged,
            oblong, smaller than S or without a camera.
    """

    def __init__(self, path: str, image_size: int, on_bad: OnBad) -> None:
        self.source = open_source(path, recursive=True)
        self.image_size = image_size
        labels = read_labels(Path(path) / LABELS)
        file = Path(path) / LABELS
        status = file.stat()
        state = (self.source.fingerprint(), str(file), status.st_size, status.st_mtime_ns)
        look = _Look(self.source, image_size, set(labels))
        survey = look_through(len(self.source), look, (*state, image_size, "square, labelled"))
        others = [name for name in self.source.passed_over if name != LABELS]
        require_good(survey, len(self.source), f"data.path={path}", on_bad, "data.on_bad", others)
        self.order = survey.good(len(self.source))
        self.cameras = torch.stack([labels[self.source.names[index]] for index in self.order])

    def __len__(self) -> int:
        return len(self.order)

    def read(self, indices: Tensor) -> Posed:
        """See `Images.read`."""
        images = torch.stack([self._read(index) for index in indices.tolist()])
        return Posed(images[:, None], self.cameras[indices][:, None], None)

    def _read(self, index: int) -> Tensor:
        number = self.order[index]
        picture = decode(self.source.read(number), self.source.names[number])
        return to_tensor(square(picture, self.image_size))


class _Look:
    """Finds what is wrong with a picture."""

    def __init__(self, source: PictureSource, image_size: int, labelled: set[str]) -> None:
        self.source, self.image_size, self.labelled = source, image_size, labelled

    def __call__(self, index: int) -> None:
        name = self.source.names[index]
        width, height = decode(self.source.read(index), name).size
        if width != height or width < self.image_size:
            raise UserError(
                f"{name!r}: {width} x {height} pixels; expected a square of at least "
                f"{self.image_size}, which its camera is for"
            )
        if name not in self.labelled:
            raise UserError(f"{name!r}: no camera in {LABELS}")


@dataclass(frozen=True)
class RenderedHeads:
    """Synthetic heads as each of their cameras sees them, in the cache folder.

    Attributes:
        data: how many, of how many cameras.
        orbit: where the cameras are.
        image_size: S.
        z_dim: length of the latents.
        seed: of heads and cameras.
    """

    data: DataConfig
    orbit: CameraOrbit
    image_size: int
    z_dim: int
    seed: int

    @property
    def folder(self) -> Path:
        """Where they are, or will be."""
        count, views, spread = self.data.count, self.data.views, self.data.spread
        state = (count, views, spread, self.orbit, self.image_size, self.z_dim, self.seed)
        digest = hashlib.sha256(repr(state).encode()).hexdigest()[:12]
        return cache_dir() / f"heads-views-{self.image_size}-{digest}"

    @property
    def there(self) -> bool:
        """Whether the whole set is."""
        return is_rendered(self.folder)

    def render(self) -> None:
        """Render what is missing, see `render_once`."""
        if self.there:
            return
        data, rng = self.data, torch.Generator().manual_seed(self.seed)
        latents, views = draw_latents(data.count, self.z_dim, data.views, data.spread, rng)
        latents = latents.half()  # as stored: the pictures are of these

        def draw(part: slice) -> dict[str, Tensor]:
            known = latents[part].float(), views[part]
            images, cameras = photographed(*known, self.orbit, self.image_size)
            return {IMAGES: images, CAMERAS: cameras}

        render_once(self.folder, latents, draw, CHUNK)
