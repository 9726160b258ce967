"""Real images for the discriminator, with the latents they belong to where those are known."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gan3d_bench.datamodules.base import DataModule, Item, Split, open_data
from gan3d_bench.datamodules.images import ImageFolderDataset
from gan3d_bench.datamodules.rendered_arrays import (
    IMAGES,
    LATENTS,
    open_array,
    render_once,
)
from gan3d_bench.errors import UserError
from gan3d_bench.generators.stylegan2.generator import normalize_latent
from gan3d_bench.methods.stylegan2.config import DataConfig

CHUNK = 128  # heads that are rendered together


class Images(Protocol):
    """A finite set of images."""

    def __len__(self) -> int: ...

    def read(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return images (B, 3, S, S) in [-1, 1] and, where known, their latents (B, z_dim)."""
        ...


class ImageArray:
    """Images in one uint8 array (N, 3, S, S), value 127.5 (x + 1); latents in another.

    Args:
        folder: holds ``image.npy`` and, if `z_dim` is given, ``latent.npy``.
        image_size: S, checked.
        z_dim: size of the latents, checked; None leaves them unread.

    Raises:
        UserError: missing or damaged file, or another shape or type.
    """

    def __init__(self, folder: Path, image_size: int, z_dim: int | None = None) -> None:
        self.images = open_array(folder / IMAGES)
        right = self.images.shape[1:] == (3, image_size, image_size) and len(self)
        if not right or self.images.dtype != np.uint8:
            raise UserError(
                f"{folder / IMAGES}: {self.images.dtype} of shape {self.images.shape}; expected "
                f"one or more images, uint8 of shape (N, 3, {image_size}, {image_size})"
            )
        self.latents = None if z_dim is None else self._open_latents(folder / LATENTS, z_dim)

    def _open_latents(self, path: Path, z_dim: int) -> np.ndarray:
        latents, shape = open_array(path), (len(self), z_dim)
        if latents.shape != shape or latents.dtype.kind != "f" or not np.isfinite(latents).all():
            raise UserError(
                f"{path}: {latents.dtype} of shape {latents.shape}; expected rows of finite "
                f"floating-point numbers, shape {shape} (images, network.z_dim)"
            )
        return latents

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        rows = indices.numpy()
        images = torch.from_numpy(self.images[rows]).float() / 127.5 - 1
        if self.latents is None:
            return images, None
        return images, torch.from_numpy(self.latents[rows]).float()


class ModuleImages:
    """Images of a data module's train split, read when asked for.

    Args:
        data: prepared by one process already (`DataModule.prepare`).
        z_dim: size of the latents, checked; None leaves them unread.

    Raises:
        UserError: no images; on reading, one that cannot be read or latents of another size.
    """

    def __init__(self, data: DataModule, z_dim: int | None = None) -> None:
        self.items, self.z_dim = data.dataset("train"), z_dim
        self.order = list(range(len(self.items)))  # type: ignore[arg-type]
        if isinstance(self.items, ImageFolderDataset):
            # part by part of the path, the order that runs on folders have always been trained in
            self.order.sort(key=lambda index: Path(self.items.names[index]))
        self._read(0)

    def __len__(self) -> int:
        return len(self.order)

    def read(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        items = [self._read(index) for index in indices.tolist()]
        images = torch.stack([item["image"] for item in items])
        if self.z_dim is None:
            return images, None
        return images, torch.stack([item["latents"] for item in items]).float()

    def _read(self, index: int) -> Item:
        item = self.items[self.order[index]]
        if self.z_dim is not None and item["latents"].shape != (self.z_dim,):
            raise UserError(
                f"latents of {tuple(item['latents'].shape)} numbers, expected {self.z_dim} "
                "(network.z_dim)"
            )
        return item


def open_images(data: DataConfig, image_size: int, z_dim: int | None = None) -> Images:
    """Open the images of a config; a data module's must be made or looked through already.

    Args:
        data: the config's part; its path, if no module is named, has arrays or pictures.
        image_size: side of the images.
        z_dim: size of the latents every image must come with; None for images alone.

    Raises:
        UserError: nothing usable there.
    """
    module = open_module(data, image_size, z_dim)
    if module is None:
        return ImageArray(_folder(data.path, z_dim), image_size, z_dim)
    return ModuleImages(module, z_dim)


def open_module(data: DataConfig, image_size: int, z_dim: int | None = None) -> DataModule | None:
    """Open the data module of a config's images; None where they are arrays or not there yet.

    Args:
        data: the config's part.
        image_size: side of the images.
        z_dim: as in `open_images`; pictures have no latents.

    Raises:
        UserError: nothing usable there.
    """
    arrays = z_dim is not None or not data.path or (Path(data.path) / IMAGES).exists()
    if arrays and not data.name:
        return None
    counts: dict[Split, int] = {"train": data.count} if data.name else {}
    return open_data(
        data.name or "images",
        data.path,
        image_size,
        counts=counts,
        on_bad=data.on_bad,
        on_bad_key="data.on_bad",
    )


def _folder(path: str, z_dim: int | None) -> Path:
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"data.path={path}: no such folder; expected a folder of images")
    if z_dim is not None and not (folder / LATENTS).is_file():
        raise UserError(
            f"data.path={path}: no {LATENTS} in it; expected images with latents for "
            "regression.steps > 0 or adversarial.anchor > 0"
        )
    return folder


def render_heads_once(folder: Path, count: int, image_size: int, z_dim: int, seed: int) -> None:
    """Render `count` synthetic heads and the normalised latents that make them into `folder`.

    See `render_once`.
    """
    # imported here: adversarial training on a user's own images needs no head model
    from gan3d_bench.heads.sampling import render_heads, sample_heads

    rng = torch.Generator().manual_seed(seed)
    latents = normalize_latent(torch.randn(count, z_dim, generator=rng)).half()

    def draw(part: slice) -> dict[str, Tensor]:
        return {IMAGES: render_heads(sample_heads(latents[part].float()), image_size)["image"]}

    render_once(folder, latents, draw, CHUNK)


def heads_folder(root: Path, count: int, image_size: int, z_dim: int, seed: int) -> Path:
    """Return the cache folder of a set of synthetic heads."""
    key = hashlib.sha256(f"{count}/{image_size}/{z_dim}/{seed}".encode()).hexdigest()[:12]
    return root / f"heads-pairs-{image_size}-{key}"
