"""From raw network outputs to the four factors: depth, albedo, view, light.

Raw outputs keep the released code's units and signs, so that official checkpoints and statistics
fit; the results follow this suite's conventions (paper, A.2.1; released gan2shape/model.py and
renderer.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gan3d_bench.geometry.views import View
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import depth_normals
from gan3d_bench.rendering.shading import LambertLight

DEPTH_RANGE = (0.9, 1.1)
BORDER_DEPTH = 0.7 * 1.1 + 0.3 * 0.9
# The released code blends with 1.02, slightly beyond the border depth; Unsup3D with 1.
BORDER_WEIGHT = 1.02
BORDER_COLUMNS = 2
ROTATION_RANGE = 60.0  # degrees
TRANSLATION_RANGE = 0.1  # scene units, x and y; z does not move
OFFICIAL_NORMAL_EPSILON = 1e-7


def depth_from_raw(raw: Tensor) -> Tensor:
    """Raw depth (B, 1, H, W) to scene units in [0.9, 1.1]: centred, tanh, scaled."""
    near, far = DEPTH_RANGE
    squeezed = torch.tanh(raw - raw.mean((1, 2, 3), keepdim=True))
    return (1 + squeezed) / 2 * far + (1 - squeezed) / 2 * near


def clamp_border(depth: Tensor) -> Tensor:
    """Pull the first and last two columns of a depth map (B, 1, H, W) to about 1.04."""
    inner = depth[..., BORDER_COLUMNS:-BORDER_COLUMNS]
    left, right = (
        (1 - BORDER_WEIGHT) * side + BORDER_WEIGHT * BORDER_DEPTH
        for side in (depth[..., :BORDER_COLUMNS], depth[..., -BORDER_COLUMNS:])
    )
    return torch.cat((left, inner, right), -1)


def view_from_raw(raw: Tensor) -> View:
    """Raw views (B, 6), mean added: angles of +-60 degrees, shifts of +-0.1, no z shift."""
    angles = raw[:, :3] * math.radians(ROTATION_RANGE)
    shift = raw[:, 3:5] * TRANSLATION_RANGE
    return View.from_gan2shape(torch.cat((angles, shift, torch.zeros_like(shift[:, :1])), 1))


def mirror_raw_pose(raw: Tensor) -> Tensor:
    """Raw views and lights (..., 10) of mirrored images: yaw, roll, horizontal shift and horizontal
    slope of the light change sign."""
    view, light = (1.0, -1.0, -1.0, -1.0, 1.0, 1.0), (1.0, 1.0, -1.0, 1.0)
    return raw * raw.new_tensor((*view, *light))


def light_from_raw(raw: Tensor) -> LambertLight:
    """Raw lights (B, 4), mean added: ambient, diffuse (both x / 2 + 0.5), slopes x and y."""
    ambient, diffuse, x, y = raw.unbind(1)
    return LambertLight.from_slopes(ambient / 2 + 0.5, diffuse / 2 + 0.5, x, y)


def light_to_raw(light: LambertLight) -> Tensor:
    """The inverse of `light_from_raw`: B lights to (B, 4)."""
    x, y = (light.direction[:, :2] / light.direction[:, 2:]).unbind(1)
    return torch.stack((2 * light.ambient - 1, 2 * light.diffuse - 1, x, y), 1)


def select_light(light: LambertLight, index: Tensor | slice) -> LambertLight:
    """Choose lights of a batch."""
    return LambertLight(light.ambient[index], light.diffuse[index], light.direction[index])


@dataclass(frozen=True)
class Factors:
    """What the networks say about B images.

    Attributes:
        depth: (B, 1, S, S) canonical depth, border step done, scene units.
        albedo: (B, 3, S, S) in [-1, 1].
        normal: (B, 3, S, S) unit normals of `depth`, to the viewer.
        view: B views of the input images.
        light: B lights of the input images.
    """

    depth: Tensor
    albedo: Tensor
    normal: Tensor
    view: View
    light: LambertLight

    @classmethod
    def from_raw(
        cls, depth: Tensor, albedo: Tensor, view: Tensor, light: Tensor, *,
        camera: PinholeCamera, normal_epsilon: float = 0.0,
    ) -> Factors:  # fmt: skip
        """From raw depth (B,1,S,S), albedo (B,3,S,S), and raw view (B,6) and light (B,4) with
        their means added."""
        canonical = clamp_border(depth_from_raw(depth.float()))
        return cls(
            canonical,
            albedo.float(),
            depth_normals(canonical, camera, epsilon=normal_epsilon),
            view_from_raw(view.float()),
            light_from_raw(light.float()),
        )

    def __getitem__(self, index: Tensor | slice) -> Factors:
        return Factors(
            self.depth[index],
            self.albedo[index],
            self.normal[index],
            self.view[index],
            select_light(self.light, index),
        )

    def __len__(self) -> int:
        return len(self.depth)


def join_factors(parts: list[Factors]) -> Factors:
    """Concatenate along the batch."""
    views, lights = [part.view for part in parts], [part.light for part in parts]
    return Factors(
        depth=torch.cat([part.depth for part in parts]),
        albedo=torch.cat([part.albedo for part in parts]),
        normal=torch.cat([part.normal for part in parts]),
        view=View(
            yaw=torch.cat([view.yaw for view in views]),
            pitch=torch.cat([view.pitch for view in views]),
            roll=torch.cat([view.roll for view in views]),
            translation=torch.cat([view.translation for view in views]),
        ),
        light=LambertLight(
            ambient=torch.cat([light.ambient for light in lights]),
            diffuse=torch.cat([light.diffuse for light in lights]),
            direction=torch.cat([light.direction for light in lights]),
        ),
    )
