"""The losses of the UV generator (section 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor

from gan3d_bench.losses.perceptual import PerceptualLoss


def photometric(target: Tensor, rendered: Tensor, mask: Tensor) -> Tensor:
    """Squared differences, summed over colours, weighted, by the number of valid pixels (Eq. 5).

    Args:
        target, rendered: (B, 3, H, W) in [-1, 1].
        mask: (B, 1, H, W) weights; pixels above 0 are valid.

    Returns:
        (), the mean over all valid pixels of the batch; 0 where there are none.
    """
    error = (target - rendered).square().sum(1, keepdim=True) * mask
    return error.sum() / (mask > 0).sum().clamp(min=1)


def reconstruction(
    target: Tensor,
    rendered: Tensor,
    mask: Tensor,
    perceptual: PerceptualLoss | None,
    weight: float,
) -> Tensor:
    """``L_rec = L_photo + weight L_percept`` (Eqs. 3 and 4), ().

    Args:
        target, rendered, mask: as `photometric`.
        perceptual: compares the pictures times the mask; None: nothing but colours.
        weight: of the perceptual part, lambda_percept.
    """
    loss = photometric(target, rendered, mask)
    if perceptual is None or weight == 0:
        return loss
    return loss + weight * perceptual(rendered * mask, target * mask).mean()


def roughness(values: Tensor, where: Tensor | None = None) -> Tensor:
    """Mean squared difference of neighbouring texels, ().

    Args:
        values: (B, C, h, w).
        where: (B, 1, h, w) bool; only pairs with one of these texels count. None: all.
    """
    total, count = values.new_zeros(()), values.new_zeros(())
    for axis in (2, 3):
        difference = values.diff(dim=axis).square().mean(1, keepdim=True)
        if where is None:
            weight = torch.ones_like(difference)
        else:
            length = where.shape[axis] - 1
            either = where.narrow(axis, 0, length) | where.narrow(axis, 1, length)
            weight = either.to(difference)
        total, count = total + (difference * weight).sum(), count + weight.sum()
    return total / count.clamp(min=1)
