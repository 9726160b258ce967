"""A generator that every method could lift: a mapping network and a synthesis network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gan3d_bench.errors import UserError
from gan3d_bench.generators import base
from toy_plugin.data import discs

MEAN = "mean.txt"


class Synthesis(nn.Module):
    """Stylecodes (B, 1), or (B, 1, 1) in W+, to images of discs as bright."""

    num_ws = 1

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size

    def forward(self, w: Tensor) -> Tensor:
        return discs(w.flatten(), self.image_size)[0]


class DiscGenerator(base.Generator):
    """Latents (B, 1) to images of discs. It has nothing to learn."""

    def __init__(self, image_size: int) -> None:
        super().__init__(z_dim=1, w_dim=1)
        self.mapping = nn.Sigmoid()
        self.synthesis = Synthesis(image_size)
        self.w_mean.fill_(0.5)
        self.w_std.fill_(0.208)

    def style_weights(self) -> list[Tensor]:
        return [torch.ones(1, 1)]


def load(path: Path, image_size: int | None = None) -> tuple[DiscGenerator, None]:
    """Return the generator, with the mean of w if one was imported to `path`; no discriminator."""
    generator = DiscGenerator(image_size or 16).eval()
    if (path / MEAN).exists():
        generator.w_mean.fill_(float((path / MEAN).read_text()))
    return generator, None


def import_file(source: Path, folder: Path) -> dict[str, Any]:
    """Import somebody's mean brightness, a number in a text file."""
    text = source.read_text(errors="replace").strip()
    if not text.replace(".", "", 1).isdecimal():
        raise UserError("expected one number")
    folder.mkdir()
    (folder / MEAN).write_text(text)
    return {"origin": "toy", "parameters": {"generator": 0, "discriminator": None}}
