"""Depth-map meshes: identity, motion, validity, gradients, sharing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gan3d_bench.geometry.views import View
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import depth_normals, render_depth, warp_to_view

CAMERA = PinholeCamera(16)


def smooth_depth(batch: int = 1, size: int = 16, *, dtype=torch.float32) -> torch.Tensor:
    """A bump towards the camera, a different one for each element."""
    axis = torch.linspace(-1, 1, size, dtype=dtype)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    height = torch.linspace(0.06, 0.02, batch, dtype=dtype)[:, None, None, None]
    return 1.04 - height * torch.exp(-3 * ((x - 0.1) ** 2 + y**2))[None, None]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), supersample=st.integers(1, 3))
def test_identity_view_is_the_identity(seed, supersample):
    generator = torch.Generator().manual_seed(seed)
    depth = smooth_depth(2)
    texture = torch.rand(2, 3, 16, 16, generator=generator)
    seen = warp_to_view(texture, depth, View.from_angles(), CAMERA, supersample=supersample)
    assert (seen.mask == 1).all()
    torch.testing.assert_close(seen.image, texture, rtol=0, atol=1e-4)
    torch.testing.assert_close(seen.depth, depth, rtol=0, atol=5e-3)


def test_released_half_pixel_shift_is_an_option():
    texture, depth = torch.rand(1, 3, 16, 16), smooth_depth()
    seen = warp_to_view(texture, depth, View.from_angles(), CAMERA, compat_half_pixel=True)
    assert (seen.mask[..., :-1, :-1] == 1).all()
    assert (seen.mask[..., -1, :] == 0).all()
    assert (seen.mask[..., :, -1] == 0).all()


def test_without_border_the_outermost_ring_is_empty():
    depth = render_depth(smooth_depth(), View.from_angles(), CAMERA, extend_border=False)
    valid = depth < 1.2
    assert valid[..., 1:-1, 1:-1].all()
    assert valid.sum() == 14 * 14


@pytest.mark.parametrize(
    ("angle", "axis", "sign"), [("yaw", 3, 1), ("pitch", 2, -1)], ids=["yaw", "pitch"]
)
def test_the_nose_moves_as_the_convention_says(angle, axis, sign):
    """The texture's brightest spot is on the bump, nearest the camera."""
    axis_1d = torch.linspace(-1, 1, 32)
    y, x = torch.meshgrid(axis_1d, axis_1d, indexing="ij")
    bump = torch.exp(-3 * (x**2 + y**2))[None, None]
    seen = warp_to_view(
        bump, 1.03 - 0.05 * bump, View.from_angles(**{angle: 20.0}), PinholeCamera(32)
    )
    position = torch.arange(32.0).view([-1 if k == axis else 1 for k in range(4)])
    weight = (seen.image * seen.mask).clamp(min=0) ** 8
    centre = (weight * position).sum() / weight.sum()
    assert sign * (centre - 15.5) > 0.4


def test_turning_away_empties_pixels():
    seen = warp_to_view(torch.ones(1, 1, 16, 16), smooth_depth(), View.from_angles(60.0), CAMERA)
    assert 0.2 < seen.mask.mean() < 0.9
    assert (seen.depth[seen.mask == 0] == seen.depth.max()).all()


def test_one_depth_map_serves_many_views():
    texture, depth = torch.rand(1, 3, 16, 16), smooth_depth()
    views = View.sweep(yaw=(-30, 30), pitch=(-10, 10), steps=4)
    expanded = warp_to_view(
        texture.expand(4, -1, -1, -1), depth.expand(4, -1, -1, -1), views, CAMERA
    )
    shared = warp_to_view(texture, depth, views, CAMERA)
    copied = warp_to_view(texture.repeat(4, 1, 1, 1), depth.repeat(4, 1, 1, 1), views, CAMERA)
    for other in (expanded, copied):
        torch.testing.assert_close(shared.image, other.image, rtol=0, atol=1e-5)
        torch.testing.assert_close(shared.depth, other.depth, rtol=0, atol=1e-6)


def test_blend_holds_vertices_in_place():
    depth, view = smooth_depth(), View.from_angles(25.0, translation=(0.01, 0.0, 0.0))
    still = render_depth(depth, view, CAMERA, blend=torch.zeros(1, 1, 16, 16))
    moved = render_depth(depth, view, CAMERA, blend=torch.ones(1, 1, 16, 16))
    at_rest = render_depth(depth, View.from_angles(), CAMERA)
    torch.testing.assert_close(still, at_rest, rtol=0, atol=1e-6)
    torch.testing.assert_close(moved, render_depth(depth, view, CAMERA), rtol=0, atol=1e-6)


@pytest.mark.parametrize("compat_half_pixel", [False, True])
def test_gradcheck_of_rendered_depth(compat_half_pixel):
    camera = PinholeCamera(5)
    depth = smooth_depth(size=5, dtype=torch.float64).requires_grad_()
    raw = torch.tensor([[7.0, -5.0, 3.0]], dtype=torch.float64, requires_grad=True)

    def rendered(depth, raw):
        view = View.from_angles(*raw.unbind(1))
        return render_depth(depth, view, camera, compat_half_pixel=compat_half_pixel)

    assert (rendered(depth, raw) < 1.2).sum() >= 9
    assert torch.autograd.gradcheck(rendered, (depth, raw), eps=1e-7, atol=1e-4)


def test_gradients_through_the_warp():
    depth = smooth_depth(2).requires_grad_()
    texture = torch.rand(2, 3, 16, 16, requires_grad=True)
    yaw = torch.tensor([10.0, -20.0], requires_grad=True)
    seen = warp_to_view(texture, depth, View.from_angles(yaw), CAMERA)
    (seen.image * seen.mask).square().sum().backward()
    for tensor in (depth, texture, yaw):
        assert tensor.grad.isfinite().all()
        assert tensor.grad.abs().sum() > 0


def test_clamped_pixels_pass_no_gradient():
    depth = smooth_depth().requires_grad_()
    render_depth(depth + 0.5, View.from_angles(), CAMERA).sum().backward()
    assert (depth.grad == 0).all()


def test_normals():
    flat = depth_normals(torch.ones(1, 1, 8, 8), PinholeCamera(8))
    assert torch.equal(flat[0, :, 3, 3], torch.tensor([0.0, 0.0, -1.0]))
    # A wall that recedes to the right faces right; border normals are frontal.
    ramp = (1 + torch.linspace(0, 0.05, 8)).expand(1, 1, 8, 8)
    normals = depth_normals(ramp, PinholeCamera(8))
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(1, 8, 8))
    assert (normals[0, 0, 1:-1, 1:-1] > 0.1).all()
    assert torch.equal(normals[0, :, 0], flat[0, :, 0])
    depth = smooth_depth(size=5, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda d: depth_normals(d, PinholeCamera(5)), depth)
