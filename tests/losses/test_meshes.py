"""Losses of meshes and silhouettes: what costs nothing, what costs more, gradients."""

from __future__ import annotations

import pytest
import torch
import trimesh

from gan3d_bench.geometry.topology import MeshTopology
from gan3d_bench.losses.meshes import flat_loss, iou_loss, laplacian_loss, move_loss


def sphere(subdivisions: int = 2) -> tuple[torch.Tensor, MeshTopology]:
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions)
    vertices = torch.tensor(mesh.vertices, dtype=torch.float64)[None]
    return vertices, MeshTopology.of(torch.tensor(mesh.faces), len(mesh.vertices))


def test_topology_of_a_sphere_and_of_an_open_mesh():
    _, topology = sphere()
    assert len(topology.edges) == len(topology.edge_faces) == 3 * len(topology.faces) // 2
    two = MeshTopology.of(torch.tensor([[0, 1, 2], [1, 0, 3]]), 5)
    assert two.edges.tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3]]
    assert two.edge_faces.tolist() == [[0, 1]]
    values = torch.tensor([[[1.0], [2.0], [3.0], [4.0], [5.0]]])
    means = two.mean_of_neighbours(values)[0, :, 0].tolist()
    assert means == pytest.approx([3.0, 8 / 3, 1.5, 1.5, 0.0])
    fan = MeshTopology.of(torch.tensor([[0, 1, 2], [0, 1, 3], [0, 1, 4]]), 5)
    assert len(fan.edges) == 7 and len(fan.edge_faces) == 0


def test_an_even_move_has_no_laplacian_but_is_a_move():
    vertices, topology = sphere()
    move = torch.ones_like(vertices) * 0.3
    assert laplacian_loss(move, topology).item() == pytest.approx(0, abs=1e-12)
    assert move_loss(move).item() == pytest.approx(3 * 0.3**2)
    bump = torch.zeros_like(vertices)
    bump[0, 0] = 0.3
    assert laplacian_loss(bump, topology) > 1e-4


def test_the_flatter_the_smaller():
    vertices, topology = sphere(2)
    finer, fine = sphere(3)
    assert 0 < flat_loss(finer, fine) < flat_loss(vertices, topology)
    noise = torch.randn(vertices.shape, generator=torch.Generator().manual_seed(0)).double()
    assert flat_loss(vertices + 0.05 * noise, topology) > 2 * flat_loss(vertices, topology)
    square = torch.tensor([[[0.0, 0, 0], [1, 1, 0], [1, 0, 0], [0, 1, 0]]]).double()
    two = MeshTopology.of(torch.tensor([[0, 2, 1], [0, 1, 3]]), 4)
    assert flat_loss(square, two).item() == pytest.approx(0)


def test_iou():
    mask = torch.zeros(2, 1, 4, 4)
    mask[..., :2, :] = 1
    half = torch.zeros(2, 1, 4, 4)
    half[..., :1, :] = 1
    assert iou_loss(mask, mask).item() == pytest.approx(0)
    assert iou_loss(mask, half).item() == pytest.approx(0.5)
    assert iou_loss(mask, 1 - mask).item() == 1
    assert iou_loss(mask[:1] * 0, half[:1] * 0).isfinite()


def test_numerical_gradients():
    vertices, topology = sphere(0)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(vertices.shape, generator=generator).double()
    moved = (vertices + 0.1 * noise).requires_grad_()
    for loss in (laplacian_loss, flat_loss):
        assert torch.autograd.gradcheck(lambda v, loss=loss: loss(v, topology), moved)
    masks = torch.rand(2, 2, 3, 3, generator=generator).double()
    mask = masks[0].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda m: iou_loss(m, masks[1]), mask)
