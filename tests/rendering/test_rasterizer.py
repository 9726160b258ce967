"""The scatter rasterizer against PyTorch3D, its gradients, odd meshes and bounded memory."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.rendering import rasterize, scatter
from gan3d_bench.rendering.fragments import interpolate_attributes

if TYPE_CHECKING:
    from pytorch3d.structures import Meshes

SQUARE = torch.tensor([[[-0.5, -0.5, 1.0], [0.5, -0.5, 1.0], [0.5, 0.5, 2.0], [-0.5, 0.5, 2.0]]])
SQUARE_FACES = torch.tensor([[0, 1, 2], [0, 2, 3]])


def random_parts(
    seed: int, sizes: list[tuple[int, int]], spread: float
) -> tuple[list[Tensor], list[Tensor]]:
    """Vertices (V, 3) and faces (F, 3) of one mesh for each (V, F) of `sizes`."""
    generator = torch.Generator().manual_seed(seed)
    vertices, faces = [], []
    for num_vertices, num_faces in sizes:
        xyz = torch.randn(num_vertices, 3, generator=generator)
        scale = torch.tensor([spread, spread, 0.5])
        vertices.append(xyz * scale + torch.tensor([0.0, 0.0, 1.3]))
        faces.append(torch.randint(0, num_vertices, (num_faces, 3), generator=generator))
    return vertices, faces


def random_meshes(seed: int, sizes: list[tuple[int, int]], spread: float) -> Meshes:
    from pytorch3d.structures import Meshes

    return Meshes(*random_parts(seed, sizes, spread))


def meshes_of(vertices: Tensor, faces: Tensor) -> Meshes:
    """Meshes with common faces (F, 3), of vertices (N, V, 3)."""
    from pytorch3d.structures import Meshes

    return Meshes(vertices, faces.expand(len(vertices), -1, -1))


@pytest.mark.pytorch3d
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    sizes=st.lists(st.tuples(st.integers(3, 30), st.integers(1, 60)), min_size=1, max_size=3),
    spread=st.sampled_from([0.1, 0.8, 3.0]),
    image_size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    perspective_correct=st.booleans(),
    cull_backfaces=st.booleans(),
)
def test_fragments_equal_pytorch3d(
    seed, sizes, spread, image_size, perspective_correct, cull_backfaces
):
    """Different meshes in a batch, any image shape, faces behind the camera among them."""
    meshes = random_meshes(seed, sizes, spread)
    options = {"perspective_correct": perspective_correct, "cull_backfaces": cull_backfaces}
    ours = rasterize(meshes, None, image_size, **options)
    theirs = rasterize(meshes, None, image_size, engine="pytorch3d", **options)
    same = ours.pix_to_face == theirs.pix_to_face
    # Elsewhere depths tie, or the nearer face has the centre on its edge, both within rounding.
    far = torch.tensor(1e9)
    z = [torch.where(f.zbuf > 0, f.zbuf, far) for f in (ours, theirs)]
    edge = [f.bary_coords.amin(-1) for f in (ours, theirs)]
    nearer_edge = torch.where(z[0] < z[1], *edge)
    assert (same | torch.isclose(*z, rtol=1e-4) | (nearer_edge < 1e-4)).all()
    agree = {"rtol": 1e-4, "atol": 2e-5}
    torch.testing.assert_close(ours.zbuf[same], theirs.zbuf[same], **agree)
    torch.testing.assert_close(ours.bary_coords[same], theirs.bary_coords[same], rtol=0, atol=1e-3)
    torch.testing.assert_close(ours.dists[same], theirs.dists[same], **agree)


@pytest.mark.pytorch3d
def test_gradients_equal_pytorch3d():
    grads = []
    for engine in ("scatter", "pytorch3d"):
        meshes = random_meshes(3, [(9, 12), (5, 4)], 0.6)
        vertices = meshes.verts_packed().clone().requires_grad_()
        fragments = rasterize(
            meshes.update_padded(
                torch.nn.utils.rnn.pad_sequence(vertices.split([9, 5]), batch_first=True)
            ),
            None,
            16,
            engine=engine,
        )
        covered = fragments.covered[..., None]
        weight = torch.tensor([1.0, -2.0, 3.0])
        loss = (fragments.zbuf * covered).sum()
        loss = loss + ((fragments.bary_coords * weight).sum(-1) * covered).sum()
        (loss + 10 * (fragments.dists * covered).sum()).backward()
        grads.append(vertices.grad)
    assert grads[0].abs().max() > 1
    torch.testing.assert_close(grads[0], grads[1], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("perspective_correct", [True, False])
def test_gradcheck(perspective_correct):
    (vertices,), (faces,) = random_parts(5, [(9, 12)], 0.7)
    vertices = vertices[None].double().requires_grad_()

    def values(v: Tensor) -> tuple[Tensor, ...]:
        f = rasterize(v, faces, 6, perspective_correct=perspective_correct)
        return f.zbuf, f.bary_coords, f.dists

    assert rasterize(vertices, faces, 6).covered.sum() > 4
    assert torch.autograd.gradcheck(values, vertices, eps=1e-7, atol=1e-4)


@pytest.mark.pytorch3d
def test_tensor_door_equals_meshes_door():
    vertices = SQUARE.repeat(3, 1, 1) + torch.linspace(0, 0.3, 3)[:, None, None]
    by_tensor = rasterize(vertices, SQUARE_FACES, (8, 10))
    by_meshes = rasterize(meshes_of(vertices, SQUARE_FACES), None, (8, 10))
    assert torch.equal(by_tensor.pix_to_face, by_meshes.pix_to_face)
    assert torch.equal(by_tensor.zbuf, by_meshes.zbuf)
    # Packed indices: the faces of the third mesh are 4 and 5.
    assert set(by_tensor.pix_to_face[2].unique().tolist()) == {-1, 4, 5}


@pytest.mark.pytorch3d
def test_chunks_do_not_change_the_result():
    meshes = random_meshes(11, [(40, 200), (20, 50)], 0.8)
    whole = rasterize(meshes, None, 32)
    pieces = rasterize(meshes, None, 32, max_bytes=20_000)
    assert torch.equal(whole.pix_to_face, pieces.pix_to_face)


def test_max_bytes_bounds_the_patches(monkeypatch):
    """No patch tensor is larger than the bound allows, whatever the faces' size."""
    largest = 0
    draw = scatter._draw

    def spy(keys, corners, area, face, offset, row, col, patch, *rest):
        nonlocal largest
        largest = max(largest, len(face) * patch[0] * patch[1])
        draw(keys, corners, area, face, offset, row, col, patch, *rest)

    monkeypatch.setattr(scatter, "_draw", spy)
    max_bytes = 1 << 20
    (vertices,), (faces,) = random_parts(2, [(50, 300)], 2.0)
    rasterize(vertices[None], faces, 64, max_bytes=max_bytes)
    assert 64 * 64 <= largest <= max_bytes // (2 * scatter._BYTES_PER_SAMPLE)


def test_faces_that_are_not_drawn():
    """Degenerate, behind the camera, reaching behind it, NaN, infinite, or out of the image."""
    triangle = torch.tensor([[-0.9, -0.9, 1.0], [0.9, -0.9, 1.0], [0.0, 0.9, 1.0]])
    behind, crossing, flat, nan, infinite, outside = (triangle.clone() for _ in range(6))
    behind[:, 2] = -1
    crossing[2, 2] = -0.1
    flat[:, 1] = 0
    nan[0, 0] = float("nan")
    infinite[0, 0] = float("inf")
    outside[:, 0] += 5
    empty = torch.stack((behind, crossing, flat, nan, infinite, outside))
    fragments = rasterize(empty, torch.tensor([[0, 1, 2]]), 12)
    assert (fragments.pix_to_face == -1).all()
    for values in (fragments.zbuf, fragments.bary_coords, fragments.dists):
        assert (values == -1).all()
    assert rasterize(triangle[None], torch.tensor([[0, 1, 2]]), 12).covered.any()


@pytest.mark.pytorch3d
def test_meshes_without_faces():
    from pytorch3d.structures import Meshes

    meshes = Meshes([SQUARE[0], torch.zeros(0, 3)], [SQUARE_FACES, torch.zeros(0, 3).long()])
    fragments = rasterize(meshes, None, 8)
    assert fragments.covered[0].any()
    assert not fragments.covered[1].any()


def test_edge_tolerance_closes_the_crack_on_a_shared_edge():
    """Pixel centres on the square's diagonal belong to neither triangle under the strict test."""
    flat = SQUARE * torch.tensor([1.0, 1.0, 0.0]) + torch.tensor([0.0, 0.0, 1.0])
    strict = rasterize(flat, SQUARE_FACES, 8).covered[0, 2:6, 2:6]
    tolerant = rasterize(flat, SQUARE_FACES, 8, edge_tolerance=1e-4).covered[0, 2:6, 2:6]
    assert strict.sum() == 12
    assert tolerant.all()


def test_nearest_face_wins_and_ties_go_to_the_lower_index():
    near, far = SQUARE[0, :3].clone(), SQUARE[0, :3].clone()
    near[:, 2], far[:, 2] = 1.0, 2.0
    faces = torch.tensor([[0, 1, 2], [3, 4, 5]])
    for pair, winner in (((near, far), 0), ((far, near), 1), ((near, near), 0)):
        fragments = rasterize(torch.cat(pair)[None], faces, 8)
        assert fragments.pix_to_face[fragments.covered].unique().tolist() == [winner]


def test_runs_in_float32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fragments = rasterize(SQUARE.bfloat16(), SQUARE_FACES, 8)
    assert fragments.zbuf.dtype == torch.float32
    torch.testing.assert_close(fragments.zbuf, rasterize(SQUARE, SQUARE_FACES, 8).zbuf)


def test_interpolated_attributes_are_linear_in_space():
    fragments = rasterize(SQUARE, SQUARE_FACES, 16, edge_tolerance=1e-4)
    depth = interpolate_attributes(fragments, SQUARE[0, :, 2:], SQUARE_FACES)[0, 0]
    covered = fragments.covered[0]
    torch.testing.assert_close(depth[covered], fragments.zbuf[0, ..., 0][covered])
    assert (depth[~covered] == 0).all()


@pytest.mark.pytorch3d
def test_fragments_feed_pytorch3d_textures():
    from pytorch3d.renderer import TexturesVertex
    from pytorch3d.structures import Meshes

    meshes = Meshes(SQUARE, SQUARE_FACES[None], textures=TexturesVertex(SQUARE))
    fragments = rasterize(meshes, None, 8)
    texels = meshes.sample_textures(fragments)[0, :, :, 0, 2]
    covered = fragments.covered[0]
    torch.testing.assert_close(texels[covered], fragments.zbuf[0, ..., 0][covered])


def test_mistakes():
    with pytest.raises(UserError, match="did you mean 'scatter'"):
        rasterize(SQUARE, SQUARE_FACES, 8, engine="scater")
    with pytest.raises(ValueError, match="faces"):
        rasterize(SQUARE, None, 8)
    with pytest.raises(ValueError, match="vertices"):
        rasterize(SQUARE[0], SQUARE_FACES, 8)


@pytest.mark.pytorch3d
def test_meshes_bring_their_faces():
    with pytest.raises(ValueError, match="None"):
        rasterize(meshes_of(SQUARE, SQUARE_FACES), SQUARE_FACES, 8)


def test_the_engine_without_pytorch3d(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch3d", None)  # what `import` then calls not found
    with pytest.raises(UserError, match=r"'pytorch3d'.*not installed.*pip install") as found:
        rasterize(SQUARE, SQUARE_FACES, 8, engine="pytorch3d")
    assert len(str(found.value).splitlines()) == 1
    assert rasterize(SQUARE, SQUARE_FACES, 8).covered.any()
