"""Volume rendering: against closed forms, its gradients, its bounds; tri-planes and their axes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gan3d_bench.errors import UserError
from gan3d_bench.generators.eg3d import volume
from gan3d_bench.generators.eg3d.cameras import CameraOrbit
from gan3d_bench.generators.eg3d.triplanes import (
    PLANE_AXES,
    Decoder,
    TriplaneField,
    plane_coordinates,
)
from gan3d_bench.generators.eg3d.volume import VolumeConfig

SOME = settings(max_examples=30, deadline=None)
ORBIT = CameraOrbit(2.7, (0.0, 0.0, 0.0))
FRONT = ORBIT.frontal()


def small_field(batch: int = 2, dtype: torch.dtype = torch.float32) -> TriplaneField:
    planes = torch.randn(batch, 3, 4, 6, 6, dtype=dtype)
    return TriplaneField(planes, Decoder(4, 5, 3).to(dtype))


def ball(points: Tensor, radius: float = 0.3, centre: float = 0.0) -> tuple[Tensor, Tensor]:
    """A red ball on the z axis, opaque at once."""
    distance = (points - points.new_tensor([0.0, 0.0, centre])).norm(dim=-1)
    red = points.new_tensor([1.0, 0.0, 0.0]).expand(*points.shape[:-1], 3)
    return red, torch.where(distance < radius, 3000.0, -3000.0)


# -- closed forms -------------------------------------------------------------------------------


@torch.no_grad()
def test_a_ball_is_where_it_is() -> None:
    """Distances along rays and depths as camera z are those of a sphere."""
    size, focal = 33, 4.0
    orbit = CameraOrbit(2.7, (0.0, 0.0, 0.0), focal)
    labels = torch.cat((orbit.frontal(), orbit.look_at(torch.tensor([0.7]), torch.tensor([0.3]))))
    rays = volume.camera_rays(labels, size)
    config = VolumeConfig((2.2, 3.2), 1.0, 64, 64)
    seen = volume.render_rays(ball, rays, config)
    # of a unit direction d and the centre at distance 2.7: t = d.c - sqrt((d.c)^2 - |c|^2 + r^2)
    ahead = -(rays.directions * rays.origins).sum(-1)
    inside = ahead**2 - 2.7**2 + 0.3**2
    hit = inside > 0.02
    expected = ahead - inside.clamp(min=0).sqrt()
    torch.testing.assert_close(seen.distance[hit], expected[hit], rtol=0, atol=0.01)
    assert seen.opacity[hit].min() > 0.99
    assert seen.opacity[inside < -0.02].max() < 0.01
    depth = volume.depth_of(seen.distance, labels, rays)
    pose = labels[:, :16].unflatten(1, (4, 4))
    points = rays.origins + seen.distance[..., None] * rays.directions
    in_camera = (points - pose[:, None, :3, 3]) @ pose[:, :3, :3]
    torch.testing.assert_close(depth, in_camera[..., 2], rtol=1e-5, atol=1e-5)
    # red is red, empty is black
    red = seen.features[hit]
    torch.testing.assert_close(red, torch.tensor([1.0, -1, -1]).expand_as(red), atol=0.05, rtol=0)
    assert seen.features[inside < -0.02].max() < -0.98


def test_fine_samples_find_the_surface() -> None:
    """With samples where the coarse pass found something, the error of the distance shrinks."""
    rays = volume.camera_rays(FRONT, 9)
    middle = 4 * 9 + 4
    errors = {}
    for coarse, fine in ((16, 0), (16, 64)):
        config = VolumeConfig((2.25, 3.3), 1.0, coarse, fine)
        seen = volume.render_rays(lambda points: ball(points, 0.31), rays, config)
        errors[fine] = abs(float(seen.distance[0, middle]) - 2.39)
    assert errors[64] < errors[0] / 3


def test_opacity_of_even_fog() -> None:
    """Fog of raw density s is opaque by 1 - exp(-softplus(s - 1) length)."""
    fog = lambda points: (points * 0 + 0.25, points[..., 0] * 0 + 1.5)  # noqa: E731
    rays = volume.camera_rays(FRONT, 4)
    for white_back in (False, True):
        config = VolumeConfig((1.0, 2.0), 1.0, 21, 0, white_back)
        seen = volume.render_rays(fog, rays, config)
        thickness = math.log1p(math.exp(0.5)) * 1.0
        expected = 1 - math.exp(-thickness)
        torch.testing.assert_close(seen.opacity, torch.full((1, 16), expected))
        back = 1 - expected if white_back else 0.0
        wanted = 2 * (0.25 * expected + back) - 1
        torch.testing.assert_close(seen.features, torch.full((1, 16, 3), wanted))


def test_rays_that_miss_the_cube_see_nothing_in_front_of_it() -> None:
    aside = ORBIT.look_at(torch.tensor([0.0]), torch.tensor([0.0]))
    aside[:, 3] += 5.0
    rays = volume.camera_rays(aside, 4)
    config = VolumeConfig(None, 0.8, 8, 8)
    seen = volume.render_rays(small_field(1), rays, config)
    assert float(seen.opacity.detach().max()) == 0
    assert all(x.isfinite().all() for x in seen)


@SOME
@given(st.floats(0.2, 2.0), st.floats(-0.6, 0.6), st.floats(-0.5, 0.5))
def test_limits_are_where_rays_cross_the_cube(side: float, a: float, b: float) -> None:
    labels = ORBIT.look_at(torch.tensor([a]), torch.tensor([b])).double()
    rays = volume.camera_rays(labels, 6)
    start, end = volume.ray_limits(rays, VolumeConfig(None, side))
    share = torch.linspace(0, 1, 400, dtype=torch.float64)
    along = share * 6
    points = rays.origins[:, :, None] + along[:, None] * rays.directions[:, :, None]
    inside = points.abs().amax(-1) <= side / 2
    hit = inside.any(-1)
    assert (start[hit] < end[hit]).all()
    first = torch.where(inside, along, torch.inf).amin(-1)[hit]
    last = torch.where(inside, along, -torch.inf).amax(-1)[hit]
    step = 6 / 399 + 1e-9
    assert (start[hit] <= first).all() and (first - start[hit] <= step).all()
    assert (end[hit] >= last).all() and (end[hit] - last <= step).all()


@SOME
@given(st.integers(0, 2**31), st.integers(4, 12), st.integers(1, 9), st.booleans())
def test_samples_are_within_the_range_and_by_level(
    seed: int, coarse: int, fine: int, disparity: bool
) -> None:
    rng = torch.Generator().manual_seed(seed)
    start, end = torch.full((2, 3), 0.5), torch.full((2, 3), 2.0)
    depths = volume.coarse_depths(start, end, torch.rand(2, 3, coarse, generator=rng), disparity)
    assert (depths.diff(dim=-1) > 0).all()
    assert depths.min() >= 0.5 - 1e-5
    weights = torch.rand(2, 3, coarse - 1, generator=rng) ** 8
    level = torch.rand(2, 3, fine, generator=rng).sort(-1).values
    found = volume.fine_depths(depths, weights, level)
    assert (found.diff(dim=-1) >= -1e-5).all()
    middles = (depths[..., 1:] + depths[..., :-1]) / 2
    assert (found >= middles[..., :1] - 1e-5).all()
    assert (found <= middles[..., -2:-1] + 1e-5).all()  # the last bin is never used


def test_randomness_is_the_generator_s_alone() -> None:
    field, rays, config = small_field(1), volume.camera_rays(FRONT, 4), VolumeConfig()
    fixed = volume.render_rays(field, rays, config).features
    assert torch.equal(fixed, volume.render_rays(field, rays, config).features)

    def jittered(seed: int, **options) -> Tensor:
        rng = torch.Generator().manual_seed(seed)
        return volume.render_rays(field, rays, config, rng, **options).features

    assert torch.equal(jittered(0), jittered(0))
    assert not torch.equal(jittered(0), jittered(1))
    torch.testing.assert_close(jittered(0), jittered(0, points_at_once=300))


# -- gradients ----------------------------------------------------------------------------------


def test_gradients_of_the_marcher() -> None:
    colours = torch.rand(1, 2, 6, 3, dtype=torch.float64, requires_grad=True)
    densities = torch.randn(1, 2, 6, dtype=torch.float64, requires_grad=True)
    depths = (torch.rand(1, 2, 6, dtype=torch.float64) + 1).cumsum(-1).requires_grad_()

    def composed(colours: Tensor, densities: Tensor, depths: Tensor) -> tuple[Tensor, ...]:
        marched = volume.march(densities, depths)
        return volume.mixed(marched.weights, colours), marched.distance, marched.opacity

    assert torch.autograd.gradcheck(composed, (colours, densities, depths))


def test_samples_weigh_as_the_intervals_whose_ends_they_are() -> None:
    """As released: intervals have the mean colour of their ends."""
    colours, densities = torch.rand(2, 3, 7, 4), 3 * torch.randn(2, 3, 7)
    depths = (torch.rand(2, 3, 7) + 0.1).cumsum(-1)
    intervals = volume.ray_weights(densities, depths)
    means = (colours[..., :-1, :] + colours[..., 1:, :]) / 2
    marched = volume.march(densities, depths)
    expected = (intervals[..., None] * means).sum(-2)
    torch.testing.assert_close(volume.mixed(marched.weights, colours), expected)
    torch.testing.assert_close(marched.weights.sum(-1), marched.opacity)


def test_gradients_of_the_renderer() -> None:
    """Coarse samples alone: where fine ones lie depends on the density, without a gradient."""
    for white_back in (False, True):
        _check_gradients_of_the_renderer(VolumeConfig((2.25, 3.15), 1.0, 5, 0, white_back))


def _check_gradients_of_the_renderer(config: VolumeConfig) -> None:
    field = small_field(1, torch.float64)
    rays = volume.camera_rays(FRONT.double(), 2)
    weights = [field.planes, *field.decoder.parameters()]

    def rendered(*given: Tensor) -> tuple[Tensor, ...]:
        for parameter, value in zip(weights[1:], given[1:], strict=True):
            parameter.data = value.detach()
        values = dict(zip(names, given[1:], strict=True))

        class Own:
            def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
                return torch.func.functional_call(field.decoder, values, (x,))

        return volume.render_rays(TriplaneField(given[0], Own()), rays, config)  # type: ignore

    names = [name for name, _ in field.decoder.named_parameters()]
    given = [x.detach().clone().requires_grad_() for x in weights]
    assert torch.autograd.gradcheck(rendered, given)


def test_gradients_with_fine_samples_are_those_of_fixed_samples() -> None:
    field = small_field(1, torch.float64)
    field.planes.requires_grad_()
    rays = volume.camera_rays(FRONT.double(), 3)
    config = VolumeConfig((2.25, 3.15), 1.0, 6, 5)
    seen = volume.render_rays(field, rays, config)
    (given,) = torch.autograd.grad(seen.features.square().sum(), field.planes)
    # the same samples, told instead of found
    start, end = volume.ray_limits(rays, config)
    coarse = volume.coarse_depths(start, end, torch.full((1, 9, 6), 0.5).double())
    look = lambda depths: field(  # noqa: E731
        (rays.origins[:, :, None] + depths[..., None] * rays.directions[:, :, None]).flatten(1, 2)
    )
    with torch.no_grad():
        weights = volume.ray_weights(look(coarse)[1].view_as(coarse), coarse)
        level = ((torch.arange(5) + 0.5) / 5).double().expand(1, 9, 5)
        depths = torch.cat((coarse, volume.fine_depths(coarse, weights, level)), -1).sort(-1).values
    colours, densities = look(depths)
    weights = volume.march(densities.view_as(depths), depths).weights
    features = volume.mixed(weights, colours.view(1, 9, 11, 3)) * 2 - 1
    (expected,) = torch.autograd.grad(features.square().sum(), field.planes)
    torch.testing.assert_close(given, expected)


def test_empty_rays_give_no_nan_to_gradients() -> None:
    planes = torch.zeros(1, 3, 4, 6, 6, requires_grad=True)
    field = TriplaneField(planes, Decoder(4, 5, 3))
    with torch.no_grad():
        field.decoder.out.bias[0] = -1e4
    seen = volume.render_rays(field, volume.camera_rays(FRONT, 3), VolumeConfig((2.0, 3.0)))
    assert float(seen.opacity.detach().max()) == 0
    (seen.distance.sum() + seen.features.sum()).backward()
    assert planes.grad is not None and planes.grad.isfinite().all()


# -- bounded memory -----------------------------------------------------------------------------


class Largest(TorchDispatchMode):
    """Notes the largest tensor that is made."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else (out,):
            if isinstance(x, Tensor):
                self.numel = max(self.numel, x.numel())
        return out


def test_parts_bound_the_memory_and_change_nothing() -> None:
    field = small_field(2)
    field.planes.requires_grad_()
    labels = torch.cat((FRONT, ORBIT.look_at(torch.tensor([0.3]), torch.tensor([0.1]))))
    rays = volume.camera_rays(labels, 16)
    config = VolumeConfig((2.25, 3.3), 1.0, 12, 12)
    results = {}
    for points in (10**6, 1000):
        with Largest() as largest:
            seen = volume.render_rays(field, rays, config, points_at_once=points)
        loss = seen.features.square().mean() + seen.distance.mean()
        (gradient,) = torch.autograd.grad(loss, field.planes)
        results[points] = (*(x.detach() for x in seen), gradient, largest.numel)
    *whole, without = results[10**6]
    *parts, within = results[1000]
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-6)
    assert without > 50_000
    assert within < 12_288  # what is returned, and 1000 points of 12 features


# -- tri-planes ---------------------------------------------------------------------------------


def test_axes_of_the_planes() -> None:
    point = torch.tensor([0.1, 0.2, 0.3])
    released = plane_coordinates(point, 2.0, "released")
    torch.testing.assert_close(released, torch.tensor([[0.1, 0.2], [0.1, 0.3], [0.3, 0.1]]))
    corrected = plane_coordinates(point, 2.0, "corrected")
    torch.testing.assert_close(corrected, torch.tensor([[0.1, 0.2], [0.1, 0.3], [0.3, 0.2]]))
    assert set(PLANE_AXES) == {"released", "corrected"}
    torch.testing.assert_close(plane_coordinates(point, 1.0, "released"), released * 2)


def test_the_released_third_plane_does_not_tell_heights_apart() -> None:
    """Where it alone has features, moving a point up changes nothing; corrected, it does."""
    decoder = Decoder(4, 8, 3)
    planes = torch.zeros(1, 3, 4, 8, 8)
    planes[:, 2] = torch.randn(4, 8, 8)
    points = torch.tensor([[[0.1, 0.3, -0.2], [0.1, -0.3, -0.2]]])
    for axes, same in (("released", True), ("corrected", False)):
        colours, densities = TriplaneField(planes, decoder, axes=axes)(points)
        assert torch.allclose(densities[0, 0], densities[0, 1]) == same
        assert torch.allclose(colours[0, 0], colours[0, 1]) == same


def test_outside_the_cube_planes_are_zero() -> None:
    decoder = Decoder(4, 8, 3)
    field = TriplaneField(torch.randn(1, 3, 4, 8, 8), decoder, box_warp=1.0)
    _, far = field(torch.tensor([[[0.9, 0.9, 0.9]]]))
    _, empty = decoder(torch.zeros(1, 1, 4))
    torch.testing.assert_close(far, empty)


@pytest.mark.parametrize(
    "options",
    [
        {"ray_range": (3.0, 2.0)},
        {"ray_range": (0.0, 2.0)},
        {"box_warp": 0.0},
        {"box_warp": float("nan")},
        {"coarse_samples": 3},
        {"fine_samples": -1},
    ],
)
def test_what_cannot_be_rendered_is_refused(options: dict) -> None:
    with pytest.raises(UserError, match="expected"):
        VolumeConfig(**options)
