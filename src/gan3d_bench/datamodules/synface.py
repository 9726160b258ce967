"""Synface: the BFM benchmark of Unsup3D and GAN2Shape, from the folder a researcher has.

Layout (facts gan2shape, section 6): ``{train,val,test}/image/*.png`` and ``.../depth/*.png``,
whose names differ by "image" and "depth"; optionally ``.../latents/<image stem>.pt`` (GAN2Shape).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from gan3d_bench.datamodules.splits import SPLITS, Split, SplitDataModule
from gan3d_bench.errors import UserError, unknown_name

CROP = 170
NEAR, FAR = 0.9, 1.1
MAX_PIXELS = 16_000_000


class SynfaceDataset(Dataset[dict[str, Any]]):
    """Faces with 8-bit ground-truth depth.

    Items: ``image`` (3, S, S) in [-1, 1]; ``depth`` (1, S, S), 0.9 (white) to 1.1 (black, the
    background); ``name``, the image's stem; ``latent`` if a latents folder is there.

    Args:
        root: the ``synface`` folder.
        split: train, val or test.
        image_size: pixels per side after the centre crop of 170.
        limit: use only the first images, in order of their names (the paper: 500 of test).

    Raises:
        UserError: missing folder, image without a depth map, no images, unknown split.
    """

    def __init__(
        self, root: str | Path, split: Split, image_size: int = 64, *, limit: int | None = None
    ) -> None:
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        folder = Path(root) / split
        self.image_size = image_size
        if not (folder / "image").is_dir() or not (folder / "depth").is_dir():
            raise UserError(
                f"{folder}: expected the Synface layout, folders 'image' and 'depth' with PNG files"
            )
        self.images = sorted((folder / "image").glob("*.png"))[:limit]
        if not self.images:
            raise UserError(f"{folder / 'image'}: no PNG images here")
        self.depths = [
            folder / "depth" / path.name.replace("image", "depth") for path in self.images
        ]
        for image, depth in zip(self.images, self.depths, strict=True):
            if not depth.is_file():
                raise UserError(f"{image}: its depth map {depth} is missing")
        latents = folder / "latents"
        self.latents = [latents / f"{p.stem}.pt" for p in self.images] if latents.is_dir() else None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.images[index]
        depth = self._read(self.depths[index])[:1]
        item: dict[str, Any] = {
            "image": self._read(path) * 2 - 1,
            "depth": (1 - depth) * FAR + depth * NEAR,
            "name": path.stem,
        }
        if self.latents is not None:
            item["latent"] = _read_latent(self.latents[index])
        return item

    def _read(self, path: Path) -> Tensor:
        """A picture, cropped and resized: (3, S, S) in [0, 1]."""
        try:
            with Image.open(path) as image:
                width, height = image.size
                if min(width, height) < CROP or width * height > MAX_PIXELS:
                    raise UserError(
                        f"{path}: {width}x{height} pixels; expected at least {CROP}x{CROP} "
                        f"and at most {MAX_PIXELS} pixels"
                    )
                left, top = round((width - CROP) / 2), round((height - CROP) / 2)
                square = image.convert("RGB").crop((left, top, left + CROP, top + CROP))
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise UserError(f"{path}: not a readable image ({error})") from None
        small = square.resize((self.image_size, self.image_size), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255


def _read_latent(path: Path) -> Tensor:
    try:
        latent = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds on damaged files
        raise UserError(f"{path}: not a readable latent; expected a torch tensor") from error
    if not isinstance(latent, Tensor):
        raise UserError(f"{path}: expected a tensor, got {type(latent).__name__}")
    return latent.float()


class SynfaceDataModule(SplitDataModule[SynfaceDataset]):
    """The three splits of Synface; see `SynfaceDataset`.

    Raises:
        UserError: on `setup`, when the folder is not there or damaged.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        image_size: int = 64,
        batch_size: int = 32,
        num_workers: int = 0,
        test_limit: int | None = 500,
    ) -> None:
        super().__init__(batch_size, num_workers)
        self.root = Path(root)
        self.image_size = image_size
        self.test_limit = test_limit

    def build(self, split: Split) -> SynfaceDataset:
        """The data set of a split."""
        limit = self.test_limit if split == "test" else None
        return SynfaceDataset(self.root, split, self.image_size, limit=limit)
