"""Photometric losses over a mask."""

from __future__ import annotations

from torch import Tensor

EPSILON = 1e-7


def masked_mean(values: Tensor, mask: Tensor, groups: int = 1) -> Tensor:
    """Mean of `values` over a mask: ``sum(values * mask) / sum(mask)``, over equal groups.

    Args:
        values: (N, C, H, W).
        mask: (N, 1, H, W) in [0, 1], expanded over the channels.
        groups: the batch is split into this many consecutive blocks of N / groups images, each
            with a mean of its own (one block an instance).

    Returns:
        (groups,). A block whose mask is empty gives 0.
    """
    channels = values.shape[1]
    total = (values * mask).reshape(groups, -1).sum(1)
    return total / (mask.reshape(groups, -1).sum(1) * channels).clamp(min=EPSILON)


def masked_l1(prediction: Tensor, target: Tensor, mask: Tensor, groups: int = 1) -> Tensor:
    """``sum(|prediction - target| mask) / sum(mask)`` of each group; see `masked_mean`.

    Args:
        prediction, target: (N, C, H, W).
        mask: (N, 1, H, W) in [0, 1].
        groups: number of consecutive blocks.

    Returns:
        (groups,).
    """
    return masked_mean((prediction - target).abs(), mask, groups)


def edge_loss(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference between the finite differences of `x` and `y` (B, 3, H, W)."""
    difference = x - y
    return difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()
