"""Soft silhouettes: gradients, both engines, batches, bounded memory, odd meshes."""

from __future__ import annotations

import math

import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.rendering import rasterize
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.mesh import VertexColours, render_mesh
from gan3d_bench.rendering.silhouette import SoftSilhouette, soft_mask

WIDE = SoftSilhouette(sigma=1e-2, box=2.0, faces_per_pixel=None)
TRIANGLE = torch.tensor([[[-0.31, -0.42], [0.52, -0.23], [0.11, 0.57]]])
FACE = torch.tensor([[0, 1, 2]])


def random_mesh(seed: int, vertices: int, faces: int, batch: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    xyz = torch.randn(batch, vertices, 3, generator=generator) * torch.tensor([0.4, 0.4, 0.2])
    xyz += torch.tensor([0.0, 0.0, 2.0])
    return xyz, torch.randint(0, vertices, (faces, 3), generator=generator)


def silhouettes(vertices: Tensor, faces: Tensor, size, soft: SoftSilhouette, **options) -> Tensor:
    covered = rasterize(vertices, faces, size, with_dists=False).covered
    return soft_mask(vertices, faces, covered, soft, **options)


def test_it_fades_with_the_squared_distance_to_the_nearest_edge_or_vertex():
    square = torch.tensor([[[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    centres = 1 - (2 * torch.arange(16) + 1) / 16
    covered = (centres.abs() < 0.5)[:, None] & (centres.abs() < 0.5)
    mask = soft_mask(square, faces, covered[None], WIDE)[0]
    assert (mask[covered] == 1).all()
    to_edge = math.exp(-((centres[2].item() - 0.5) ** 2) / 1e-2)
    # beside the lower or upper half of an edge, the other triangle's corner is far away
    assert mask[2, 12].item() == pytest.approx(mask[13, 3].item(), abs=1e-6)
    assert mask[13, 6].item() == pytest.approx(to_edge, rel=1e-2) and mask[13, 6] < 0.04
    corner = 1 - (1 - math.exp(-2 * (centres[2].item() - 0.5) ** 2 / 1e-2)) ** 2
    assert mask[2, 2].item() == pytest.approx(corner, rel=1e-4)


def test_numerical_gradients():
    vertices, faces = random_mesh(3, 8, 6, batch=2)
    points = vertices[..., :2].double().requires_grad_()
    covered = rasterize(vertices, faces, 7, with_dists=False).covered
    assert 0 < covered.sum() < covered.numel()

    def mask(points):
        return soft_mask(points, faces, covered, WIDE)

    assert torch.autograd.gradcheck(mask, points, eps=1e-6, atol=1e-5, fast_mode=True)


def test_second_derivatives_are_refused():
    points = TRIANGLE.clone().requires_grad_()
    covered = torch.zeros(1, 8, 8, dtype=torch.bool)
    total = soft_mask(points, FACE, covered, WIDE).square().sum()
    (first,) = torch.autograd.grad(total, points, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(first.sum(), points)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.tuples(st.integers(1, 17), st.integers(1, 17)))
def test_batches_and_small_memory_change_nothing(seed, size):
    vertices, faces = random_mesh(seed, 10, 8, batch=2)
    for soft in (WIDE, SoftSilhouette(1e-2, 0.3, 3)):
        whole = silhouettes(vertices, faces, size, soft)
        assert (whole >= 0).all() and (whole <= 1).all()
        alone = [silhouettes(one[None], faces, size, soft)[0] for one in vertices]
        torch.testing.assert_close(whole, torch.stack(alone), rtol=0, atol=1e-6)
        pieces = silhouettes(vertices, faces, size, soft, max_bytes=1)
        torch.testing.assert_close(whole, pieces, rtol=0, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), dx=st.integers(-3, 3), dy=st.integers(-3, 3))
def test_it_moves_with_the_mesh(seed, dx, dy):
    vertices, faces = random_mesh(seed, 9, 12)
    vertices[..., :2] *= 0.3
    step = vertices.new_tensor([-dx / 8, -dy / 8, 0.0])  # pixels of 2 / 16 to the right and down
    soft = SoftSilhouette(1e-2, 0.2, None)
    still, moved = (silhouettes(v, faces, 16, soft)[0] for v in (vertices, vertices + step))
    inner = slice(3, 13)
    shifted = moved[3 + dy : 13 + dy, 3 + dx : 13 + dx]
    torch.testing.assert_close(shifted, still[inner, inner], rtol=0, atol=1e-4)


def test_the_first_faces_count_and_the_box_cuts():
    far = TRIANGLE + torch.tensor([0.0, -0.2])
    points, faces = torch.cat((TRIANGLE, far), 1), torch.tensor([[0, 1, 2], [3, 4, 5]])
    covered = torch.zeros(1, 16, 16, dtype=torch.bool)

    def mask(faces, most, box=2.0):
        return soft_mask(points, faces, covered, SoftSilhouette(0.05, box, most))

    first, second = mask(faces[:1], 1), mask(faces[1:], 1)
    torch.testing.assert_close(mask(faces, 1), first)
    torch.testing.assert_close(mask(faces.flip(0), 1), second)
    torch.testing.assert_close(mask(faces, 2), 1 - (1 - first) * (1 - second))
    # within half a pixel of the box that reaches from -0.31 - 0.25 to 0.52 + 0.25, x to the left
    columns = mask(faces[:1], 1, 0.25)[0].amax(0).nonzero()
    assert columns.min() == 2 and columns.max() == 11


def test_empty_degenerate_and_absent_faces():
    nothing = torch.zeros(1, 8, 8, dtype=torch.bool)
    for points, faces in (
        (TRIANGLE + 50, FACE),  # far outside of the image
        (TRIANGLE.new_full((1, 3, 2), float("nan")), FACE),
        (TRIANGLE, FACE[:0]),
    ):
        points = points.clone().requires_grad_()
        mask = soft_mask(points, faces, nothing, WIDE)
        assert (mask == 0).all()
        mask.sum().backward()
        assert (points.grad == 0).all()
    # a face without area is seen as the line or point that it is; a centre upon it is covered
    point = torch.full((1, 3, 2), 1 - 7 / 8).requires_grad_()
    mask = soft_mask(point, FACE, nothing, WIDE)
    mask.sum().backward()
    assert mask[0, 3, 3] == 1 and point.grad.isfinite().all()
    with pytest.raises(ValueError, match="vertices \\(1, 3, 2\\), covered \\(2, 8, 8\\)"):
        soft_mask(TRIANGLE, FACE, nothing.expand(2, -1, -1), WIDE)
    for wrong in ({"sigma": 0.0}, {"box": -1.0}, {"sigma": float("nan")}, {"faces_per_pixel": 0}):
        with pytest.raises(UserError, match=f"{next(iter(wrong))}="):
            SoftSilhouette(**wrong)


def sphere() -> tuple[Tensor, Tensor]:
    mesh = trimesh.creation.icosphere(subdivisions=1, radius=0.06)
    vertices = torch.tensor(mesh.vertices, dtype=torch.float32) * torch.tensor([1.0, -1.0, -1.0])
    return vertices[None] + torch.tensor([0.0, 0.0, 1.0]), torch.tensor(mesh.faces)


def render(vertices: Tensor, faces: Tensor, soft: SoftSilhouette | None, **options):
    colours = VertexColours(torch.ones_like(vertices))
    return render_mesh(vertices, faces, colours, PinholeCamera(32), soft=soft, **options)


def test_the_picture_stays_sharp_and_the_silhouette_pulls():
    vertices, faces = sphere()
    soft = SoftSilhouette(1e-2, 0.3, None)
    target = render(vertices, faces, None).mask
    shift = torch.zeros(3, requires_grad=True)
    moved = vertices + torch.tensor([0.02, 0.0, 0.0]) + shift
    seen, sharp = (render(moved, faces, s, supersample=2) for s in (soft, None))
    assert sharp.silhouette is None
    torch.testing.assert_close(seen.mask, sharp.mask)
    torch.testing.assert_close(seen.rgb, sharp.rgb)
    assert (seen.silhouette >= seen.mask).all()
    assert (seen.silhouette[seen.mask == 1] == 1).all()
    loss = (seen.silhouette - target).square().sum()
    assert torch.autograd.grad(loss, shift)[0][0] > 0  # back to the left makes the loss smaller


def test_half_precision_around_it():
    vertices, faces = sphere()
    expected = render(vertices, faces, WIDE).silhouette
    with torch.autocast("cpu", torch.bfloat16):
        assert (render(vertices, faces, WIDE).silhouette - expected).abs().max() < 1e-6


@pytest.mark.pytorch3d
def test_both_engines_draw_the_same_silhouette_and_gradient():
    """With all faces and a wide box the two cut-offs do not matter."""
    vertices, faces = sphere()
    soft = SoftSilhouette(2e-3, 0.5, None)
    weight = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    results = []
    for engine in ("scatter", "pytorch3d"):
        moved = vertices.clone().requires_grad_()
        drawn = render(moved, faces, soft, engine=engine).silhouette
        (drawn * weight).sum().backward()
        results.append((drawn.detach(), moved.grad[..., :2]))
    (ours, by_ours), (theirs, by_theirs) = results
    assert ((ours > 0.01) & (ours < 0.99)).sum() > 50
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5)
    largest = float(by_theirs.abs().max())
    torch.testing.assert_close(by_ours, by_theirs, rtol=0, atol=1e-3 * largest)


@pytest.mark.pytorch3d
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_random_triangles_equal_pytorch3d(seed):
    from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
    from pytorch3d.structures import Meshes

    vertices, faces = random_mesh(seed, 12, 10)
    index, _, _, away = rasterize_meshes(
        Meshes(vertices, faces[None]), 20, 9.0, len(faces), perspective_correct=False,
        clip_barycentric_coords=True,
    )  # fmt: skip
    covers = torch.exp(-away.clamp(min=0) / WIDE.sigma) * (index >= 0)
    theirs = 1 - (1 - covers).prod(-1)
    ours = silhouettes(vertices, faces, 20, WIDE)
    # PyTorch3D leaves out faces of almost no area, which ours sees as lines
    corners = vertices[0][faces][..., :2]
    sides = corners[:, 1:] - corners[:, :1]
    if torch.linalg.det(sides).abs().min() > 1e-4:
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
