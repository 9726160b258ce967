"""Cameras, shading and supersampling."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.scatter import pixel_centres
from gan3d_bench.rendering.shading import (
    LambertLight,
    SphericalHarmonicsLight,
    diffuse_shading,
    lit_texture,
)
from gan3d_bench.rendering.supersampling import downsample

SIZES = st.tuples(st.integers(2, 20), st.integers(2, 20))


@settings(max_examples=25, deadline=None)
@given(image_size=SIZES, fov=st.floats(5, 90))
def test_project_undoes_backproject(image_size, fov):
    camera = PinholeCamera(image_size, fov)
    depth = torch.rand(2, 1, *image_size, dtype=torch.float64) + 0.5
    points = camera.backproject(depth)
    pixels = camera.project(points)
    v, u = torch.meshgrid(*(torch.arange(s).double() for s in image_size), indexing="ij")
    torch.testing.assert_close(pixels, torch.stack((u, v), -1).expand(2, -1, -1, -1))
    grid = camera.pixels_to_grid(pixels)
    texture = torch.rand(2, 3, *image_size, dtype=torch.float64)
    torch.testing.assert_close(
        F.grid_sample(texture, grid, align_corners=True, padding_mode="border"), texture
    )
    homogeneous = points @ camera.intrinsics().double().T
    torch.testing.assert_close(
        homogeneous[..., :2] / homogeneous[..., 2:], pixels, rtol=1e-5, atol=1e-5
    )


@settings(max_examples=25, deadline=None)
@given(image_size=SIZES)
def test_ndc_of_pixel_points_are_the_rasterizer_s_pixel_centres(image_size):
    camera = PinholeCamera(image_size)
    depth = torch.rand(1, 1, *image_size, dtype=torch.float64) + 0.5
    ndc = camera.to_ndc(camera.backproject(depth))[0]
    height, width = image_size
    torch.testing.assert_close(ndc[0, :, 0], pixel_centres(width, height, depth), rtol=0, atol=1e-6)
    torch.testing.assert_close(ndc[:, 0, 1], pixel_centres(height, width, depth), rtol=0, atol=1e-6)
    assert torch.equal(ndc[..., 2], depth[0, 0])


def test_focal_lengths():
    camera = PinholeCamera.from_focal((100, 225), 1015.0)
    assert camera.focal == pytest.approx(1015.0)
    assert camera.resized(90) == PinholeCamera((40, 90), camera.fov)
    assert PinholeCamera(32).resized(64) == PinholeCamera(64)
    assert PinholeCamera(225, 90.0).focal == pytest.approx(112.0)


def normal_map(*vector: float) -> torch.Tensor:
    return F.normalize(torch.tensor(vector).float(), dim=0).view(1, 3, 1, 1)


def test_directional_light():
    frontal = LambertLight.frontal(1, ambient=0.3, diffuse=0.6)
    assert frontal.shade(normal_map(0, 0, -1)).item() == pytest.approx(0.9)
    assert frontal.shade(normal_map(0, 0, 1)).item() == pytest.approx(0.3)
    one = torch.ones(1)
    from_left = LambertLight.from_slopes(0 * one, one, 2 * one, 0 * one)
    from_above = LambertLight.from_slopes(0 * one, one, 0 * one, 2 * one)
    # Camera axes: -x is left, -y is up.
    assert from_left.shade(normal_map(-1, 0, -1)) > from_left.shade(normal_map(1, 0, -1))
    assert from_above.shade(normal_map(0, -1, -1)) > from_above.shade(normal_map(0, 1, -1))
    assert from_left.direction.norm().item() == pytest.approx(1.0)
    assert len(from_left.to("cpu")) == 1


def test_spherical_harmonics_axes():
    """The second band grows downward in the model's axes, the third towards the viewer."""
    coefficients = torch.zeros(1, 3, 9)
    coefficients[0, 0, 1] = 1.0
    coefficients[0, 1, 2] = 1.0
    light = SphericalHarmonicsLight(coefficients)
    up, viewer = light.shade(normal_map(0, -1, 0)), light.shade(normal_map(0, 0, -1))
    assert up.shape == (1, 3, 1, 1)
    assert up[0, 0].item() == pytest.approx(-1.7724539)
    assert viewer[0, 1].item() == pytest.approx(1.7724539)
    no_light = SphericalHarmonicsLight.from_gamma(torch.zeros(2, 27))
    assert len(no_light.to("cpu")) == 2
    assert no_light.shade(normal_map(0, 0, -1)).mean().item() == pytest.approx(0.709, abs=1e-3)


def test_lit_texture_and_gradients():
    albedo = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1)
    assert lit_texture(albedo, torch.tensor(0.5)).flatten().tolist() == [-1.0, -0.5, 0.0]
    normals = F.normalize(torch.randn(1, 3, 4, 4, dtype=torch.float64), dim=1)
    direction = F.normalize(torch.randn(1, 3, dtype=torch.float64), dim=1)
    inputs = (normals.requires_grad_(), direction.requires_grad_())
    assert torch.autograd.gradcheck(diffuse_shading, inputs)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_downsample_is_average_pooling(factor):
    image = torch.rand(2, 3, 4 * factor, 5 * factor)
    torch.testing.assert_close(downsample(image, factor), F.avg_pool2d(image, factor))
