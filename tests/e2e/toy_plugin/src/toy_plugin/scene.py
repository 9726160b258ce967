"""Discs that face the camera and tilt with the view."""

from __future__ import annotations

import torch
from torch import Tensor

from gan3d_bench.geometry.views import View
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.rendering.shading import Light
from gan3d_bench.scenes.base import Scene
from toy_plugin.data import disc_mask


class DiscScene(Scene):
    """B discs.

    Args:
        colour: (B, 3) in [-1, 1].
        depth: (B,) scene units.
        image_size: pixels per side.
    """

    capabilities = frozenset({"depth", "normal", "albedo"})

    def __init__(self, colour: Tensor, depth: Tensor, image_size: int) -> None:
        self.colour, self.depth = colour, depth
        self.camera = PinholeCamera(image_size)
        self.input_view = View.from_angles([0.0] * len(colour))

    @property
    def batch_size(self) -> int:
        return len(self.colour)

    def _render(self, view: View, light: Light | None, camera: PinholeCamera) -> Rendering:
        size = camera.width
        mask = disc_mask(size).to(self.colour).expand(self.batch_size, -1, -1, -1)
        normal = view.to(self.colour.device).rotate(mask.new_tensor([[[0.0, 0.0, -1.0]]]))
        normal = normal.reshape(-1, 3, 1, 1).expand(self.batch_size, 3, size, size)
        x = torch.linspace(-0.1, 0.1, size, device=mask.device)
        slope = -normal[:, :2] / normal[:, 2:].clamp(max=-0.1)
        depth = self.depth[:, None, None, None] + slope[:, :1] * x + slope[:, 1:] * x[:, None]
        albedo = self.colour[:, :, None, None].expand(-1, -1, size, size)
        rgb = albedo * mask + (mask - 1)
        return Rendering(rgb=rgb, mask=mask, depth=depth, normal=normal, albedo=albedo)
