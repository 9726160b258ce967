"""Edges and neighbours of triangle meshes, found once for all shapes of one topology."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class MeshTopology:
    """What a mesh's faces say about its vertices.

    Attributes:
        faces: (F, 3) int64.
        num_vertices: V.
        edges: (E, 2) int64, each once, the lower vertex first.
        edge_faces: (I, 2) int64, the two faces at each inner edge; edges of one face, or of more
            than two, are left out.
    """

    faces: Tensor
    num_vertices: int
    edges: Tensor
    edge_faces: Tensor

    @classmethod
    def of(cls, faces: Tensor, num_vertices: int) -> MeshTopology:
        """The topology of faces (F, 3) on `num_vertices` vertices."""
        faces = faces.to(torch.int64)
        sides = faces[:, [0, 1, 1, 2, 2, 0]].view(-1, 2).sort(1).values
        edges, which, count = sides.unique(dim=0, return_inverse=True, return_counts=True)
        order = which.argsort(stable=True)
        first = (count.cumsum(0) - count)[count == 2]
        pairs = torch.stack((order[first], order[first + 1]), 1) // 3
        return cls(faces, num_vertices, edges, pairs)

    def to(self, device: torch.device | str) -> MeshTopology:
        """The same topology on another device."""
        faces, edges, pairs = (x.to(device) for x in (self.faces, self.edges, self.edge_faces))
        return MeshTopology(faces, self.num_vertices, edges, pairs)

    def mean_of_neighbours(self, values: Tensor) -> Tensor:
        """Of values (B, V, C) at the vertices: (B, V, C); 0 at vertices without an edge."""
        both = torch.cat((self.edges, self.edges.flip(1)))
        total = torch.zeros_like(values).index_add(1, both[:, 0], values[:, both[:, 1]])
        degree = both[:, 0].bincount(minlength=self.num_vertices).clamp(min=1)
        return total / degree[None, :, None]

    def edge_cosines(self, vertices: Tensor) -> Tensor:
        """Cosine between the normals of the two faces at each inner edge: (B, V, 3) to (B, I)."""
        a, b, c = vertices[:, self.faces].unbind(2)
        normal = F.normalize(torch.linalg.cross(b - a, c - a), dim=-1, eps=1e-12)
        return (normal[:, self.edge_faces[:, 0]] * normal[:, self.edge_faces[:, 1]]).sum(-1)
