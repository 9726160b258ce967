"""Texture coordinates of morphable models."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.geometry.uv_atlas import UVAtlas, cylinder


@pytest.fixture(scope="module")
def heads() -> UVAtlas:
    return UVAtlas.of(MorphableModel.load_heads())


def points(seed: int, count: int = 50) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, generator=rng) * torch.tensor([0.7, 1.0, 0.2]) + torch.tensor(
        [0.0, 0.0, 1.0]
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_a_mirrored_face_has_mirrored_coordinates(seed: int) -> None:
    mean = points(seed)
    mirrored = mean * torch.tensor([-1.0, 1.0, 1.0])
    expected = cylinder(mean) * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
    assert torch.allclose(cylinder(mirrored), expected, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_the_cylinder_is_used_from_edge_to_edge(seed: int) -> None:
    uv = cylinder(points(seed))
    assert uv.min() >= 0 and uv.max() <= 1
    assert uv[:, 1].min() == 0 and uv[:, 1].max() == 1
    assert (uv[:, 0] - 0.5).abs().max() == pytest.approx(0.5, abs=1e-6)


def test_up_and_to_the_viewers_right_grow() -> None:
    uv = cylinder(torch.tensor([[-0.5, 0.0, 1.0], [0.5, 0.0, 1.0], [0.0, 1.0, 1.0]]))
    assert uv[0, 0] < 0.5 < uv[1, 0]
    assert uv[2, 1] == 1 and uv[2, 0] == 0.5


def test_maps_at_vertices_are_what_faces_show(heads: UVAtlas) -> None:
    # a map of its own coordinates
    size = 65
    line = torch.linspace(0, 1, size)
    v, u = torch.meshgrid(line.flip(0), line, indexing="ij")
    values = heads.at_vertices(torch.stack((u, v))[None])
    assert torch.allclose(values[0], heads.vertex_uvs, atol=1e-5)


def test_the_own_atlas_is_used_where_there_is_one(heads: UVAtlas) -> None:
    model = MorphableModel.load_heads()
    assert heads.uvs is model.uvs
    # every vertex lies where one of its faces says
    corner = model.faces[100]
    at = heads.uvs[heads.face_uvs[100]]
    assert all(
        (heads.vertex_uvs[vertex] - uv).norm() < 1e-6 or vertex in model.faces[101:]
        for vertex, uv in zip(corner, at, strict=True)
    )
