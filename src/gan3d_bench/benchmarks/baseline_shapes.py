"""Shapes that know nothing of a subject: the average head, and the prior ellipsoid."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gan3d_bench.datamodules.heads import head_latents
from gan3d_bench.geometry.depth_prior import mask_extent, prior_depth
from gan3d_bench.geometry.views import View
from gan3d_bench.heads.sampling import (
    FAR,
    FIELD_OF_VIEW,
    NEAR,
    HeadParameters,
    sample_heads,
)
from gan3d_bench.rendering.shading import LambertLight
from gan3d_bench.scenes.depth_map import DepthMapScene

MEAN_HEAD = "Mean head, true view"
ELLIPSOID = "Ellipsoid, true view"
TRUE_DEPTH = "True depth"

AVERAGE_OVER = 256
"""Training heads that the average head is the mean of."""
SUMMIT, RIM = 0.91, 1.02
"""Depth of the ellipsoid, as GAN2Shape's prior has it."""


def average_head(seed: int) -> HeadParameters:
    """One head whose vertices and albedo are the means of training heads', in their mean view.

    Args:
        seed: of the heads.
    """
    heads = sample_heads(head_latents("train", range(AVERAGE_OVER), seed))
    # vertices and albedo are linear in the coefficients
    average = HeadParameters(
        *(getattr(heads, name).mean(0, keepdim=True) for name in heads.__dataclass_fields__)
    )
    still = torch.zeros_like
    return replace(average, angles=still(average.angles), translation=still(average.translation))


def as_average(heads: HeadParameters, average: HeadParameters) -> HeadParameters:
    """Heads (B) with the shape and albedo of an average one (1); views and lights are their own."""
    count = len(heads)
    return replace(
        heads,
        identity=average.identity.expand(count, -1),
        expression=average.expression.expand(count, -1),
        albedo=average.albedo.expand(count, -1),
    )


def seen_from(heads: HeadParameters, view: View) -> HeadParameters:
    """Heads (B) at other views (B)."""
    angles = torch.stack((view.yaw, view.pitch, view.roll), 1).to(heads.angles)
    return replace(heads, angles=angles, translation=view.translation.to(heads.translation))


def ellipsoid_depth(outline: Tensor, view: View) -> Tensor:
    """Depth (B, 1, S, S) at views (B) of GAN2Shape's prior.

    Args:
        outline: (B or 1, 1, S, S) masks in [0, 1] of frontal subjects, over which it is laid.
        view: B views.
    """
    count, size = len(view), outline.shape[-1]
    depth = torch.stack(
        [prior_depth(mask_extent(mask[0]), size, SUMMIT, RIM)[None] for mask in outline.cpu()]
    )
    depth = depth.to(outline).expand(count, -1, -1, -1)
    grey = torch.zeros_like(depth).expand(-1, 3, -1, -1)
    unlit = LambertLight.frontal(count, ambient=1.0, diffuse=0.0)
    scene = DepthMapScene(depth, grey, unlit, fov=FIELD_OF_VIEW, depth_range=(NEAR, FAR))
    shown = scene.render(view)
    assert shown.depth is not None
    return torch.where(shown.mask > 0, shown.depth, RIM)
