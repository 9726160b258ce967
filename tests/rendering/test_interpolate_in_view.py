"""Maps carried by a depth map's vertices, and vertices that follow the view only in part."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gan3d_bench.geometry.views import View
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import interpolate_in_view, warp_to_view
from gan3d_bench.rendering.shading import LambertLight
from gan3d_bench.scenes.depth_map import DepthMapScene

SIZE = 24
CAMERA = PinholeCamera(SIZE)
ANGLES = st.floats(-45, 45, allow_nan=False)


def hill(size: int = SIZE, batch: int = 1) -> Tensor:
    """A smooth bump (B, 1, S, S), summit at 0.95, rim at 1.03."""
    x = torch.linspace(-1, 1, size)
    bump = torch.exp(-3 * (x[:, None] ** 2 + x[None] ** 2))
    return (1.03 - 0.08 * bump).expand(batch, 1, size, size).clone()


def smooth_maps(channels: int = 2) -> Tensor:
    x = torch.linspace(0, 3, SIZE)
    return torch.stack([torch.sin(x[:, None] * (1 + c) + x[None]) for c in range(channels)])[None]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_identity_view_shows_the_maps_themselves(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    depth = 0.9 + 0.2 * torch.rand(2, 1, SIZE, SIZE, generator=rng)
    maps = torch.randn(2, 3, SIZE, SIZE, generator=rng)
    seen = interpolate_in_view(maps, depth, View.from_angles([0.0, 0.0]), CAMERA)
    assert seen.mask.min() == 1
    torch.testing.assert_close(seen.image, maps, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(seen.depth, depth, atol=1e-4, rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(yaw=ANGLES, pitch=ANGLES)
def test_what_does_not_follow_the_view_stays(yaw: float, pitch: float) -> None:
    view, still = View.from_angles(yaw, pitch), View.from_angles(0.0)
    none = torch.zeros(1, 1, SIZE, SIZE)
    maps = smooth_maps()
    seen = interpolate_in_view(maps, hill(), view, CAMERA, blend=none)
    expected = interpolate_in_view(maps, hill(), still, CAMERA)
    torch.testing.assert_close(seen.image, expected.image)


@settings(max_examples=10, deadline=None)
@given(yaw=ANGLES)
def test_what_follows_entirely_needs_no_map(yaw: float) -> None:
    view, maps = View.from_angles(yaw), smooth_maps()
    seen = interpolate_in_view(maps, hill(), view, CAMERA, blend=torch.ones(1, 1, SIZE, SIZE))
    expected = interpolate_in_view(maps, hill(), view, CAMERA)
    torch.testing.assert_close(seen.image, expected.image, atol=1e-4, rtol=1e-4)


def test_half_way_is_between_both_ends() -> None:
    """Pure translation: half the blend moves half as far."""
    shift = 4 / CAMERA.focal  # four pixels at depth 1
    depth = torch.ones(1, 1, SIZE, SIZE)
    whole = View.from_angles(0.0, translation=[shift, 0.0, 0.0])
    half = View.from_angles(0.0, translation=[shift / 2, 0.0, 0.0])
    maps = smooth_maps()
    blended = interpolate_in_view(maps, depth, whole, CAMERA, blend=torch.full_like(depth, 0.5))
    expected = interpolate_in_view(maps, depth, half, CAMERA)
    torch.testing.assert_close(blended.image, expected.image, atol=1e-4, rtol=1e-4)
    assert blended.mask[..., :2].max() == 0  # nothing is left at the left edge
    assert blended.mask[..., 3:].min() == 1


def test_agrees_with_sampling_the_canonical_texture() -> None:
    view, maps = View.from_angles(15.0, 5.0), smooth_maps()
    seen = interpolate_in_view(maps, hill(), view, CAMERA, supersample=2, extend_border=True)
    warped = warp_to_view(maps, hill(), view, CAMERA)
    both = (seen.mask == 1) & (warped.mask == 1)
    assert both.float().mean() > 0.7
    error = (seen.image - warped.image).abs() * both
    assert error.sum() / both.sum() / maps.shape[1] < 0.01
    assert ((seen.depth - warped.depth).abs() * both).max() < 2e-3


def test_released_corners_shrink_the_picture_towards_the_edges() -> None:
    """Pixel i shows the texture at (i + 0.5) (W - 1) / W (LiftedGAN's released renderer)."""
    column = torch.arange(SIZE, dtype=torch.float32).expand(1, 1, SIZE, SIZE)
    depth = torch.ones(1, 1, SIZE, SIZE)
    seen = interpolate_in_view(column, depth, View.from_angles(0.0), CAMERA, compat_corners=True)
    expected = (torch.arange(SIZE) + 0.5) * (SIZE - 1) / SIZE
    torch.testing.assert_close(seen.image[0, 0, 3], expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("blend", [None, 0.7])
def test_gradients(blend: float | None) -> None:
    size = 5
    camera = PinholeCamera(size)
    rng = torch.Generator().manual_seed(1)
    depth = (1 + 0.01 * torch.rand(1, 1, size, size, generator=rng)).double().requires_grad_(True)
    maps = torch.rand(1, 2, size, size, generator=rng).double().requires_grad_(True)
    amount = None if blend is None else torch.full((1, 1, size, size), blend).double()

    def seen(depth: Tensor, maps: Tensor) -> Tensor:
        view = View.from_angles(torch.tensor([7.0]).double(), 3.0)
        return interpolate_in_view(maps, depth, view, camera, blend=amount).image

    assert torch.autograd.gradcheck(seen, (depth, maps), eps=1e-7, atol=1e-4)


def test_a_scene_with_a_map_leaves_its_background_in_place() -> None:
    depth, light = hill(32), LambertLight.frontal(1, ambient=1.0, diffuse=0.0)
    albedo = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.5
    blend = (depth < 1.0).float()
    scene = DepthMapScene(depth, albedo, light, blend=blend)
    front, turned = (scene.render(View.from_angles(yaw)) for yaw in (0.0, 30.0))
    corner = (..., slice(0, 4), slice(0, 4))
    torch.testing.assert_close(front.rgb[corner], turned.rgb[corner], atol=1e-4, rtol=1e-4)
    middle = (..., slice(12, 20), slice(12, 20))
    assert (front.rgb[middle] - turned.rgb[middle]).abs().mean() > 0.05
    assert turned.depth is not None and turned.depth.max() < 1.2
    assert turned.mask.min() > 0
