"""Discs on black; the brighter the nearer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.utils.data import Dataset

from gan3d_bench.datamodules.base import SPLITS, DataModule, Item, Split

RADIUS = 0.7**0.5  # of a disc, in half widths of the picture


def discs(brightness: Tensor, image_size: int) -> tuple[Tensor, Tensor]:
    """Draw discs.

    Args:
        brightness: (B,) in [0, 1].
        image_size: pixels per side S.

    Returns:
        images (B, 3, S, S) in [-1, 1] and the discs' depth (B,), 0.9 to 1.1 scene units.
    """
    mask = disc_mask(image_size)
    images = (2 * brightness - 1)[:, None, None, None] * mask + (mask - 1)
    return images.expand(-1, 3, -1, -1), 1.1 - 0.2 * brightness


def disc_mask(image_size: int) -> Tensor:
    """(1, 1, S, S), 1 inside the disc."""
    x = torch.linspace(-1, 1, image_size)
    return (x[:, None].square() + x.square() < RADIUS**2).float()[None, None]


class DiscDataset(Dataset[Item]):
    """Discs of random brightness before a background at depth 1.1."""

    def __init__(self, split: Split, count: int, image_size: int, seed: int) -> None:
        rng = torch.Generator().manual_seed(3 * seed + SPLITS.index(split))
        self.images, self.depth = discs(torch.rand(count, generator=rng), image_size)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Item:
        image = self.images[index]
        inside = disc_mask(image.shape[-1])[0] > 0
        return {"image": image, "depth": torch.where(inside, self.depth[index], 1.1)}


class Discs(DataModule[DiscDataset]):
    """As many discs as are asked for; any method of the suite can learn from them."""

    def __init__(self, image_size: int, counts: Mapping[Split, int], seed: int = 0) -> None:
        super().__init__(batch_size=8, num_workers=0)
        self.image_size, self.counts, self.seed = image_size, counts, seed

    @classmethod
    def open(cls, path: str, image_size: int, *, counts: Mapping[Split, int], seed: int) -> Discs:
        return cls(image_size, counts, seed)

    def build(self, split: Split) -> DiscDataset:
        return DiscDataset(split, self.counts.get(split, 64), self.image_size, self.seed)
