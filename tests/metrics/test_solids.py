"""3D IoU and chamfer distance of meshes: known shapes, open ones, and what may not matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from gan3d_bench.metrics.solids import (
    chamfer_distance,
    normalised,
    solid_voxels,
    surface_points,
    volume_iou,
)

SIZE = 32
sides = st.floats(0.3, 1.0)


def tensors(mesh: trimesh.Trimesh) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(mesh.vertices).float(), torch.tensor(mesh.faces)


def box(*extents: float, without: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """A box; without the side at the low end of an axis, if one is named."""
    mesh = trimesh.creation.box(extents)
    vertices, faces = tensors(mesh)
    if without is not None:
        faces = faces[torch.tensor(mesh.face_normals[:, without] > -0.5)]
    return vertices, faces


def ball() -> tuple[torch.Tensor, torch.Tensor]:
    return tensors(trimesh.creation.icosphere(3))


def test_a_ball_fills_as_much_as_it_should():
    radius = 0.5 / 3**0.5  # of the diagonal of its bounding box
    filled = solid_voxels(*ball(), 64).sum() / 64**3
    # the surface's voxels count whole: half a voxel too much on all sides
    thicker = 4 / 3 * np.pi * (radius + 0.5 / 64) ** 3
    assert 4 / 3 * np.pi * radius**3 < filled < thicker * 1.02


@pytest.mark.parametrize("axis", range(3))
def test_a_box_without_a_side_is_the_box(axis):
    whole, open_one = solid_voxels(*box(1, 0.8, 0.6), SIZE), box(1, 0.8, 0.6, without=axis)
    assert len(open_one[1]) == 10
    # but for the one layer of voxels in which the missing side lay
    assert volume_iou(whole, solid_voxels(*open_one, SIZE)) > 0.94


def test_what_is_inside_does_not_count_and_a_far_part_does():
    vertices, faces = box(1, 1, 1)
    inner = torch.cat((vertices, 0.5 * vertices)), torch.cat((faces, faces + len(vertices)))
    whole = solid_voxels(vertices, faces, SIZE)
    assert volume_iou(whole, solid_voxels(*inner, SIZE)) == pytest.approx(1, abs=0.01)
    apart = torch.cat((vertices, vertices + 3)), inner[1]
    grid = solid_voxels(*apart, SIZE)
    assert not grid[SIZE // 2, SIZE // 2, SIZE // 2]  # between the two


@settings(max_examples=15, deadline=None)
@given(a=st.tuples(sides, sides, sides), b=st.tuples(sides, sides, sides))
def test_iou_of_boxes_is_that_of_their_sides(a, b):
    first, second = (np.array(x) / np.linalg.norm(x) for x in (a, b))
    shared = np.minimum(first, second).prod()
    expected = shared / (first.prod() + second.prod() - shared)
    grids = solid_voxels(*box(*a), SIZE), solid_voxels(*box(*b), SIZE)
    found = volume_iou(*grids)
    assert found == volume_iou(*reversed(grids))
    assert found == pytest.approx(expected, abs=0.15)  # of 32 voxels a side


@settings(max_examples=10, deadline=None)
@given(scale=st.floats(0.01, 50), shift=st.tuples(*[st.floats(-5, 5)] * 3))
def test_size_and_place_do_not_matter(scale, shift):
    vertices, faces = ball()
    moved = vertices.double() * scale + torch.tensor(shift, dtype=torch.float64)
    assert np.allclose(normalised(moved), normalised(vertices), atol=1e-5)
    points = surface_points(vertices, faces, 300), surface_points(moved, faces, 300)
    assert chamfer_distance(*points) < 1e-4


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 9999), rows=st.integers(1, 40), others=st.integers(1, 40))
def test_chamfer_distance_is_that_of_all_pairs(seed, rows, others):
    numbers = np.random.default_rng(seed)
    a, b = numbers.normal(size=(rows, 3)), numbers.normal(size=(others, 3))
    apart = np.linalg.norm(a[:, None] - b, axis=-1)
    expected = (apart.min(1).mean() + apart.min(0).mean()) / 2
    assert chamfer_distance(a, b) == pytest.approx(expected)
    assert chamfer_distance(a, b) == pytest.approx(chamfer_distance(b, a))
    assert chamfer_distance(a, a) == 0


@pytest.mark.pytorch3d
def test_chamfer_distance_is_pytorch3ds():
    from pytorch3d.loss import chamfer_distance as theirs

    points = [surface_points(*shape, 500) for shape in (ball(), box(1, 0.5, 0.3))]
    a, b = (torch.from_numpy(x)[None].float() for x in points)
    both, _ = theirs(a, b, norm=2, batch_reduction=None, point_reduction=None)
    expected = sum(part.sqrt().mean().item() for part in both) / 2
    assert chamfer_distance(*points) == pytest.approx(expected, rel=1e-5)


def test_points_lie_on_the_surface_evenly_and_are_always_the_same():
    points = surface_points(*box(1, 1, 1))
    side = 0.5 / 3**0.5
    assert np.allclose(np.abs(points).max(1), side)
    shares = [(points[:, axis] > side - 1e-6).mean() for axis in range(3)]
    assert shares == pytest.approx([1 / 6] * 3, abs=0.02)
    assert np.array_equal(points, surface_points(*box(2, 2, 2)))


@pytest.mark.parametrize(
    ("vertices", "message"),
    [
        (torch.zeros(0, 3), "0 vertices"),
        (torch.ones(8, 3), "all vertices in one place"),
        (torch.full((8, 3), torch.nan), "not finite"),
    ],
)
def test_what_is_no_shape_is_refused(vertices, message):
    with pytest.raises(ValueError, match=message):
        solid_voxels(vertices, torch.zeros(1, 3, dtype=torch.int64))


def test_a_mesh_without_faces_is_refused():
    with pytest.raises(ValueError, match="without faces"):
        surface_points(torch.rand(8, 3), torch.zeros(0, 3, dtype=torch.int64))


def test_two_empty_solids_share_nothing_that_can_be_said():
    empty = np.zeros((4, 4, 4), bool)
    assert np.isnan(volume_iou(empty, empty))
