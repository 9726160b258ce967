"""The photo-geometric model and the losses of the three steps (paper eq. 1-3; facts, section 4).

Everything here runs in float32. Batches are instance-major; every loss is the mean over instances
of the loss the instance would have alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.geometry.views import View
from gan3d_bench.losses.perceptual import FeatureExtractor
from gan3d_bench.losses.photometric import masked_l1, masked_mean
from gan3d_bench.losses.smoothness import second_order_smoothness
from gan3d_bench.methods.gan2shape.factors import DEPTH_RANGE
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import WarpedView, warp_to_view
from gan3d_bench.rendering.shading import Light, diffuse_shading, lit_texture

DISCRIMINATOR_BLOCKS = 4


def mirror(maps: Tensor) -> Tensor:
    """Depth, albedo or mask maps (..., W) mirrored left to right."""
    return maps.flip(-1)


def mirror_normal(normal: Tensor) -> Tensor:
    """Normals (B, 3, H, W) of the mirrored surface."""
    return normal.flip(-1) * normal.new_tensor([-1.0, 1.0, 1.0]).view(1, 3, 1, 1)


def per_sample(maps: Tensor, samples: int) -> Tensor:
    """Repeat each instance's map for its samples: (k, ...) -> (k * samples, ...)."""
    return maps.repeat_interleave(samples, 0) if samples > 1 else maps


def sample_lights(light: Light, samples: int) -> Light:
    """Repeat each instance's light for its samples."""
    return Light(
        per_sample(light.ambient, samples),
        per_sample(light.diffuse, samples),
        per_sample(light.direction, samples),
    )


@dataclass(frozen=True)
class Reconstruction:
    """A re-rendered batch.

    Attributes:
        image: (B, 3, S, S) in [-1, 1].
        mask: (B, 1, S, S) 1 where the surface was seen.
        warp: the warp behind it (rendered depth, sampling grid).
        diffuse: (B, 1, S, S) diffuse shading of the canonical surface.
    """

    image: Tensor
    mask: Tensor
    warp: WarpedView
    diffuse: Tensor


def photogeometric(
    depth: Tensor,
    albedo: Tensor,
    normal: Tensor,
    view: View,
    light: Light,
    camera: PinholeCamera,
    *,
    supersample: int = 2,
    half_pixel: bool = False,
) -> Reconstruction:
    """Light the canonical surface and look at it from the views (eq. 1).

    Args:
        depth: (B, 1, S, S) canonical depth.
        albedo: (B, 3, S, S).
        normal: (B, 3, S, S) of `depth`.
        view, light: B views and lights.
        camera: camera of image size S.
        supersample: sub-pixels along each axis of the rendered depth.
        half_pixel: repeat the released renderer's shift.
    """
    diffuse = diffuse_shading(normal, light.direction)
    ambient, weight = (x[:, None, None, None] for x in (light.ambient, light.diffuse))
    texture = lit_texture(albedo, ambient + weight * diffuse)
    warp = warp_to_view(
        texture,
        depth,
        view,
        camera,
        supersample=supersample,
        depth_range=DEPTH_RANGE,
        compat_half_pixel=half_pixel,
    )
    return Reconstruction(warp.image.clamp(-1, 1), warp.mask, warp, diffuse)


def surface_mask(mask: Tensor | None, warp: WarpedView) -> Tensor:
    """Canonical mask (B, 1, S, S), or all ones for None, seen through a warp: nearest pixel.

    Pixels that look past the canonical image are 0 either way.
    """
    if mask is None:
        mask = torch.ones_like(warp.mask[:1])
    grid = warp.grid.detach()
    return F.grid_sample(
        mask.expand(len(grid), -1, -1, -1), grid, "nearest", "zeros", align_corners=True
    )


def image_loss(
    image: Tensor,
    target: Tensor,
    mask: Tensor,
    distance: Callable[[Tensor, Tensor], Tensor] | None,
    weight: float,
    instances: int,
) -> tuple[Tensor, Tensor]:
    """Masked L1 and weighted perceptual distance, each averaged over instances.

    Args:
        image, target: (instances * m, 3, S, S).
        mask: (instances * m, 1, S, S).
        distance: of images and masks, the perceptual distance (instances * m,) from `target`; None
            leaves the second term out (zero).
        weight: of the perceptual term.
        instances: number of consecutive blocks.
    """
    l1 = masked_l1(image, target, mask, instances).mean()
    if distance is None or weight == 0:
        return l1, l1.new_zeros(())
    return l1, weight * distance(image, mask).mean()


def smoothness(depth: Tensor, diffuse: Tensor) -> Tensor:
    """Second-order smoothness of depth and diffuse shading (the paper has depth only)."""
    return second_order_smoothness(depth) + second_order_smoothness(diffuse)


def discriminator_distance(
    image: Tensor,
    target: Tensor,
    mask: Tensor,
    discriminator: FeatureExtractor,
    instances: int = 1,
) -> Tensor:
    """L1 between discriminator activations of the first four blocks (Pan et al. 2020).

    Args:
        image: (instances * m, 3, S, S); gradients flow to it.
        target: the same shape; none flow to it.
        mask: (instances * m, 1, S, S), average-pooled to each activation's size.
        discriminator: the teacher's, frozen.
        instances: number of consecutive blocks.

    Returns:
        (instances,).
    """
    with torch.no_grad():
        real = discriminator.features(target, DISCRIMINATOR_BLOCKS)
    fake = discriminator.features(image, DISCRIMINATOR_BLOCKS)
    terms = [
        masked_mean(
            (f.float() - r.float()).abs(),
            F.adaptive_avg_pool2d(mask, (f.shape[-2], f.shape[-1])),
            instances,
        )
        for f, r in zip(fake, real, strict=True)
    ]
    return torch.stack(terms).sum(0)
