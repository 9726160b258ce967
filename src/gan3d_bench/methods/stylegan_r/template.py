"""The sphere that meshes are deformed from, and how a texture map is wrapped around it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import trimesh
from torch import Tensor

from gan3d_bench.geometry.topology import MeshTopology
from gan3d_bench.rendering.mesh import UVTexture

OVERLAP = 0.5
"""Share of the texture's columns that follow once more after the last one: u goes round, and faces
that cross the seam read on."""


@dataclass(frozen=True)
class SphereTemplate:
    """A subdivided icosahedron in camera axes (x right, y down, z forward), about the origin.

    Attributes:
        vertices: (V, 3), all as far from the origin.
        topology: its faces (F, 3), wound outward, with edges and neighbours.
        mirror: (V,) int64, the vertex on the other side of the plane x = 0.
        uvs: (3 F, 2) texture coordinates of the corners in `wrapped` textures, v up.
        face_uvs: (F, 3) int64, rows of `uvs`.
    """

    vertices: Tensor
    topology: MeshTopology
    mirror: Tensor
    uvs: Tensor
    face_uvs: Tensor

    @classmethod
    def make(cls, level: int, texture_size: int, radius: float = 1.0) -> SphereTemplate:
        """The sphere of an icosahedron subdivided `level` times: 642 vertices at level 3.

        Args:
            level: 0 or more.
            texture_size: width of the texture maps in texels.
            radius: of the sphere.
        """
        sphere = trimesh.creation.icosphere(subdivisions=level)
        vertices = torch.tensor(sphere.vertices.copy(), dtype=torch.float32)
        faces = torch.tensor(sphere.faces.copy(), dtype=torch.int64)
        mirrored = vertices * vertices.new_tensor([-1.0, 1.0, 1.0])
        return cls(
            radius * vertices,
            MeshTopology.of(faces, len(vertices)),
            torch.cdist(mirrored, vertices).argmin(1),
            _corner_uvs(vertices[faces], texture_size),
            torch.arange(3 * len(faces)).view(-1, 3),
        )

    def to(self, device: torch.device | str) -> SphereTemplate:
        """The same on another device."""
        parts = (self.vertices, self.topology, self.mirror, self.uvs, self.face_uvs)
        return SphereTemplate(*(part.to(device) for part in parts))  # type: ignore[arg-type]

    @property
    def faces(self) -> Tensor:
        """(F, 3) int64."""
        return self.topology.faces

    def surface(self, texture: Tensor) -> UVTexture:
        """Texture maps (B, 3, w / 2, w) in [-1, 1] as the albedo of the deformed sphere.

        The front, where the camera is at azimuth 0, is in the map's middle, the top in its first
        row.
        """
        return UVTexture(self.uvs, self.face_uvs, wrapped(texture))


def wrapped(texture: Tensor) -> Tensor:
    """Texture maps (B, C, h, w) with their first columns once more: (B, C, h, 1.5 w)."""
    return torch.cat((texture, texture[..., : _overlap(texture.shape[-1])]), -1)


def mirrored(texture: Tensor) -> Tensor:
    """Texture maps (B, C, h, w) as the mirror image in the plane x = 0 has them, to the bit.

    Column c is at the longitude of c / w of a turn from the seam at the back: column 0 stays, and
    c goes where w - c was.
    """
    return texture.flip(-1).roll(1, -1)


def _overlap(width: int) -> int:
    return int(OVERLAP * width)


def _corner_uvs(corners: Tensor, texture_size: int) -> Tensor:
    """Texture coordinates (3 F, 2) of corners (F, 3, 3) on the unit sphere: longitude, latitude."""
    x, y, z = corners.unbind(-1)
    u = 0.5 + torch.atan2(x, -z) / (2 * math.pi)
    pole = y.abs() > 1 - 1e-6  # has no longitude of its own
    # a face across the seam at the back goes on to the right of it
    high = u.masked_fill(pole, -1).amax(1, keepdim=True)
    u = torch.where(high - u > 0.5, u + 1, u)
    others = u.masked_fill(pole, 0).sum(1, keepdim=True) / (~pole).sum(1, keepdim=True)
    u = torch.where(pole, others.expand_as(u), u)
    v = 0.5 - torch.asin(y.clamp(-1, 1)) / math.pi
    columns = texture_size + _overlap(texture_size)
    return torch.stack((u * texture_size / (columns - 1), v), -1).view(-1, 2)
