"""A generator every teacher's user could take: mapping and synthesis."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from toy_plugin.data import discs


class DiscGenerator(nn.Module):
    """Latents (B, 1) to images of discs."""

    num_ws = 1

    def __init__(self, image_size: int = 16) -> None:
        super().__init__()
        self.image_size = image_size

    def mapping(self, z: Tensor) -> Tensor:
        return torch.sigmoid(z)

    def synthesis(self, w: Tensor) -> Tensor:
        return discs(w[:, 0], self.image_size)[0]


def load(path: Path, image_size: int | None = None) -> tuple[DiscGenerator, None]:
    """Return the generator and no discriminator; it has no weights, so `path` is not opened."""
    return DiscGenerator(image_size or 16), None
