"""The photo-geometric model: light a canonical surface, look at it from a view (eq. 1).

Batches are instance-major: the samples of the first instance come first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.geometry.views import View
from gan3d_bench.methods.gan2shape.config import GAN2ShapeConfig
from gan3d_bench.methods.gan2shape.factors import DEPTH_RANGE, OFFICIAL_NORMAL_EPSILON, Factors
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import WarpedView, depth_normals, warp_to_view
from gan3d_bench.rendering.shading import LambertLight, diffuse_shading, lit_texture


def mirror(maps: Tensor) -> Tensor:
    """Depth, albedo or mask maps (..., W) mirrored left to right."""
    return maps.flip(-1)


def mirror_normal(normal: Tensor) -> Tensor:
    """Normals (B, 3, H, W) of the mirrored surface."""
    return normal.flip(-1) * normal.new_tensor([-1.0, 1.0, 1.0]).view(1, 3, 1, 1)


def per_sample(maps: Tensor, samples: int) -> Tensor:
    """Repeat each instance's map for its samples: (k, ...) -> (k * samples, ...)."""
    return maps.repeat_interleave(samples, 0) if samples > 1 else maps


def sample_lights(light: LambertLight, samples: int) -> LambertLight:
    """Repeat each instance's light for its samples."""
    return LambertLight(
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
    light: LambertLight,
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


@dataclass(frozen=True)
class Renderer:
    """The photo-geometric model of a run.

    Attributes:
        camera: camera of image size S.
        supersample: sub-pixels along each axis of the rendered depth.
        half_pixel: repeat the released renderer's shift.
        normal_epsilon: added to the length of normals, as the released renderer does.
    """

    camera: PinholeCamera
    supersample: int = 2
    half_pixel: bool = False
    normal_epsilon: float = 0.0

    @classmethod
    def from_config(cls, config: GAN2ShapeConfig) -> Renderer:
        """The renderer that a run's config asks for."""
        return cls(
            PinholeCamera(config.image_size),
            config.supersample,
            config.compat.half_pixel,
            OFFICIAL_NORMAL_EPSILON if config.compat.normal_epsilon else 0.0,
        )

    def normals(self, depth: Tensor) -> Tensor:
        """Unit normals (B, 3, S, S) of canonical depth (B, 1, S, S), to the viewer."""
        return depth_normals(depth, self.camera, epsilon=self.normal_epsilon)

    def render(
        self, factors: Factors, view: View | None = None, light: LambertLight | None = None
    ) -> Reconstruction:
        """Re-render B factors at their own views and lights, or at B others (eq. 1)."""
        return photogeometric(
            factors.depth,
            factors.albedo,
            factors.normal,
            view or factors.view,
            light or factors.light,
            self.camera,
            supersample=self.supersample,
            half_pixel=self.half_pixel,
        )


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
