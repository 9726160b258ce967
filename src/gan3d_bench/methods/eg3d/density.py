"""Density regularisation: a volume's neighbouring points have similar densities."""

from __future__ import annotations

import torch
from torch import Tensor

from gan3d_bench.generators.eg3d import EG3DGenerator
from gan3d_bench.generators.stylegan2 import ops
from gan3d_bench.methods.eg3d.config import DensityConfig


def draw_points(batch: int, config: DensityConfig, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw points (batch, P, 3), evenly in a cube about the origin, and neighbours of them."""
    shape = (batch, config.density_points, 3)
    points = (torch.rand(shape, generator=rng) - 0.5) * config.density_box
    return points, points + config.density_distance * torch.randn(shape, generator=rng)


def density_loss(
    generator: EG3DGenerator, planes: Tensor, points: Tensor, neighbours: Tensor
) -> Tensor:
    """Mean absolute difference of the raw densities of points and of their neighbours, ().

    Args:
        generator: whose decoder says them.
        planes: (B, 3, C, H, W).
        points, neighbours: (B, P, 3) world axes, scene units.

    Source: "l1" in training/loss.py of NVlabs/eg3d, without weight.
    """
    with ops.full_precision(planes.device):
        field = generator.synthesis.field(planes)
        both = field.density(torch.cat((points, neighbours), 1).to(planes.device))
        here, there = both.split(points.shape[1], 1)
        return (here - there).abs().mean()
