"""The surface of a volume as a coloured mesh, by marching cubes."""

from __future__ import annotations

import numpy as np
import torch
from skimage.measure import marching_cubes
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.generators.eg3d.cameras import CameraOrbit
from gan3d_bench.generators.eg3d.triplanes import TriplaneField
from gan3d_bench.generators.eg3d.volume import POINTS_AT_ONCE
from gan3d_bench.geometry.meshes import SceneMesh

LEVEL = 10.0
"""Raw density of the surface, as released."""
BORDER = 30 / 256
"""Share of the cube, along each of its sides, that is left out, as released: what lies there is
seen by few cameras."""
LARGEST_GRID = 1024


@torch.no_grad()
def volume_mesh(
    field: TriplaneField,
    orbit: CameraOrbit,
    size: int = 128,
    level: float | None = None,
    border: float = BORDER,
    points_at_once: int = POINTS_AT_ONCE,
) -> SceneMesh:
    """Return where a volume has a density, as a closed mesh in the suite's canonical frame.

    Args:
        field: of one subject.
        orbit: gives the place of the frontal camera.
        size: points of the grid along each axis.
        level: raw density of the surface. None takes `LEVEL`, or in a volume that never reaches it
            the mean of its least and greatest density.
        border: share of the cube along each of its sides that is left out, below a half.
        points_at_once: bound of the points that are looked at together.

    Raises:
        UserError: nothing in the volume has the density asked for, or an impossible size.
    """
    if not 4 <= size <= LARGEST_GRID or not 0 <= border < 0.5:
        raise UserError(
            f"size={size}, border={border}: expected 4 to {LARGEST_GRID} points and a share below "
            "0.5"
        )
    half = field.box_warp / 2
    line = torch.linspace(-half, half, size, device=field.planes.device)
    density = _densities(field, line, points_at_once)
    inner = slice(max(1, int(size * border)), size - max(1, int(size * border)))
    inside = density[inner, inner, inner]
    low, high = (float(x) for x in torch.aminmax(inside))
    if level is None:
        level = LEVEL if low < LEVEL < high else (low + high) / 2
    if not low < level < high:
        raise UserError(
            f"level={level:g}: expected a density of the volume, between {low:.3g} and {high:.3g}"
        )
    # empty all around, so that the surface is closed
    closed = torch.full_like(density, min(low, level - 1))
    closed[inner, inner, inner] = inside
    index, faces, *_ = marching_cubes(closed.cpu().numpy(), level, gradient_direction="descent")
    faces = faces[:, ::-1].astype(np.int64)  # skimage's axes are left-handed: z, y, x
    vertices = torch.from_numpy(np.ascontiguousarray(index)).to(line) * (line[1] - line[0]) - half
    colours = torch.cat([field(part[None])[0][0, :, :3] for part in vertices.split(points_at_once)])
    x, y, z = vertices.unbind(1)
    return SceneMesh(
        vertices=torch.stack((x, -y, orbit.radius - z), 1),
        faces=torch.from_numpy(faces).to(line.device),
        colors=(colours * 2 - 1).clamp(-1, 1),
        centre_depth=orbit.centre_depth,
    )


def _densities(field: TriplaneField, line: Tensor, points_at_once: int) -> Tensor:
    """Raw density (size, size, size) at the points of a grid; axes x, y, z."""
    size = len(line)
    slices = max(1, points_at_once // size**2)
    parts = []
    for xs in line.split(slices):
        points = torch.stack(torch.meshgrid(xs, line, line, indexing="ij"), -1)
        parts.append(field.density(points.view(1, -1, 3)).view(len(xs), size, size))
    return torch.cat(parts)
