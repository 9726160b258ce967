"""How far shapes of meshes are from the true ones, in 3D: volume they share, surface distance.

Shapes are compared in a common orientation; where a shape lies and how large it is says nothing,
since a camera's distance is as free as a car's size. `normalised` takes both away.
"""

from __future__ import annotations

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree
from torch import Tensor

Vertices = Float[Tensor, "V 3"]
Faces = Int[Tensor, "F 3"]
Grid = Bool[np.ndarray, "N N N"]

RESOLUTION = 64
"""Voxels along the edge of a cube whose edge is the diagonal of the shape's bounding box."""
POINTS = 8192
"""Points on a surface."""
_DENSITY = 24  # points on the area of a voxel's side, or more: surfaces are of about one unit


def normalised(vertices: Vertices) -> Float[np.ndarray, "V 3"]:
    """The vertices with their bounding box in the middle of the axes and its diagonal one long.

    Raises:
        ValueError: no vertices, one that is not finite, or all in one place.
    """
    points = vertices.detach().double().cpu().numpy()
    if not len(points) or not np.isfinite(points).all():
        raise ValueError(f"{len(points)} vertices, some not finite; expected finite ones")
    low, high = points.min(0), points.max(0)
    diagonal = np.linalg.norm(high - low)
    if diagonal == 0:
        raise ValueError("all vertices in one place; expected a shape with an extent")
    return (points - (low + high) / 2) / diagonal


def solid_voxels(vertices: Vertices, faces: Faces, resolution: int = RESOLUTION) -> Grid:
    """Which voxels of a cube are in a shape, normalised to fill its middle.

    A voxel is in the shape if the surface passes through it, or lies on both sides of it along at
    least two of the three axes. So a mesh may have holes, sheets, inner parts and no floor, as cars
    have; a hollow that opens to one side, such as that under a car, is filled.

    Args:
        vertices, faces: of a mesh of any kind.
        resolution: N, voxels along each edge.

    Raises:
        ValueError: as `surface_points`.
    """
    points = surface_points(vertices, faces, _DENSITY * resolution**2)
    index = np.floor((points + 0.5) * resolution).astype(np.int64).clip(0, resolution - 1)
    surface = np.zeros((resolution,) * 3, bool)
    surface[tuple(index.T)] = True
    enclosed = np.zeros(surface.shape, np.int8)
    for axis in range(3):
        before = np.logical_or.accumulate(surface, axis)
        after = np.flip(np.logical_or.accumulate(np.flip(surface, axis), axis), axis)
        enclosed += before & after
    return surface | (enclosed >= 2)


def volume_iou(first: Grid, second: Grid) -> float:
    """Intersection over union of two solids, in [0, 1]; NaN where both are empty."""
    union = np.count_nonzero(first | second)
    return float(np.count_nonzero(first & second) / union) if union else float("nan")


def surface_points(
    vertices: Vertices, faces: Faces, count: int = POINTS
) -> Float[np.ndarray, "P 3"]:
    """Points spread evenly at random over the surface of a normalised shape, the same each time.

    Raises:
        ValueError: as `normalised`, or there are no faces.
    """
    if not len(faces):
        raise ValueError("a mesh without faces; expected a surface")
    rows = faces.detach().cpu().numpy()
    mesh = trimesh.Trimesh(normalised(vertices), rows, process=False)
    return np.asarray(trimesh.sample.sample_surface(mesh, count, seed=0)[0])


def chamfer_distance(first: Float[np.ndarray, "P 3"], second: Float[np.ndarray, "Q 3"]) -> float:
    """Mean distance from a point of one set to the nearest of the other, averaged over both ways.

    Not squared (Chamfer-L1 of Mescheder et al. 2019, Occupancy Networks). 0 for equal sets;
    different samples of one surface are about half the distance between neighbours apart.
    """
    there, back = KDTree(second).query(first)[0], KDTree(first).query(second)[0]
    return float(there.mean() + back.mean()) / 2
