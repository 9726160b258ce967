"""Cameras round an object, and reproducible noise, for the tests of `stylegan-r`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gan3d_bench.methods.stylegan_r.cameras import Orbit


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def orbit(azimuth: list[float], elevation: float = 0.0, log_distance: float = 0.0) -> Orbit:
    """B cameras; angles in degrees."""
    angles = torch.tensor(azimuth).deg2rad()
    others = torch.ones_like(angles)
    return Orbit(angles, math.radians(elevation) * others, log_distance * others)
