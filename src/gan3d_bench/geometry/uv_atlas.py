"""Where the surface of a morphable model lies in its texture: its own atlas, or a cylinder's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.geometry.morphable_model import MorphableModel


@dataclass(frozen=True)
class UVAtlas:
    """Texture coordinates of a mesh, u to the right and v UP, as `rendering.mesh.UVTexture`.

    Attributes:
        uvs: (T, 2) in [0, 1].
        face_uvs: (F, 3) int64, rows of `uvs` for each face.
        vertex_uvs: (V, 2), one place for each vertex; of a vertex on a seam, that on one side.
    """

    uvs: Tensor
    face_uvs: Tensor
    vertex_uvs: Tensor

    @classmethod
    def of(cls, model: MorphableModel) -> UVAtlas:
        """The atlas of a model: its own if it has one, else `cylinder` about its mean."""
        if model.uvs is None or model.face_uvs is None:
            uvs = cylinder(model.mean)
            return cls(uvs, model.faces, uvs)
        vertex_uvs = model.mean.new_zeros(len(model.mean), 2)
        vertex_uvs[model.faces] = model.uvs[model.face_uvs]
        return cls(model.uvs, model.face_uvs, vertex_uvs)

    def to(self, device: torch.device | str) -> UVAtlas:
        """The same atlas on another device."""
        return UVAtlas(*(x.to(device) for x in (self.uvs, self.face_uvs, self.vertex_uvs)))

    def at_vertices(self, maps: Tensor) -> Tensor:
        """Bilinear values (B, V, C) of maps (B, C, h, w) at the vertices."""
        grid = uv_grid(self.vertex_uvs).expand(len(maps), 1, -1, -1)
        values = F.grid_sample(maps, grid, padding_mode="border", align_corners=True)
        return values[:, :, 0].mT


def uv_grid(uv: Tensor) -> Tensor:
    """Texture coordinates (..., 2), v up, to `grid_sample`'s with ``align_corners=True``."""
    return uv * uv.new_tensor([2.0, -2.0]) + uv.new_tensor([-1.0, 1.0])


def cylinder(mean: Tensor) -> Tensor:
    """Texture coordinates of a face without any: unrolled from a cylinder about the y axis.

    ``theta = atan2(x, z)``, ``u = 1/2 + theta / (2 max|theta|)``, v from the lowest vertex to the
    highest; mirror images lie at u and 1 - u. A face that ends before the ears has no seam.

    Args:
        mean: (V, 3), y up, z to the viewer, centred (`geometry.basel`).

    Returns:
        (V, 2) in [0, 1].
    """
    x, y, z = mean.unbind(1)
    theta = torch.atan2(x, z)
    widest = theta.abs().max().clamp(min=1e-6, max=math.pi)
    u = 0.5 + theta / (2 * widest)
    v = (y - y.min()) / (y.max() - y.min()).clamp(min=1e-12)
    return torch.stack((u, v), 1)
