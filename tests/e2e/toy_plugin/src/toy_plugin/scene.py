"""Discs that face the camera: a mesh scene with a camera of its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gan3d_bench.geometry.views import View
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.mesh import VertexColours
from gan3d_bench.scenes.mesh import MeshScene
from toy_plugin.data import RADIUS

FIELD_OF_VIEW = 25.0  # degrees
CORNERS = 48


class DiscScene(MeshScene):
    """B discs, as wide in the picture as those of the images; they tilt with the view.

    Args:
        colour: (B, 3) in [-1, 1].
        depth: (B,) scene units.
        image_size: pixels per side.
    """

    def __init__(self, colour: Tensor, depth: Tensor, image_size: int) -> None:
        angle = torch.linspace(0, 2 * math.pi, CORNERS + 1, device=depth.device)[:-1]
        ring = torch.stack((angle.cos(), angle.sin()), 1) * RADIUS
        plane = torch.cat((ring.new_zeros(1, 2), ring)) * math.tan(math.radians(FIELD_OF_VIEW) / 2)
        rays = torch.cat((plane, torch.ones_like(plane[:, :1])), 1)
        here = torch.arange(CORNERS, device=depth.device)
        super().__init__(
            depth[:, None, None] * rays,
            torch.stack((torch.zeros_like(here), (here + 1) % CORNERS + 1, here + 1), 1),
            VertexColours(colour[:, None].expand(-1, CORNERS + 1, -1)),
            PinholeCamera(image_size, FIELD_OF_VIEW),
            input_view=View.from_angles([0.0] * len(colour)),
        )
