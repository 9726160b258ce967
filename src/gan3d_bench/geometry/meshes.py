"""Triangle meshes: one subject's surface for files and viewers, and normals at vertices."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass
class SceneMesh:
    """One subject as a textured or coloured triangle mesh, in the canonical pose.

    Attributes:
        vertices: (V, 3) camera space (x right, y down, z forward), scene units.
        faces: (F, 3) int64, wound so that ``(b - a) x (c - a)`` points outward.
        colors: (V, 3) in [-1, 1]; None if there is a texture.
        uvs: (T, 2) texture coordinates in [0, 1], u to the right and v up, 0 and 1 at the centres
            of the outermost texels (as `rendering.mesh.UVTexture`).
        face_uvs: (F, 3) int64, rows of `uvs` for each face; None if `uvs` has a row a vertex.
        texture: (3, h, w) in [-1, 1].
        centre_depth: depth of the rotation centre on the optical axis, scene units.
    """

    vertices: Tensor
    faces: Tensor
    colors: Tensor | None = None
    uvs: Tensor | None = None
    face_uvs: Tensor | None = None
    texture: Tensor | None = None
    centre_depth: float = 1.0


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Area-weighted unit normals at the vertices.

    Args:
        vertices: (B, V, 3).
        faces: (F, 3) int64, wound so that ``(b - a) x (c - a)`` points outward.

    Returns:
        (B, V, 3); zero at vertices without a face of positive area.
    """
    batch = len(vertices)
    a, b, c = (_rows(vertices, faces[:, k]) for k in range(3))
    normal = torch.linalg.cross(b - a, c - a).repeat(1, 3, 1)
    corner = faces.t().reshape(1, -1, 1).expand(batch, -1, 3)
    total = torch.zeros_like(vertices).scatter_add(1, corner, normal)
    return F.normalize(total, dim=-1, eps=1e-20)


def _rows(vertices: Tensor, index: Tensor) -> Tensor:
    """Rows `index` (F,) of vertices (B, V, 3); gather has the faster backward."""
    return vertices.gather(1, index[None, :, None].expand(len(vertices), -1, 3))
