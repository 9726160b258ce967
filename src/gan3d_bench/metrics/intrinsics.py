"""Albedo and normals of a reconstruction against the true ones."""

from __future__ import annotations

import torch
from torch import Tensor

from gan3d_bench.metrics.instances import InstanceMean, masked_mean


def scale_invariant_albedo_error(albedo: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Root mean square albedo error per image after the best scale of each channel.

    With a and t the albedo in [0, 1], each sum over the mask, and per image and channel::

        s = sum(a t) / sum(a^2)        error = sqrt(mean over channels and mask of (s a - t)^2)

    The scale-invariant error of Grosse et al. 2009 (Ground truth dataset and baseline evaluations
    for intrinsic image algorithms), over the whole mask instead of windows; the scale is of each
    channel, as the colour of the light and that of the albedo cannot be told apart.

    Args:
        albedo, target: (B, 3, H, W) in [-1, 1].
        mask: (B, 1, H, W) in [0, 1].

    Returns:
        (B,) in [0, 1], in units of the albedo's range; a black prediction gets the root mean
        square of the target. NaN where the mask is empty.
    """
    a, t = ((x.double() + 1) / 2 for x in (albedo, target))
    inside = mask.double()
    power = (inside * a.square()).sum((2, 3), keepdim=True)
    scale = (inside * a * t).sum((2, 3), keepdim=True) / power.clamp(min=1e-12)
    return masked_mean((scale * a - t).square(), inside).sqrt().float()


def normal_angle(normal: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean angle between two normal maps over the mask, per image.

    Args:
        normal, target: (B, 3, H, W), any length but zero inside the mask.
        mask: (B, 1, H, W) in [0, 1].

    Returns:
        (B,) degrees in [0, 180], exact also near 0; NaN where the mask is empty.
    """
    a, b = normal.float(), target.float()
    # the arc cosine loses half of the digits near 0
    sine = torch.linalg.vector_norm(torch.linalg.cross(a, b, dim=1), dim=1, keepdim=True)
    angle = torch.atan2(sine, (a * b).sum(1, keepdim=True))
    return masked_mean(angle.rad2deg(), mask)


class AlbedoError(InstanceMean):
    """Scale-invariant albedo error, averaged over images; 0 is perfect.

    See `scale_invariant_albedo_error`.
    """

    higher_is_better = False

    def instances(self, albedo: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Return the error per image, (B,); NaN where the mask is empty."""
        return scale_invariant_albedo_error(albedo, target, mask)

    def update(self, albedo: Tensor, target: Tensor, mask: Tensor) -> None:
        """Add a batch: albedo (B, 3, H, W) in [-1, 1], predicted and true; mask (B, 1, H, W)."""
        super().update(self.instances(albedo, target, mask))


class NormalError(InstanceMean):
    """Mean angle between rendered and true normals in degrees, averaged over images.

    MAD without the detour through depth maps: for scenes that render normals. 0 is perfect.
    """

    higher_is_better = False

    def instances(self, normal: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Return the mean angle per image in degrees, (B,); NaN where the mask is empty."""
        return normal_angle(normal, target, mask)

    def update(self, normal: Tensor, target: Tensor, mask: Tensor) -> None:
        """Add a batch: normals (B, 3, H, W), predicted and true; mask (B, 1, H, W) in [0, 1]."""
        super().update(self.instances(normal, target, mask))
