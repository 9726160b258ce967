"""Losses between a predicted depth map and the true one."""

from __future__ import annotations

import torch
from torch import Tensor


def depth_losses(depth: Tensor, target: Tensor, mask: Tensor, unit: float) -> dict[str, Tensor]:
    """Return the terms of the loss, unweighted.

    Args:
        depth, target: (B, 1, H, W), positive, scene units.
        mask: (B, 1, H, W) of 0 and 1, the subject.
        unit: depth difference that counts as 1, scene units.

    Returns:
        ``absolute``: mean absolute error over all pixels. ``scale_invariant``: standard deviation
        of the log error over the subject, mean over images (SIDE as a loss). ``gradient``: mean
        absolute difference of the log depths' slopes per pixel, over neighbours that both lie on
        the subject (Eigen and Fergus 2015).
    """
    error = (depth.log() - target.log()) / unit
    mean = _mean(error, mask)[:, None, None, None]
    # a root of zero has no gradient
    deviation = (_mean((error - mean).square(), mask) + 1e-8).sqrt()
    right, right_mask = error.diff(dim=3), mask[..., 1:] * mask[..., :-1]
    down, down_mask = error.diff(dim=2), mask[..., 1:, :] * mask[..., :-1, :]
    slopes = _mean(right.abs(), right_mask) + _mean(down.abs(), down_mask)
    return {
        "absolute": (depth - target).abs().mean() / unit,
        "scale_invariant": deviation.mean(),
        "gradient": slopes.mean(),
    }


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum(dim=(1, 2, 3)) / torch.clamp(mask.sum(dim=(1, 2, 3)), min=1)
