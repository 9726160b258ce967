"""GAN inversion with tiny untrained networks: they have a W space, and that is all it takes."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from gan3d_bench.config import check_values
from gan3d_bench.errors import NonFiniteLossError, UserError
from gan3d_bench.generators.base import Teacher
from gan3d_bench.generators.inversion.config import (
    InversionConfig,
    PivotalConfig,
    ProjectionConfig,
    RefinementConfig,
)
from gan3d_bench.generators.inversion.invert import Inversion, invert, steps_in_all
from gan3d_bench.generators.inversion.pictures import save_inversion
from gan3d_bench.generators.inversion.projection import (
    code_terms,
    learning_rate_factor,
    noise_regulariser,
    noise_scale,
    normalise,
)
from gan3d_bench.generators.inversion.refinement import Principal
from gan3d_bench.generators.mobilestylegan.generator import MobileStyleGAN, MobileStyleGANConfig
from gan3d_bench.generators.teachers import load_teacher

QUICK = InversionConfig(steps=12, prior=0.0)
FITTED = replace(QUICK, steps=80)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    """StyleGAN2 of 16 pixels whose noise shows."""
    loaded = load_teacher("random-16")
    with torch.no_grad():
        for name, weight in loaded.generator.synthesis.named_parameters():
            if name.endswith("noise_strength"):
                weight.fill_(0.1)
    return loaded


@pytest.fixture(scope="module")
def samples(teacher: Teacher) -> Tensor:
    with torch.no_grad():
        return teacher.generator(torch.randn(3, 16, generator=rng(1)), 0.7)


@pytest.fixture(scope="module")
def mixed(teacher: Teacher) -> Tensor:
    """Images outside the range of W: each layer has a stylecode of its own."""
    generator = teacher.generator
    with torch.no_grad():
        w = generator.mapping(torch.randn(2 * generator.num_ws, 16, generator=rng(2)))
        return generator.synthesis(w.view(2, generator.num_ws, -1))


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        *((0, 0.0), (10, 0.02), (50, 0.1), (400, 0.1), (750, 0.1)),
        *((800, 0.090451), (900, 0.034549), (990, 0.000394)),
    ],
)
def test_learning_rate_is_that_of_the_released_projector(step, rate):
    config = ProjectionConfig()  # 1000 steps, lr 0.1
    assert config.lr * learning_rate_factor(config, step) == pytest.approx(rate, abs=5e-7)


@pytest.mark.parametrize(
    ("step", "scale"), [(0, 0.05), (250, 0.05 * 4 / 9), (500, 0.05 / 9), (750, 0.0), (999, 0.0)]
)
def test_noise_is_that_of_the_released_projector(step, scale):
    assert noise_scale(ProjectionConfig(), step) == pytest.approx(scale, abs=1e-12)


@given(st.integers(1, 3000), st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0.01, 1))
def test_schedules_stay_in_range(steps, up, down, noise_ramp):
    config = ProjectionConfig(steps=steps, ramp_up=up, ramp_down=down, noise_ramp=noise_ramp)
    every = range(0, steps, max(1, steps // 20))
    assert all(0 <= learning_rate_factor(config, step) <= 1 for step in every)
    scales = [noise_scale(config, step) for step in every]
    assert scales[0] == config.noise
    assert all(before >= after >= 0 for before, after in pairwise(scales))


def test_noise_regulariser_of_known_maps():
    """The value measured with rosinality's projector.py."""
    maps = [
        torch.from_numpy(np.random.RandomState(i).randn(1, 1, side, side))
        for i, side in enumerate((4, 8, 16, 32))
    ]
    assert noise_regulariser(maps).item() == pytest.approx(0.281892, abs=1e-6)
    doubled = [level.repeat(2, 1, 1, 1) for level in maps]
    assert noise_regulariser(doubled).tolist() == pytest.approx([0.281892] * 2, abs=1e-6)


def test_normalised_maps():
    maps = [torch.randn(2, 1, 8, 8, generator=rng()) * 3 + 1]
    normalise(maps)
    torch.testing.assert_close(maps[0].mean((1, 2, 3)), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(maps[0].std((1, 2, 3)), torch.ones(2))


def test_code_terms_are_in_squared_deviations():
    mean, deviation = torch.zeros(4), torch.tensor(2.0)
    w = torch.tensor([[[2.0, 0, 0, 0], [-2.0, 0, 0, 0]]])
    terms = code_terms(w, mean, deviation, prior=1.0, spread=0.5)
    assert {name: term.item() for name, term in terms.items()} == {"prior": 1.0, "spread": 0.5}
    assert code_terms(w, mean, deviation, 0.0, 0.0) == {}
    assert code_terms(w[:, 0], mean, deviation, 0.0, 1.0)["spread"].item() == 0


@pytest.mark.parametrize("perceptual", ["discriminator", "discriminator-l1"])
def test_own_samples_are_recovered(teacher, samples, perceptual):
    config = replace(FITTED, perceptual=perceptual)
    start = invert(teacher, samples, replace(config, steps=0), rng())
    found = invert(teacher, samples, config, rng())
    assert found.w.shape == (3, 16)
    assert found.images.shape == samples.shape
    assert (found.distance < 0.1 * start.distance).all()
    assert (found.error < 0.1 * start.error).all()
    assert found.perceptual == perceptual
    torch.testing.assert_close(found.images, teacher.generator.synthesis(found.w))


def test_noise_on_w_does_not_keep_samples_from_being_recovered(teacher, samples):
    config = replace(FITTED, noise=0.05)
    start = invert(teacher, samples, replace(config, steps=0), rng())
    found = invert(teacher, samples, config, rng())
    assert (found.error < 0.2 * start.error).all()
    assert not torch.equal(found.w, invert(teacher, samples, config, rng(1)).w)


def test_every_layers_own_stylecode_fits_better(teacher, mixed):
    single = invert(teacher, mixed, FITTED, rng())
    layers = invert(teacher, mixed, replace(FITTED, space="w+"), rng())
    assert layers.w.shape == (2, teacher.generator.num_ws, 16)
    assert (layers.distance < 0.5 * single.distance).all()
    assert (layers.error < 0.5 * single.error).all()


def test_spread_and_prior_hold_stylecodes_together(teacher, mixed):
    config = replace(FITTED, space="w+", steps=40)
    free, tied, near = (
        invert(teacher, mixed, replace(config, **terms), rng()).w
        for terms in ({}, {"spread": 10.0}, {"prior": 10.0})
    )
    assert tied.std(1).norm() < 0.3 * free.std(1).norm()
    mean = teacher.generator.w_mean
    assert (near - mean).norm() < 0.5 * (free - mean).norm()


def test_same_numbers_again(teacher, samples):
    config = replace(QUICK, noise=0.05, noise_maps=True, pivotal=PivotalConfig(2, locality=0.1))
    first, second = (invert(teacher, samples[:2], config, rng()) for _ in range(2))
    assert torch.equal(first.w, second.w)
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.distance, second.distance)


@pytest.mark.parametrize(
    "changes",
    [
        {"space": "w+", "noise": 0.05},
        {"noise": 0.05, "noise_maps": True},
        {"pivotal": PivotalConfig(3, locality=0.1)},
    ],
)
def test_an_image_is_inverted_the_same_whatever_is_beside_it(teacher, samples, changes):
    config = replace(QUICK, **changes)
    together = invert(teacher, samples, config, rng())
    alone = invert(teacher, samples[1:2], config, rng(), first=1)
    parts = invert(teacher, samples, replace(config, batch=2), rng())
    near = {"atol": 2e-4, "rtol": 2e-3}
    for found, expected in ((alone, slice(1, 2)), (parts, slice(0, 3))):
        torch.testing.assert_close(found.w, together.w[expected], **near)
        torch.testing.assert_close(found.images, together.images[expected], **near)
        torch.testing.assert_close(found.distance, together.distance[expected], **near)
        for level, expected_level in zip(found.noise, together.noise, strict=True):
            torch.testing.assert_close(level, expected_level[expected], **near)


def test_only_w_moves(teacher, samples):
    """Even where the generator's weights ask for gradients, none reaches them."""
    generator = copy.deepcopy(teacher.generator).requires_grad_()
    before = copy.deepcopy(generator.state_dict())
    found = invert(Teacher("own", generator, teacher.discriminator), samples, QUICK, rng())
    assert not found.w.requires_grad
    assert all(weight.grad is None for weight in generator.parameters())
    for name, value in generator.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_noise_maps_are_fitted_with_w(teacher, samples):
    synthesis = teacher.generator.synthesis
    maps = [torch.randn(1, 1, side, side, generator=rng(5)) for side in synthesis.noise_sizes]
    target = synthesis(teacher.generator.w_mean[None], maps)
    config = replace(FITTED, noise_regulariser=0.0)
    without = invert(teacher, target, config, rng())
    found = invert(teacher, target, replace(config, noise_maps=True), rng())
    assert found.error < 0.7 * without.error
    assert [level.shape[-1] for level in found.noise] == synthesis.noise_sizes
    for level in found.noise:
        assert level.std().item() == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(synthesis(found.w, list(found.noise)), found.images)


def test_a_start_is_taken(teacher, samples):
    w = invert(teacher, samples, FITTED, rng()).w
    config = replace(QUICK, steps=0)
    torch.testing.assert_close(invert(teacher, samples, config, rng(), start=w).w, w)
    layers = invert(teacher, samples, replace(config, space="w+"), rng(), start=w[0])
    torch.testing.assert_close(layers.w, w[0].expand_as(layers.w))
    with pytest.raises(UserError, match=r"start: \(3, 6, 16\), expected \(3, 16\) in space w"):
        invert(teacher, samples, config, rng(), start=layers.w)


def tuned(teacher: Teacher, images: Tensor, **changes: float) -> Inversion:
    pivotal = PivotalConfig(**{"steps": 30, "lr": 3e-3, **changes})  # type: ignore[arg-type]
    return invert(teacher, images, replace(QUICK, pivotal=pivotal), rng())


def test_pivotal_tuning_improves_the_fit_and_leaves_the_generator(teacher, mixed):
    before = copy.deepcopy(teacher.generator.state_dict())
    found = tuned(teacher, mixed)
    assert found.projection is not None
    assert torch.equal(found.w, found.projection.w)
    assert (found.distance < 0.5 * found.projection.distance).all()
    assert (found.error < 0.5 * found.projection.error).all()
    for name, value in teacher.generator.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert len(found.generators) == 2
    for i, generator in enumerate(found.generators):
        assert not any(weight.requires_grad for weight in generator.parameters())
        torch.testing.assert_close(generator.synthesis(found.w[i : i + 1])[0], found.images[i])


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"lr": float("inf")}, "projection: term"),
        ({"pixel": float("nan")}, "projection: term 'pixel' is no finite number after step 0"),
        ({"pivotal": PivotalConfig(steps=3, lr=float("inf"))}, "pivotal tuning: term"),
    ],
)
def test_numbers_that_are_none_stop_the_inversion(teacher, samples, changes, where):
    with pytest.raises(NonFiniteLossError, match=where):
        invert(teacher, samples, replace(QUICK, **changes), rng())


def test_locality_keeps_other_images(teacher, mixed):
    z = torch.randn(8, 16, generator=rng(3))
    teacher_images = teacher.generator(z)
    change = [
        (found.generators[0](z) - teacher_images).square().mean()
        for found in (
            tuned(teacher, mixed[:1]),
            tuned(teacher, mixed[:1], locality=10.0, locality_radius=5.0),
        )
    ]
    assert change[1] < 0.7 * change[0]


def test_tuning_stops_where_it_is_near_enough(teacher, mixed):
    found = tuned(teacher, mixed[:1], stop=100.0)
    for ours, theirs in zip(
        found.generators[0].parameters(), teacher.generator.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_progress_counts_to_the_end(teacher, samples):
    told: list[tuple[str, int]] = []
    config = replace(QUICK, steps=3, batch=2, pivotal=PivotalConfig(2, stop=100.0))
    invert(teacher, samples, config, rng(), lambda what, done: told.append((what, done)))
    counts = [done for _, done in told]
    assert counts == sorted(counts)
    assert counts[-1] == steps_in_all(config, 3) == 15
    assert {what for what, _ in told} == {"projection", "pivotal tuning"}


def test_larger_and_smaller_images_than_the_teachers(teacher, samples):
    larger = torch.nn.functional.interpolate(samples, scale_factor=2, mode="nearest")
    same = invert(teacher, samples, QUICK, rng())
    torch.testing.assert_close(invert(teacher, larger, QUICK, rng()).w, same.w)
    smaller = torch.nn.functional.avg_pool2d(samples, 2)
    assert invert(teacher, smaller, QUICK, rng()).images.shape == samples.shape


def test_a_picture_of_it(teacher, mixed, tmp_path):
    for name, found in (
        ("plain", invert(teacher, mixed, QUICK, rng())),
        ("tuned", tuned(teacher, mixed)),
    ):
        save_inversion(found, mixed, tmp_path / f"{name}.png", tile=32)
    plain, more = (Image.open(tmp_path / f"{name}.png") for name in ("plain", "tuned"))
    assert more.width > plain.width
    assert more.height == plain.height


def test_other_families_have_no_noise_maps_to_fit():
    """And without a discriminator the distance is LPIPS, by name."""
    config = MobileStyleGANConfig(8, 8, mapping_layers=2, channels=(16, 16, 8))
    generator = MobileStyleGAN(config).eval().requires_grad_(False)
    other = Teacher("mobile", generator)
    images = torch.zeros(1, 3, 32, 32)
    with pytest.raises(UserError, match="the noise of teacher='mobile' is fixed"):
        invert(other, images, replace(QUICK, noise_maps=True), rng())
    with pytest.raises(UserError, match="needs a teacher with a discriminator"):
        invert(other, images, replace(QUICK, perceptual="discriminator"), rng())


def test_wrong_shapes_are_refused(teacher):
    with pytest.raises(UserError, match=r"images: \(1, 3, 16, 8\), expected \(B, 3, S, S\)"):
        invert(teacher, torch.zeros(1, 3, 16, 8), QUICK, rng())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (InversionConfig(space="z"), "space='z': expected one of w, w\\+"),
        (InversionConfig(steps=-1), "steps=-1: expected a number from 0 to"),
        (InversionConfig(spread=-1), "spread=-1: expected a number from 0 to"),
        (InversionConfig(perceptual="vgg"), "perceptual='vgg': expected one of lpips-vgg"),
        (InversionConfig(pivotal=PivotalConfig(lr=0)), "pivotal.lr=0: expected a number above 0"),
    ],
)
def test_configs_are_checked(config, message):
    with pytest.raises(UserError, match=message):
        check_values(config)


def test_refinement_finds_the_code_itself() -> None:
    """Adam's code shows the picture and lies elsewhere; from there, few steps come nearer."""
    teacher = load_teacher("heads-teacher-64", 64)
    z = torch.randn(2, teacher.generator.z_dim, generator=rng(3))
    with torch.no_grad():
        w = teacher.generator.mapping(z)
        images = teacher.generator.synthesis(w).clamp(-1, 1)
    quick = InversionConfig(steps=25, batch=2)
    refined = replace(quick, refinement=RefinementConfig(steps=2, directions=60))
    before, after = (invert(teacher, images, config, rng()) for config in (quick, refined))
    assert (after.error < before.error).all()
    space = Principal.of(teacher.generator, 60)

    def far(code: Tensor) -> Tensor:
        return (space.weights(code) - space.weights(w)).square().mean(1)

    assert (far(after.w) < 0.8 * far(before.w)).all()
    # and an image's result is its own
    alone = invert(teacher, images[1:], refined, rng(), first=1)
    assert torch.allclose(alone.w, after.w[1:], atol=1e-2)


def test_principal_directions_are_those_of_w() -> None:
    generator = load_teacher("heads-teacher-64", 64).generator
    space = Principal.of(generator, generator.w_dim)
    w = generator.mapping(torch.randn(500, generator.z_dim, generator=rng(8)))
    weights = space.weights(w)
    assert torch.allclose(space.codes(weights), w, atol=1e-2)
    assert weights[:, :60].square().mean().item() == pytest.approx(1, abs=0.1)
    assert Principal.of(generator, 7).directions.shape == (7, generator.w_dim)


@pytest.mark.parametrize("change", [{"space": "w+"}, {"noise_maps": True}])
def test_refinement_searches_w_alone(teacher: Teacher, samples: Tensor, change: dict) -> None:
    config = replace(QUICK, refinement=RefinementConfig(steps=1), **change)
    with pytest.raises(UserError, match=r"refinement.steps=1: expected 0 with space="):
        invert(teacher, samples, config, rng())


def test_refinement_counts_as_steps() -> None:
    config = replace(QUICK, refinement=RefinementConfig(steps=3))
    assert steps_in_all(config, 4) == 4 * (12 + 3)
