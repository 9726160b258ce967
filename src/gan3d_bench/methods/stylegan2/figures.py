"""What stylecodes do to a generator's pictures: interpolation and style mixing."""

from __future__ import annotations

import torch
from torch import Tensor

from gan3d_bench.generators.latents import interpolated
from gan3d_bench.generators.stylegan2 import Generator
from gan3d_bench.generators.stylegan2.latents import mix_styles
from gan3d_bench.pictures.grids import Column, unit_range
from gan3d_bench.pictures.scene_sheets import Sheet

STOPS = 7  # of an interpolation


def interpolation_sheet(generator: Generator, w: Tensor) -> Sheet:
    """From each of the stylecodes (B, w_dim), two or more, to the next."""
    columns = [
        Column(f"{i / (STOPS - 1):.0%}", unit_range(generator.synthesis(codes)))
        for i, codes in enumerate(interpolated(w, STOPS).unbind(1))
    ]
    return Sheet([columns], [f"{i} to {i + 1}" for i in range(1, len(w))])


def style_sheet(generator: Generator, w: Tensor, styles: Tensor) -> Sheet:
    """Style mixing (StyleGAN, Figure 3): one picture with later and later layers of others.

    Args:
        w: (1, w_dim) what the first layers take, and all of them in the first row.
        styles: (K, w_dim) what the other layers take.
    """
    rows, ws = torch.cat((w, styles)), generator.num_ws
    first = w.expand(len(rows), -1)
    columns = [
        Column(
            f"layers {layer}+",
            unit_range(generator.synthesis(mix_styles(first, rows, layer, ws))),
        )
        for layer in range(2, ws, 2)
    ]
    style = Column("style", unit_range(generator.synthesis(rows)))
    return Sheet([[style], columns], ["1", *(f"style {i + 1}" for i in range(len(styles)))])
