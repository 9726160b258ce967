"""DIB-R's rasterisation and the losses of its training, from `dibr_soft_mask` and `mesh_losses`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gan3d_bench.geometry.topology import MeshTopology
from gan3d_bench.losses.meshes import flat_loss, iou_loss, laplacian_loss, move_loss
from gan3d_bench.rendering import rasterize
from gan3d_bench.rendering.fragments import interpolate_attributes
from gan3d_bench.rendering.silhouette import SoftSilhouette, soft_mask

HERE = Path(__file__).parent
SIZE = 32
CONFIGS = {  # of the vector: sigma, box, faces a pixel
    "A": SoftSilhouette(1 / 7000, 0.02, 30),
    "B": SoftSilhouette(1 / 70, 0.2, 30),
    "C": SoftSilhouette(1 / 70, 0.2, 2),
}


def load(name: str) -> dict[str, Tensor]:
    with np.load(HERE / name / "arrays.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


@pytest.fixture(scope="module")
def dibr() -> dict[str, Tensor]:
    return load("dibr_soft_mask")


def to_ndc(face_vertices: Tensor, z: Tensor | None = None) -> Tensor:
    """DIB-R's image plane (x right) and camera z (forward is negative) to the suite's NDC."""
    xy = face_vertices.flatten(1, 2) * torch.tensor([-1.0, 1.0])
    return xy if z is None else torch.cat((xy, -z.flatten(1)[..., None]), -1)


def close_gradient(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("config", CONFIGS)
def test_soft_masks_and_their_gradients(dibr, config):
    corners = dibr["in_face_vertices_image"].clone().requires_grad_()
    faces = torch.arange(corners.shape[1] * 3).view(-1, 3)
    mask = soft_mask(to_ndc(corners), faces, dibr["face_idx"] >= 0, CONFIGS[config])
    torch.testing.assert_close(mask, dibr[f"soft_mask_{config}"], rtol=0, atol=1e-5)
    (mask * dibr["in_grad_soft_mask"]).sum().backward()
    close_gradient(corners.grad, dibr[f"grad_soft_mask_{config}_face_vertices_image"])


def test_hard_interpolation_and_its_gradients(dibr):
    corners = dibr["in_face_vertices_image"].clone().requires_grad_()
    features = dibr["in_face_features"].clone().requires_grad_()
    drawn, indices, weights = [], [], []
    for image in range(2):
        front = (dibr["in_face_normals_z"][image] >= 0).nonzero().squeeze(1)
        faces = torch.arange(len(front) * 3).view(-1, 3)
        vertices = to_ndc(corners[image : image + 1], dibr["in_face_vertices_z"][image : image + 1])
        fragments = rasterize(
            vertices.view(1, -1, 3, 3)[:, front].flatten(1, 2), faces, SIZE,
            perspective_correct=False, with_dists=False,
        )  # fmt: skip
        covered, index = fragments.covered[0], fragments.pix_to_face[0, ..., 0]
        indices.append(torch.where(covered, front[index.clamp(min=0)], -1))
        weights.append(fragments.bary_coords[0, ..., 0, :] * covered[..., None])
        drawn.append(
            interpolate_attributes(fragments, features[image, front].flatten(0, 1), faces)[0]
        )
    assert (torch.stack(indices) == dibr["face_idx"]).all()
    torch.testing.assert_close(torch.stack(weights), dibr["barycentric"], rtol=0, atol=1e-5)
    seen = torch.stack(drawn).permute(0, 2, 3, 1)
    torch.testing.assert_close(seen, dibr["image_features"], rtol=0, atol=1e-5)
    (seen * dibr["in_grad_features"]).sum().backward()
    close_gradient(corners.grad, dibr["grad_features_face_vertices_image"])
    close_gradient(features.grad, dibr["grad_features_face_features"])


@pytest.fixture(scope="module")
def losses() -> dict[str, Tensor]:
    return load("mesh_losses")


@pytest.fixture(scope="module")
def topology(losses) -> MeshTopology:
    return MeshTopology.of(losses["in_faces"].long(), len(losses["in_template_verts"]))


def test_laplacian_flat_and_move_losses(losses, topology):
    move = losses["in_move"].clone().requires_grad_()
    vertices = losses["in_template_verts"] + move
    edges, count = len(topology.edges), vertices.shape[1]
    assert (edges, len(topology.edge_faces)) == (480, 480)
    laplacian = laplacian_loss(move, topology) * count * 3
    flat = flat_loss(vertices, topology) * edges
    for name, value in (
        ("dibr_laplacian", laplacian),
        ("kaolin_laplacian", laplacian),
        ("dibr_flat", flat),
        ("mean_squared_move", move_loss(move)),
        # the same quantities as PyTorch3D and SoftRas put them together
        ("p3d_normal_consistency", (1 - topology.edge_cosines(vertices)).mean()),
        (
            "p3d_laplacian_uniform",
            (topology.mean_of_neighbours(vertices) - vertices).norm(dim=-1).mean(),
        ),
        (
            "softras_laplacian",
            (topology.mean_of_neighbours(vertices) - vertices).square().sum((1, 2)),
        ),
    ):
        torch.testing.assert_close(value.detach(), losses[name], rtol=1e-4, atol=0)
    (laplacian + flat).backward()
    close_gradient(move.grad, losses["dibr_grad_lap_plus_flat"])


def test_iou_loss(losses):
    random = np.random.RandomState(41)
    random.randn(2, 162, 3)
    mask = torch.from_numpy(random.rand(2, 32, 32)).float()
    target = torch.from_numpy(random.rand(2, 32, 32) > 0.5).float()
    torch.testing.assert_close(iou_loss(mask, target), losses["mask_iou_loss"], rtol=1e-4, atol=0)
