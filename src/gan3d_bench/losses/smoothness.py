"""Smoothness of depth and shading maps."""

from __future__ import annotations

from torch import Tensor


def second_order_smoothness(x: Tensor) -> Tensor:
    """Mean absolute second differences: ``mean|dxx| + mean|dxy| + mean|dyx| + mean|dyy|``.

    One scale; each mean runs over its own size and over the batch (GAN2Shape, gan2shape/losses.py).

    Args:
        x: (B, C, H, W) with H, W >= 3.

    Returns:
        Scalar, >= 0.
    """
    dx = x.diff(dim=-1)
    dy = x.diff(dim=-2)
    mixed = dx.diff(dim=-2).abs().mean()
    return dx.diff(dim=-1).abs().mean() + 2 * mixed + dy.diff(dim=-2).abs().mean()
