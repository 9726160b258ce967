"""Discs on black; the brighter the nearer."""

from __future__ import annotations

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

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


class Discs(L.LightningDataModule):
    """Discs of random brightness as batches (images, depth)."""

    def __init__(self, image_size: int = 16, batch_size: int = 8, count: int = 64) -> None:
        super().__init__()
        self.image_size, self.batch_size, self.count = image_size, batch_size, count

    def test_dataloader(self) -> DataLoader:
        brightness = torch.rand(self.count, generator=torch.Generator().manual_seed(1))
        return DataLoader(TensorDataset(*discs(brightness, self.image_size)), self.batch_size)
