"""Surfaces of cars as loose triangles, and what can be seen of them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from gan3d_bench.geometry.views import View
from gan3d_bench.rendering import rasterize

WELD = 2e-4  # unit lengths within which corners are one
RINGS = 3  # neighbours of neighbours of what is seen that count


@dataclass(frozen=True)
class Surface:
    """T triangles with what colours them.

    Attributes:
        corners: (T, 3, 3), wound so that ``(b - a) x (c - a)`` points outward where known.
        uvs: (T, 3, 2), u right and v up; they may leave [0, 1], textures repeat.
        texture: (T,) index into the textures; -1 for none.
        colour: (T, 3) in [0, 1], times the texture.
        paint: (T,) bool, the body's paint by material; of textures their fourth channel says it.
    """

    corners: np.ndarray
    uvs: np.ndarray
    texture: np.ndarray
    colour: np.ndarray
    paint: np.ndarray

    def __len__(self) -> int:
        return len(self.corners)

    def __getitem__(self, index: np.ndarray) -> Surface:
        return Surface(*(getattr(self, f.name)[index] for f in fields(self)))

    def flipped(self) -> Surface:
        """The same triangles seen from behind."""
        return replace(self, corners=self.corners[:, ::-1], uvs=self.uvs[:, ::-1])

    def transformed(self, matrix: np.ndarray, offset: np.ndarray | float = 0.0) -> Surface:
        """Corners times `matrix` plus `offset`; winding follows where the matrix mirrors."""
        moved = replace(self, corners=self.corners @ np.asarray(matrix).T + offset)
        return moved.flipped() if np.linalg.det(matrix) < 0 else moved

    def areas(self) -> np.ndarray:
        """(T,)"""
        a, b, c = self.corners.transpose(1, 0, 2)
        return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2

    def normals(self) -> np.ndarray:
        """(T, 3) unit; 0 of triangles without area."""
        a, b, c = self.corners.transpose(1, 0, 2)
        normal = np.cross(b - a, c - a)
        length = np.linalg.norm(normal, axis=1, keepdims=True)
        return normal / np.maximum(length, 1e-20)


def join(parts: list[Surface]) -> Surface:
    """All triangles of `parts`, which share their textures."""
    return Surface(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Surface)))


def outside(surface: Surface, size: int = 320) -> tuple[Surface, np.ndarray]:
    """What can be seen from around, above and a little below, every triangle facing who sees it.

    Interiors go. Triangles too small to be sure of a pixel stay where one beside them is seen.

    Args:
        surface: of about unit size around the origin, y down.
        size: pixels a side of the views.

    Returns:
        the triangles, and which of them are seen from behind as well, (T,) bool.
    """
    front, back = _pixels_seen(surface, size)
    vertex = welded(surface)[1]
    score = np.zeros(vertex.max() + 1)  # who sees the triangles around each vertex
    pixel = 2 / size * float(np.linalg.norm(surface.corners, axis=-1).max())
    small = surface.areas() < 10 * pixel**2
    seen, balance = front + back > 0, (front - back).astype(float)
    for _ in range(RINGS):
        np.add.at(score, vertex.reshape(-1), np.repeat(np.where(seen, balance, 0), 3))
        around = score[vertex]
        found = ~seen & small & (around != 0).any(1)
        balance = np.where(found, around.sum(1), balance)
        seen = seen | found
    turned = seen & (balance < 0)
    front, back = np.where(turned, back, front), np.where(turned, front, back)
    twice = (back >= 3) & (back >= 0.1 * front)
    kept = join([surface[seen & ~turned], surface[turned].flipped()])
    return kept, np.concatenate((twice[seen & ~turned], twice[turned]))


def both_sides(surface: Surface, twice: np.ndarray) -> Surface:
    """A surface with the other sides of the triangles that are seen from behind as well.

    Afterwards no face turned away need be drawn.
    """
    return join([surface, surface[twice].flipped()])


def welded(surface: Surface) -> tuple[np.ndarray, np.ndarray]:
    """Points (V, 3) and rows (T, 3): corners at the same place become one."""
    corners = surface.corners.reshape(-1, 3)
    _, index = np.unique(np.round(corners / WELD).astype(np.int64), axis=0, return_inverse=True)
    index = index.reshape(-1)
    points = np.zeros((index.max() + 1, 3))
    np.add.at(points, index, corners)
    return points / np.bincount(index)[:, None], index.reshape(-1, 3)


def _pixels_seen(surface: Surface, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each triangle, pixels in all views that see its front and its back."""
    orbits = [(a, e) for e in (-20.0, 5.0, 25.0, 50.0) for a in range(0, 360, 30)]
    orbits += [(0.0, 89.0), (90.0, 70.0), (270.0, 70.0), (0.0, 70.0), (180.0, 70.0)]
    points = torch.tensor(surface.corners.reshape(1, -1, 3), dtype=torch.float32)
    faces = torch.arange(points.shape[1]).view(-1, 3)
    scale = 0.95 / float(points.norm(dim=-1).max())
    seen = torch.zeros(2, len(surface), dtype=torch.int64)
    for azimuth, elevation in orbits:
        turned = View.from_orbit(azimuth, elevation, centre_depth=0.0).transform(points) * scale
        ndc = turned * turned.new_tensor([-1.0, -1.0, 1.0]) + turned.new_tensor([0, 0, 2.0])
        index = rasterize(ndc, faces, size, perspective_correct=False, with_dists=False).pix_to_face
        face = index[index >= 0]
        a, b, c = turned[0].view(-1, 3, 3).unbind(1)
        towards = torch.linalg.cross(b - a, c - a)[:, 2] < 0
        seen[0] += face[towards[face]].bincount(minlength=len(surface))
        seen[1] += face[~towards[face]].bincount(minlength=len(surface))
    return seen[0].numpy(), seen[1].numpy()
