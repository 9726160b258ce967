"""The loss of the warm start that no other part of the suite has."""

from __future__ import annotations

from torch import Tensor


def edge_loss(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference between the finite differences of `x` and `y` (B, 3, H, W)."""
    difference = x - y
    return difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()
