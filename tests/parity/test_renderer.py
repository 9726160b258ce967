"""The released GAN2Shape renderer's numbers, from the vectors `gan2shape_geometry`, `sh_lighting`.

The released code's normals point away from the camera, and its light direction away from the
light; both are compared with the negative of ours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gan3d_bench.geometry.views import View
from gan3d_bench.losses.smoothness import second_order_smoothness
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import (
    canonical_grid,
    clamping_range,
    depth_normals,
    grid_faces,
    render_depth,
    sample_texture,
    view_grid,
)
from gan3d_bench.rendering.shading import (
    LambertLight,
    SphericalHarmonicsLight,
    diffuse_shading,
    lit_texture,
    spherical_harmonics_basis,
)

HERE = Path(__file__).parent
CAMERA = PinholeCamera(32, fov=10)
TOLERANCE = 1e-5


def load(path: str) -> dict[str, Tensor]:
    with np.load(HERE / path) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture(scope="module")
def given() -> dict[str, Tensor]:
    arrays = load("gan2shape_geometry/inputs.npz")
    return {k: v[:, None] if "depth" in k else v for k, v in arrays.items()}


@pytest.fixture(scope="module")
def expected() -> dict[str, Tensor]:
    return load("gan2shape_geometry/outputs.npz")


@pytest.fixture(scope="module")
def view(given: dict[str, Tensor]) -> View:
    return View.from_gan2shape(given["view"])


def close(ours: Tensor, reference: Tensor, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(ours, reference, rtol=0, atol=tolerance)


def test_intrinsics(expected):
    close(CAMERA.intrinsics(), expected["K"])
    close(CAMERA.intrinsics().inverse(), expected["inv_K"])


def test_view_and_warps(given, expected, view):
    close(view.rotation_matrix(), expected["rot_mat"])
    points = CAMERA.backproject(given["depth"])
    close(points, expected["grid_3d"])
    close(view.transform(points), expected["warped_3d_grid"])
    close(view_grid(given["depth"], view, CAMERA), expected["warped_2d_grid"])
    seen = CAMERA.backproject(given["recon_depth"])
    close(view.inverse_transform(seen), expected["inv_warped_3d_grid"])
    close(canonical_grid(given["recon_depth"], view, CAMERA), expected["inv_warped_2d_grid"])


def test_shading(given, expected):
    normals = depth_normals(given["depth"], CAMERA, epsilon=1e-7)
    close(-normals.permute(0, 2, 3, 1), expected["normal"])
    raw = given["light"]
    light = LambertLight.from_slopes(raw[:, 0] / 2 + 0.5, raw[:, 1] / 2 + 0.5, raw[:, 2], raw[:, 3])
    close(-light.direction, expected["light_dir"])
    close(diffuse_shading(normals, light.direction), expected["diffuse_shading"])
    close(light.shade(normals), expected["shading"])
    texture = lit_texture(given["albedo"], light.shade(normals))
    close(texture, expected["texture"])
    close(sample_texture(texture, expected["inv_warped_2d_grid"]), expected["sampled_texture"])


def test_rendered_depth_with_the_released_half_pixel_shift(given, expected, view):
    ours = render_depth(given["depth"], view, CAMERA, compat_half_pixel=True).squeeze(1)
    reference = expected["warped_depth"]
    far = clamping_range((0.9, 1.1))[1]
    both = (ours < far) & (reference < far)
    assert both.float().mean() > 0.75
    assert ((ours < far) == (reference < far)).float().mean() > 0.995
    close(ours[both], reference[both], 1e-4)


def test_smoothness(given, expected):
    close(second_order_smoothness(given["depth"])[None], expected["smooth_loss_depth"])
    shading = second_order_smoothness(expected["diffuse_shading"])
    close(shading[None], expected["smooth_loss_shading"])


def test_faces(expected):
    assert torch.equal(grid_faces(4, 4), expected["faces"].long())


def test_spherical_harmonics():
    arrays = load("sh_lighting/arrays.npz")
    normals = arrays["in_normals"]
    close(spherical_harmonics_basis(normals), arrays["basis"])
    camera_normals = (normals * torch.tensor([1.0, -1.0, -1.0])).transpose(1, 2)[..., None]
    shading = SphericalHarmonicsLight.from_gamma(arrays["in_gamma"]).shade(camera_normals)
    close(shading.squeeze(-1).transpose(1, 2), arrays["shading"], 2e-5)
