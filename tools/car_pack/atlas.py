"""Fewer triangles, and one texture atlas that shows what the original surface shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xatlas
from meshoptimizer import SIMPLIFY_PRUNE, simplify
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from car_pack.surface import Surface, both_sides, outside, welded
from gan3d_bench.rendering import rasterize

CREASE = 45.0  # degrees; edges sharper than this are not smoothed over
SAMPLES = 200_000
NORMAL_WEIGHT = 0.03  # unit lengths that a fully different normal counts as


@dataclass(frozen=True)
class Mesh:
    """A decimated car.

    Attributes:
        vertices: (V, 3), apart at creases.
        faces: (F, 3) rows of `vertices`.
        uvs: (T, 2), u right and v up, 0 and 1 at the centres of the outermost texels.
        face_uvs: (F, 3) rows of `uvs`.
    """

    vertices: np.ndarray
    faces: np.ndarray
    uvs: np.ndarray
    face_uvs: np.ndarray


def decimate(surface: Surface, triangles: int, size: int) -> Mesh:
    """Weld, decimate to about `triangles`, part at creases, and unwrap to an atlas of `size`.

    Of thin sheets one side is decimated; those seen from both get their other side after.
    """
    points, faces = welded(surface)
    faces = _with_area(points, faces)
    if len(faces) > triangles:
        found = np.zeros(faces.size, dtype=np.uint32)
        count = simplify(
            found,
            faces.reshape(-1).astype(np.uint32),
            points.astype(np.float32),
            target_index_count=3 * triangles,
            target_error=1.0,
            options=SIMPLIFY_PRUNE,
        )
        faces = _with_area(points, found[:count].reshape(-1, 3).astype(np.int64))
    blank = np.zeros(len(faces))
    plain = Surface(points[faces], np.zeros((len(faces), 3, 2)), blank, blank, blank)
    points, faces = welded(both_sides(*outside(plain)))
    points, faces = _part_at_creases(np.asarray(points, dtype=np.float64), faces)
    atlas = xatlas.Atlas()
    atlas.add_mesh(points.astype(np.float32), faces.astype(np.uint32))
    packing = xatlas.PackOptions()
    packing.resolution, packing.padding, packing.bilinear = size, 1, True
    atlas.generate(pack_options=packing)
    if atlas.atlas_count != 1:
        raise ValueError(f"the atlas takes {atlas.atlas_count} pictures of {size} pixels")
    _, face_uvs, uvs = atlas[0]
    texels = uvs * [size, size] - 0.5
    return Mesh(
        points, faces, np.stack((texels[:, 0], size - 1 - texels[:, 1]), 1) / (size - 1), face_uvs
    )


def bake(mesh: Mesh, surface: Surface, textures: list[np.ndarray], size: int, seed: int = 0):
    """Colour and paint of the atlas from the nearest place of the original that faces likewise.

    Args:
        mesh: decimated.
        surface: the original, its visible sides.
        textures: (h, w, 4) each: colour and paint in [0, 1].
        size: of the atlas.
        seed: of the samples on the original.

    Returns:
        (size, size, 4) in [0, 1]: colour and paint; texels without surface repeat the nearest.
    """
    place, normal, value = _samples(surface, textures, seed)
    tree = cKDTree(np.concatenate((place, NORMAL_WEIGHT * normal), 1))
    # texel centres in the atlas, as a picture of the triangles laid flat
    flat = np.concatenate((mesh.uvs * (size - 1) + 0.5, np.ones((len(mesh.uvs), 1))), 1)
    ndc = torch.tensor(flat, dtype=torch.float32)[None]
    ndc[..., 0] = 1 - 2 * ndc[..., 0] / size
    ndc[..., 1] = 2 * ndc[..., 1] / size - 1
    drawn = rasterize(
        ndc, torch.tensor(mesh.face_uvs.astype(np.int64)), size, edge_tolerance=0.05,
        with_dists=False,
    )  # fmt: skip
    face = drawn.pix_to_face[0, ..., 0].numpy()
    rows, columns = np.nonzero(face >= 0)
    chosen = mesh.faces[face[rows, columns]]
    bary = drawn.bary_coords[0, ..., 0, :].numpy()[rows, columns]
    at = (mesh.vertices[chosen] * bary[..., None]).sum(1)
    a, b, c = mesh.vertices[chosen].transpose(1, 0, 2)
    up = np.cross(b - a, c - a)
    up /= np.maximum(np.linalg.norm(up, axis=1, keepdims=True), 1e-20)
    _, near = tree.query(np.concatenate((at, NORMAL_WEIGHT * up), 1), k=4)
    atlas = np.zeros((size, size, 4))
    atlas[rows, columns] = value[near].mean(1)
    _, (row, column) = ndimage.distance_transform_edt(face < 0, return_indices=True)
    return atlas[row, column]


def sample_texture(texture: np.ndarray, uvs: np.ndarray) -> np.ndarray:
    """Bilinear values (N, C) of a repeating texture at (N, 2), u right and v up, edges at 0, 1."""
    height, width, _ = texture.shape
    x, y = uvs[:, 0] * width - 0.5, (1 - uvs[:, 1]) * height - 0.5
    return np.stack(
        [
            ndimage.map_coordinates(texture[..., c], (y, x), order=1, mode="grid-wrap")
            for c in range(texture.shape[2])
        ],
        1,
    )


def _samples(surface: Surface, textures: list[np.ndarray], seed: int):
    """Places, normals and values (colour, paint) of points spread evenly over a surface."""
    rng = np.random.default_rng(seed)
    a, b, c = surface.corners.transpose(1, 0, 2)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    # at least one of each triangle: a small lamp is seen, too
    face = np.concatenate(
        (np.arange(len(surface)), rng.choice(len(surface), SAMPLES, p=area / area.sum()))
    )
    weight = rng.dirichlet((1.0, 1.0, 1.0), len(face))
    place = (surface.corners[face] * weight[..., None]).sum(1)
    uv = (surface.uvs[face] * weight[..., None]).sum(1)
    value = np.concatenate((surface.colour[face], surface.paint[face, None].astype(float)), 1)
    for number, texture in enumerate(textures):
        of = surface.texture[face] == number
        seen = sample_texture(texture, uv[of])
        value[of, :3] *= seen[:, :3]
        value[of, 3] = np.maximum(value[of, 3], seen[:, 3])
    return place, surface.normals()[face], value


def _with_area(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    faces = np.unique(
        np.take_along_axis(faces, (faces.argmin(1)[:, None] + np.arange(3)) % 3, 1), axis=0
    )
    a, b, c = points[faces].transpose(1, 0, 2)
    return faces[np.linalg.norm(np.cross(b - a, c - a), axis=1) > 1e-9]


def _part_at_creases(points: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give faces that meet at a sharp edge vertices of their own."""
    a, b, c = points[faces].transpose(1, 0, 2)
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    count = len(faces)
    start = faces.reshape(-1)
    stop = faces[:, [1, 2, 0]].reshape(-1)
    # corner numbers of each edge's ends: 3 f + k, and the corner after it
    here = np.arange(3 * count)
    after = here - here % 3 + (here % 3 + 1) % 3
    ways = {(s, e): i for i, (s, e) in enumerate(zip(start, stop, strict=True))}
    links: list[tuple[int, int]] = []
    for (s, e), i in ways.items():
        j = ways.get((e, s))
        if j is not None and normal[i // 3] @ normal[j // 3] > np.cos(np.radians(CREASE)):
            links += [(i, after[j]), (after[i], j)]
    one, two = np.array(links).T
    graph = coo_matrix((np.ones(len(one)), (one, two)), shape=(3 * count, 3 * count))
    number, group = connected_components(graph, directed=False)
    parted = np.zeros((number, 3))
    parted[group] = points[start]
    return parted, group.reshape(-1, 3)
