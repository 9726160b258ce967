"""LiftedGAN's figures: style transfer keeps the geometry, interpolation ends at the subjects."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from gan3d_bench.config import compose
from gan3d_bench.generators.latents import interpolated, sample_z
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.liftedgan.figures import (
    INTERPOLATION_STEPS,
    SIDE_YAW,
    STYLE_YAWS,
    interpolation_sheet,
    manipulation_sheet,
    style_sheet,
    style_transfer,
    training_view,
)
from gan3d_bench.methods.liftedgan.image_formation import view_from_raw
from gan3d_bench.methods.liftedgan.losses import perturbed_view
from gan3d_bench.methods.liftedgan.method import LiftedGAN
from gan3d_bench.pictures.grids import colour_on_white, unit_range
from gan3d_bench.pictures.scene_sheets import Sheet
from gan3d_bench.registry import registry
from gan3d_bench.training.fit import build


@pytest.fixture(scope="module")
def method() -> Iterator[LiftedGAN]:
    spec = registry("methods").get("liftedgan")
    made = build(spec, compose(spec, "check", None, []))
    assert isinstance(made, LiftedGAN)
    with torch.no_grad():
        yield made.eval()


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


def codes(method: LiftedGAN, count: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return method.styles(sample_z(count, method.generator.z_dim, rng))


def columns(sheet: Sheet) -> list[Tensor]:
    return [column.pictures for group in sheet.groups for column in group]


def test_style_transfer_keeps_the_geometry(method: LiftedGAN) -> None:
    w, styles = codes(method, 1), codes(method, 3, seed=1)
    light, _ = method.lifter.decompose(w)
    subject = method.lifter.canonical(w, light)
    made = style_transfer(method.lifter, method.generator, subject, light, styles, 2)
    assert subject.blend is not None and made.blend is not None
    for kept, own in (
        (made.depth, subject.depth),
        (made.normal, subject.normal),
        (made.blend, subject.blend),
    ):
        assert len(kept) == 3
        assert (kept == own).all()
    for i in range(3):
        assert (made.albedo[i] - subject.albedo[0]).abs().max() > 0.05
    assert (made.albedo[0] - made.albedo[1]).abs().max() > 0.05


def test_the_layers_say_whose_style_it_is(method: LiftedGAN) -> None:
    w, styles = codes(method, 1), codes(method, 2, seed=1)
    light, _ = method.lifter.decompose(w)
    subject = method.lifter.canonical(w, light)
    every = method.generator.num_ws
    own = style_transfer(method.lifter, method.generator, subject, light, styles, every)
    torch.testing.assert_close(own.albedo, subject.albedo.expand(2, -1, -1, -1))
    others = style_transfer(method.lifter, method.generator, subject, light, styles, 0)
    neutral = method.lifter.canonical(styles, method.lifter.decompose(styles)[0]).neutral
    torch.testing.assert_close(others.neutral, neutral)


def test_rows_and_columns_of_the_style_sheet(method: LiftedGAN) -> None:
    w, styles = codes(method, 1), codes(method, 2, seed=1)
    pictures = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pictures = method.framed(pictures).clamp(-1, 1)
    networks = (method.lifter, method.generator)
    given, *_ = columns(style_sheet(*networks, w, styles, pictures))
    torch.testing.assert_close(given[1:], unit_range(pictures))
    sheet = style_sheet(*networks, w, styles)
    shown, *rest = columns(sheet)
    torch.testing.assert_close(shown[1:], unit_range(method.generator.synthesis(styles)))
    assert sheet.names == ["1", "style 1", "style 2"]
    assert [len(group) for group in sheet.groups] == [1, len(STYLE_YAWS), len(STYLE_YAWS)]
    scene = method.lift(w)
    for pictures, yaw in zip(rest, 2 * STYLE_YAWS, strict=True):
        torch.testing.assert_close(
            pictures[:1], colour_on_white(scene.render(View.from_angles([yaw])))
        )


def test_interpolation_ends_at_the_subjects(method: LiftedGAN) -> None:
    w = codes(method, 3)
    between = interpolated(w, INTERPOLATION_STEPS)
    assert between.shape == (2, INTERPOLATION_STEPS, w.shape[1])
    torch.testing.assert_close(between[:, 0], w[:-1])
    torch.testing.assert_close(between[:, -1], w[1:])
    torch.testing.assert_close(between[:, INTERPOLATION_STEPS // 2], (w[:-1] + w[1:]) / 2)
    sheet = interpolation_sheet(method.lifter, w)
    assert sheet.names == ["1 to 2", "1 to 2, +30°", "2 to 3", "2 to 3, +30°"]
    first, *_, last = columns(sheet)
    for pictures, ends in ((first, w[:-1]), (last, w[1:])):
        scene = method.lift(ends)
        assert scene.input_view is not None
        torch.testing.assert_close(pictures[::2], colour_on_white(scene.render(scene.input_view)))
        turned = scene.render(View.from_angles([SIDE_YAW] * 2))
        torch.testing.assert_close(pictures[1::2], colour_on_white(turned))


@pytest.mark.parametrize("yaw", [-60.0, 0.0, 15.0])
def test_views_move_sideways_as_in_training(yaw: float) -> None:
    view = view_from_raw(training_view(yaw, 2))
    assert view.yaw.tolist() == pytest.approx([yaw, yaw], abs=1e-4)
    assert view.pitch.tolist() == view.roll.tolist() == pytest.approx([0, 0], abs=1e-6)
    # the farthest turn to our right in a training of up to 60 degrees
    limit = view_from_raw(perturbed_view(torch.zeros(1, 3), 0.0, 60.0))
    assert limit.yaw.item() == pytest.approx(60)
    share = torch.tensor(yaw).deg2rad().sin() / torch.tensor(60.0).deg2rad().sin()
    torch.testing.assert_close(view.translation[0], limit.translation[0] * share)


def test_manipulation_shows_the_teacher_above_the_subject(method: LiftedGAN) -> None:
    w = codes(method, 2)
    light, _ = method.lifter.decompose(w)
    raw = training_view(30.0, 2)
    pictures = columns(manipulation_sheet(method.lifter, method.generator, w))[6]
    generated = method.generator.synthesis(method.lifter.manipulate(w, light, raw))
    torch.testing.assert_close(pictures[::2], unit_range(generated))
    rendered = method.lift(w).render(view_from_raw(raw))
    torch.testing.assert_close(pictures[1::2], colour_on_white(rendered))


def test_figures_show_the_subjects_that_sample_draws(method: LiftedGAN) -> None:
    sheets = method.figures(2, torch.Generator().manual_seed(5))
    scene = method.sample(2, torch.Generator().manual_seed(5))
    front = columns(sheets["yaw"])[4][::2]
    torch.testing.assert_close(front, colour_on_white(scene.render(View.from_angles([0.0] * 2))))
    assert scene.input_view is not None
    own = colour_on_white(scene.render(scene.input_view))
    torch.testing.assert_close(columns(sheets["faces"])[0], own)
    torch.testing.assert_close(columns(sheets["interpolation"])[0][:1], own[:1])
    assert all((a - own).abs().max() > 0.01 for a in columns(sheets["faces"])[1:])
