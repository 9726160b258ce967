"""Starting volumes as one ellipsoid.

An untrained volume is a fog: pictures are then painted on a sheet across its middle, which fits a
few cameras well enough to stay. The ellipsoid is nobody's shape and the same for all, as the weak
priors of the other methods are; with it colours begin at about the right depth.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.generators.eg3d import EG3DGenerator
from gan3d_bench.generators.stylegan2 import ops
from gan3d_bench.methods.eg3d.config import EllipsoidConfig

EMPTY = -3.0  # raw density outside: next to nothing, but not without a gradient
STEEPNESS = 3.0  # of the density inside: it is reached at a third of the way to the middle
SPREAD = 0.25  # of the points drawn about the surface, in radii


def draw_around(batch: int, config: EllipsoidConfig, box: float, rng: torch.Generator) -> Tensor:
    """Draw points (batch, 2 P, 3): half evenly in the cube of side `box`, half near the surface."""
    shape = (batch, config.points, 3)
    even = (torch.rand(shape, generator=rng) - 0.5) * box
    direction = F.normalize(torch.randn(shape, generator=rng), dim=-1)
    radius = 1 + SPREAD * torch.randn((*shape[:2], 1), generator=rng)
    return torch.cat((even, direction * radius * torch.tensor(config.axes)), 1)


def ellipsoid_density(points: Tensor, config: EllipsoidConfig) -> Tensor:
    """Raw densities (...) at points (..., 3): `config.density` inside, falling to the surface."""
    depth = 1 - (points / points.new_tensor(config.axes)).norm(dim=-1)
    return (STEEPNESS * config.density * depth).clamp(EMPTY, config.density)


def ellipsoid_loss(
    generator: EG3DGenerator, planes: Tensor, points: Tensor, config: EllipsoidConfig
) -> Tensor:
    """Mean absolute error of raw densities, in parts of that inside, ().

    Args:
        generator: whose decoder says them.
        planes: (B, 3, C, H, W).
        points: (B, P, 3) world axes, scene units.
        config: the ellipsoid.
    """
    points = points.to(planes.device)
    with ops.full_precision(planes.device):
        found = generator.synthesis.field(planes).density(points)
        return (found - ellipsoid_density(points, config)).abs().mean() / config.density
