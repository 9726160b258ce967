"""Parts of the 3DMM UV-map generator: coefficients, networks, drawing, masks, losses, rotation."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gan3d_bench.faces.face_model import FaceModel
from gan3d_bench.generators.stylegan2 import Generator, GeneratorConfig
from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.geometry.uv_atlas import UVAtlas
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.uv3dmm.coefficients import Coefficients
from gan3d_bench.methods.uv3dmm.networks import StyleToCoefficients, YawStep, hidden_layers
from gan3d_bench.methods.uv3dmm.objective import photometric, reconstruction, roughness
from gan3d_bench.methods.uv3dmm.rotation import StyleRotation
from gan3d_bench.methods.uv3dmm.scene import TexturedHeads, TurnedStylecodes
from gan3d_bench.methods.uv3dmm.textured_face import FaceRenderer, UVMaps, texel_weights
from gan3d_bench.methods.uv3dmm.uv_generator import UVGenerator, bounded
from gan3d_bench.rendering.cameras import PinholeCamera

SIZE = 32


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def renderer() -> FaceRenderer:
    model = MorphableModel.load_heads()
    return FaceRenderer(FaceModel.of(model), UVAtlas.of(model), PinholeCamera(SIZE), 1)


def heads(renderer: FaceRenderer, yaw: list[float]) -> Coefficients:
    pose = torch.zeros(len(yaw), 6)
    pose[:, 0] = torch.tensor(yaw).deg2rad()
    shape = 0.5 * normal(len(yaw), renderer.space.num_shape)
    return Coefficients(shape, pose, torch.zeros(len(yaw), 27))


def plain(count: int, size: int = 16) -> UVMaps:
    return UVMaps(0.2 * torch.ones(count, 3, size, size), torch.zeros(count, 3, size, size))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 5))
def test_coefficients_survive_packing(seed: int, count: int) -> None:
    values = normal(count, 144 + 33, seed=seed)
    found = Coefficients.unpack(values)
    assert torch.equal(found.pack(), values)
    assert found.shape.shape[1] == 144
    # the paper's order: shape, rotation, light, translation
    assert torch.equal(found.yaw, values[:, 144])
    assert torch.equal(found.gamma, values[:, 147:174])
    assert torch.equal(found.pose[:, 3:], values[:, 174:])


def test_light_of_fits_keeps_its_constant_band() -> None:
    light = normal(2, 3, 9)
    fit = {"shape": normal(2, 5), "pose": normal(2, 6), "light": light}
    assert torch.allclose(Coefficients.of_fit(fit).light.coefficients, light, atol=1e-6)


def test_f3d_has_the_published_size() -> None:
    assert hidden_layers(1.0) == (4608, 3072, 1536)
    network = StyleToCoefficients(512, 144, 33, hidden_layers(1.0))
    count = [sum(p.numel() for p in part.parameters()) for part in (network.shape, network.rest)]
    assert count == [21_464_208, 21_293_601]


def test_standardised_coefficients_are_scaled_back() -> None:
    network = StyleToCoefficients(8, 5, 33, (8,))
    network.mean.fill_(2.0)
    network.deviation.fill_(3.0)
    w = normal(4, 8)
    assert torch.allclose(network(w), 3 * network.standardised(w) + 2)


def test_scalar_displacement_moves_along_normals(renderer: FaceRenderer) -> None:
    shape = heads(renderer, [0.0]).shape
    still = renderer.vertices(shape, plain(1))
    moved = renderer.vertices(shape, UVMaps(plain(1).diffuse, torch.full((1, 1, 16, 16), 0.002)))
    assert torch.allclose((moved - still).norm(dim=2), torch.tensor(0.002), atol=1e-5)
    # outwards: the head grows
    assert moved.norm(dim=2).mean() > still.norm(dim=2).mean()


def test_vector_displacement_moves_along_the_axes(renderer: FaceRenderer) -> None:
    maps = plain(1)
    assert maps.displacement is not None
    maps.displacement[:, 1] = 0.003
    shape = heads(renderer, [0.0]).shape
    moved = renderer.vertices(shape, maps) - renderer.vertices(shape, plain(1))
    assert torch.allclose(moved, torch.tensor([0.0, 0.003, 0.0]).expand_as(moved), atol=1e-6)


def test_gradients_reach_both_maps(renderer: FaceRenderer) -> None:
    maps = UVMaps(
        (0.3 * normal(1, 3, 16, 16)).requires_grad_(),
        (1e-3 * normal(1, 3, 16, 16, seed=1)).requires_grad_(),
    )
    seen = renderer.render(heads(renderer, [10.0]), maps)
    (seen.rgb * seen.mask).square().sum().backward()
    assert maps.diffuse.grad is not None and maps.diffuse.grad.abs().sum() > 0
    assert maps.displacement is not None and maps.displacement.grad is not None
    assert maps.displacement.grad.abs().sum() > 0


def test_the_diffuse_maps_gradient_is_right(renderer: FaceRenderer) -> None:
    coefficients = heads(renderer, [15.0])
    diffuse = 0.3 * normal(1, 3, 8, 8)
    direction = normal(1, 3, 8, 8, seed=3)
    target = normal(1, 3, SIZE, SIZE, seed=2)

    def loss(maps: Tensor) -> Tensor:
        seen = renderer.render(coefficients, UVMaps(maps))
        return ((seen.rgb - target) * seen.mask).double().square().sum()

    given = diffuse.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(given), given)
    step = 1e-2
    numeric = (loss(diffuse + step * direction) - loss(diffuse - step * direction)) / (2 * step)
    assert (gradient * direction).sum().item() == pytest.approx(numeric.item(), rel=1e-3)


def test_reached_texels_are_those_that_change_the_picture(renderer: FaceRenderer) -> None:
    coefficients, size = heads(renderer, [30.0]), 16
    seen = renderer.render(coefficients, plain(1, size))
    reached = renderer.visibility(seen, size).reached()[0, 0]
    assert 0 < reached.sum() < reached.numel()
    rng = torch.Generator().manual_seed(0)
    for index in torch.randperm(size * size, generator=rng)[:40].tolist():
        row, column = divmod(index, size)
        maps = plain(1, size)
        maps.diffuse[0, :, row, column] = 1.0
        changed = renderer.render(coefficients, maps).rgb - seen.rgb
        assert bool(changed.abs().max() > 0) == bool(reached[row, column])


def test_weights_of_the_two_views() -> None:
    own = torch.tensor([[True, True, False, False]])[None]
    other = torch.tensor([[True, False, True, False]])[None]
    first, second = texel_weights(own, other, 0.5)
    assert first.flatten().tolist() == [1.0, 1.0, 0.0, 0.0]
    assert second.flatten().tolist() == [0.5, 0.0, 1.0, 0.0]


def test_masks_of_opposite_views_complete_each_other(renderer: FaceRenderer) -> None:
    size, two = 32, heads(renderer, [40.0, -40.0])
    drawn = [renderer.render(two[i : i + 1], plain(1, size)) for i in (0, 1)]
    seen = [renderer.visibility(each, size) for each in drawn]
    own, other = (each.reached() for each in seen)
    masks = [
        each.pixels(weight)
        for each, weight in zip(seen, texel_weights(own, other, 0.5), strict=True)
    ]
    covered = drawn[0].mask > 0.99
    kept = masks[0] > 0
    # the rim is left out, and nothing else
    assert not (kept & ~covered).any()
    assert 0.8 * covered.sum() < kept.sum() < covered.sum()
    around = torch.nn.functional.max_pool2d((~covered).float(), 3, 1, 1) > 0
    assert torch.equal(kept, covered & ~around)
    values = set(masks[1].unique().tolist())
    assert values == {0.0, 0.5, 1.0}
    # the cheek that the original view hides lies on the side that the turned nose points away from
    columns = (masks[1] == 1.0)[0, 0].float().sum(0)
    assert columns[SIZE // 2 :].sum() > columns[: SIZE // 2].sum()


def test_photometric_is_equation_5() -> None:
    target, rendered = normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1)
    mask = torch.zeros(2, 1, 4, 4)
    mask[0, 0, 1, 2], mask[1, 0, 3, 0] = 1.0, 0.5
    first = (target[0, :, 1, 2] - rendered[0, :, 1, 2]).square().sum()
    second = (target[1, :, 3, 0] - rendered[1, :, 3, 0]).square().sum()
    assert photometric(target, rendered, mask).item() == pytest.approx(
        ((first + 0.5 * second) / 2).item(), rel=1e-5
    )
    assert photometric(target, rendered, torch.zeros_like(mask)).item() == 0
    assert reconstruction(target, rendered, mask, None, 0.2) == photometric(target, rendered, mask)


def test_roughness_counts_neighbours() -> None:
    assert roughness(torch.full((1, 3, 4, 4), 0.3)).item() == 0
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)  # 1 across, 0 down
    assert roughness(ramp).item() == pytest.approx(0.5)
    where = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    where[0, 0, 0, 0] = True  # two neighbours
    ramp = ramp.clone()
    ramp[0, 0, 0, 0] = 3.0
    assert roughness(ramp, where).item() == pytest.approx((2.0**2 + 3.0**2) / 2)
    assert roughness(ramp, torch.zeros_like(where)).item() == 0


def small_teacher(w_dim: int = 16) -> Generator:
    torch.manual_seed(0)
    config = GeneratorConfig(
        image_size=16, z_dim=w_dim, w_dim=w_dim, mapping_layers=2, channels={4: 8, 8: 8, 16: 8}
    )
    return Generator(config).eval().requires_grad_(False)


@pytest.mark.parametrize(("kind", "channels"), [("vector", 3), ("scalar", 1), ("none", None)])
def test_the_uv_generator_begins_as_the_teacher(kind: str, channels: int | None) -> None:
    teacher = small_teacher()
    network, w = UVGenerator.of_teacher(teacher, kind, 0.01, 64), normal(2, 16)
    maps = network(w)
    assert torch.allclose(maps.diffuse, teacher.synthesis(w).clamp(-1, 1), atol=1e-5)
    if channels is None:
        assert maps.displacement is None
    else:
        assert maps.displacement is not None
        assert maps.displacement.shape == (2, channels, 16, 16)
        assert maps.displacement.abs().max() == 0
    assert all(p.requires_grad for p in network.parameters())
    assert not any(p.requires_grad for p in teacher.parameters())


def linear_yaw(axis: Tensor) -> object:
    return lambda w: w @ axis


def test_the_yaw_direction_is_found_and_f_yaw_reaches_yaws() -> None:
    axis = torch.zeros(12)
    axis[3], axis[5] = 0.4, -0.3
    w = normal(4000, 12)
    rotation = StyleRotation(12)
    rotation.find_direction(w, lambda x: x @ axis, 0.02, 1.0)
    assert rotation.direction.norm().item() == pytest.approx(1, abs=1e-5)
    assert (rotation.direction @ axis / axis.norm()).item() > 0.95
    low, high = rotation.range.tolist()
    assert low == pytest.approx(-2.05 * axis.norm().item(), rel=0.1)
    optimiser = torch.optim.Adam(rotation.parameters(), lr=3e-3)
    rng = torch.Generator().manual_seed(5)
    for _ in range(200):
        x = torch.randn(64, 12, generator=rng)
        alpha = low + (high - low) * torch.rand(64, generator=rng)
        loss = sum(rotation.terms(x, alpha, lambda v: v @ axis, 1e-3).values())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimiser.step()
    x = normal(50, 12, seed=9)
    with torch.no_grad():
        reached = rotation.symmetric(x, lambda v: v @ axis) @ axis
    # against the trivial answer, not to turn at all
    assert (reached + x @ axis).abs().mean() < 0.2 * (2 * x @ axis).abs().mean()


def test_f_yaw_scales_with_its_unit() -> None:
    step, w, yaw = YawStep(6), normal(3, 6), normal(3)
    before = step(w, yaw)
    step.unit.fill_(2.5)
    assert torch.allclose(step(w, yaw), 2.5 * before)


def scene_of(renderer: FaceRenderer) -> TexturedHeads:
    coefficients = heads(renderer, [25.0, -10.0])
    coefficients.pose[:, 5] = torch.tensor([0.05, -0.1])
    coefficients.gamma[:] = 0.2 * normal(2, 27)
    maps = UVMaps(0.3 * normal(2, 3, 16, 16), 5e-4 * normal(2, 3, 16, 16, seed=1))
    expression = renderer.space.num_shape - 80
    return TexturedHeads(renderer, coefficients, maps, expression, torch.zeros(2, 3, SIZE, SIZE))


def test_a_scene_at_its_input_view_is_what_training_draws(renderer: FaceRenderer) -> None:
    scene = scene_of(renderer)
    scene.supersample = renderer.supersample
    assert scene.input_view is not None
    seen = scene.render(scene.input_view)
    drawn = renderer.render(scene.coefficients, scene.maps).clamped()
    assert torch.allclose(seen.mask, drawn.mask)
    assert torch.allclose(seen.rgb * seen.mask, drawn.rgb * drawn.mask, atol=1e-4)


def test_expression_and_displacement_change_the_shape_alone(renderer: FaceRenderer) -> None:
    scene = scene_of(renderer)
    smiling = scene.with_expression(torch.full((1, scene.num_expression), 1.5))
    assert torch.equal(smiling.coefficients.shape[:, :80], scene.coefficients.shape[:, :80])
    assert (smiling.vertices - scene.vertices).norm(dim=2).max() > 1e-3
    bare = scene.without_displacement()
    moved = (bare.vertices - scene.vertices).norm(dim=2)
    assert 0 < moved.max() < 5e-3
    assert bare.maps.diffuse is scene.maps.diffuse and bare.background is scene.background


def test_hyperplane_scenes_turn_by_the_step_network() -> None:
    teacher, rotation, w = small_teacher(), StyleRotation(16), normal(2, 16)
    rotation.direction[0] = 1.0
    scene = TurnedStylecodes(teacher, rotation, w)
    view = View.from_angles([20.0, -20.0])
    yaw = torch.tensor([20.0, -20.0]) * math.pi / 180
    with torch.no_grad():
        expected = teacher.synthesis(rotation(w, yaw)).clamp(-1, 1)
    assert torch.allclose(scene.render(view).rgb, expected, atol=1e-5)
    assert not torch.allclose(scene.render(View.from_angles([0.0, 0.0])).rgb, expected, atol=1e-3)


def test_colours_beyond_the_range_can_come_back() -> None:
    x = torch.tensor([-3.0, -3.0, -0.5, 0.5, 2.0, 2.0], requires_grad=True)
    slope = torch.tensor([-1.0, 1.0, 1.0, -1.0, 1.0, -1.0])
    seen = bounded(x)
    assert seen.tolist() == [-1, -1, -0.5, 0.5, 1, 1]
    (gradient,) = torch.autograd.grad(seen, x, slope)
    # down the gradient: -3 rises but does not fall, 2 falls but does not rise
    assert gradient.tolist() == [-1, 0, 1, -1, 1, 0]
    far = torch.tensor([4.0, -4.0], requires_grad=True)
    adam = torch.optim.Adam([far], lr=0.1)
    for _ in range(100):
        adam.zero_grad()
        (bounded(far) - 0.25).square().sum().backward()
        adam.step()
    assert (far - 0.25).abs().max() < 0.1
