"""Directions of W."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gan3d_bench.errors import UserError
from gan3d_bench.generators import directions as module
from gan3d_bench.generators.directions import (
    Directions,
    YawRegression,
    ganspace,
    sefa,
    yaw_hyperplane,
    yaw_regression,
)
from gan3d_bench.generators.latents import sample_z
from gan3d_bench.generators.stylegan2 import Generator, GeneratorConfig

SMALL = GeneratorConfig(16, z_dim=12, w_dim=10, mapping_layers=3, channels={4: 8, 8: 8, 16: 6})


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(0)
    generator = Generator(SMALL)
    generator.w_mean.fill_(0.5)  # any point must do
    return generator.requires_grad_(False)


def test_sefa_directions_are_those_the_affine_layers_stretch_most(generator):
    found = sefa(generator, 4)
    torch.testing.assert_close(found @ found.T, torch.eye(4), atol=1e-5, rtol=0)
    synthesis = generator.synthesis
    layers = [*synthesis.convs, synthesis.stages[0].to_rgb]
    weights = torch.cat([layer.affine.weight for layer in layers])
    stretch = (weights @ found.T).norm(dim=0)
    assert (stretch.diff() < 0).all()
    others = torch.nn.functional.normalize(torch.randn(200, 10, generator=rng()))
    assert (weights @ others.T).norm(dim=0).max() <= stretch[0] + 1e-5


def test_ganspace_directions_are_the_principal_components_of_w(generator, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 64)
    found = ganspace(generator, 200, 3, rng())
    draws = rng()
    w = torch.cat([generator.mapping(sample_z(n, 12, draws)) for n in (64, 64, 64, 8)])
    rows = torch.linalg.svd((w - w.mean(0)).double()).Vh[:3].float()
    torch.testing.assert_close((found * rows).sum(1).abs(), torch.ones(3), atol=1e-4, rtol=0)
    spread = (w @ found.T).std(0)
    assert (spread.diff() < 0).all()
    assert (found.gather(1, found.abs().argmax(1, keepdim=True)) > 0).all()


@pytest.mark.parametrize("count", [0, 11])
def test_directions_cannot_be_more_than_w_has_entries(generator, count):
    with pytest.raises(ValueError, match="expected 1 to 10"):
        sefa(generator, count)
    with pytest.raises(ValueError, match="expected 1 to 10"):
        ganspace(generator, 20, count, rng())


def test_ganspace_needs_samples(generator):
    with pytest.raises(ValueError, match="samples=1"):
        ganspace(generator, 1, 2, rng())


# -- by yaw -------------------------------------------------------------------------------------

SPREAD = torch.tensor([3.0, 2, 1.5, 1, 0.8, 0.6, 0.5, 0.4, 0.01, 0.01])
GRADIENT = torch.tensor([2.0, 0, -8, 0, 5, 0, 0, 3, 0, 0])


def turned_samples(noise=0.0, count=300):
    """Stylecodes of independent entries, and a yaw that is linear in them."""
    draws = rng()
    w = 1 + SPREAD * torch.randn(count, 10, generator=draws)
    return w, 4 + (w - 1) @ GRADIENT + noise * torch.randn(count, generator=draws)


def test_regression_finds_the_gradient_and_the_smallest_whitened_step():
    w, yaw = turned_samples()
    yaw[::7] = torch.nan  # without a face
    found = yaw_regression(w, yaw, components=8, penalty=1e-6)
    torch.testing.assert_close(found.gradient, GRADIENT, atol=0.05, rtol=0)
    expected = SPREAD**2 * GRADIENT
    expected = expected / (expected @ GRADIENT)
    torch.testing.assert_close(found.step, expected, atol=0.02, rtol=0)
    assert float(found.gradient @ found.step) == pytest.approx(1, abs=1e-4)
    assert found.r2 > 0.999
    torch.testing.assert_close(found.predict(w[:5]), turned_samples()[1][:5], atol=0.1, rtol=0)
    # no other step of one degree is smaller in standard deviations of w
    size = (found.step / SPREAD).norm()
    for other in torch.randn(50, 10, generator=rng()):
        assert (other / (other @ GRADIENT) / SPREAD).norm() >= size - 1e-3


def test_regression_is_judged_on_samples_it_has_not_seen():
    w, yaw = turned_samples(noise=15.0)
    signal = float((SPREAD * GRADIENT).square().sum())
    assert yaw_regression(w, yaw, 8).r2 == pytest.approx(signal / (signal + 15**2), abs=0.1)
    w = torch.randn(30, 10, generator=rng())
    assert yaw_regression(w, torch.randn(30, generator=rng()), 10).r2 < 0.2


def test_regression_needs_samples():
    w, yaw = turned_samples(count=12)
    with pytest.raises(ValueError, match="12 samples with a face for 9 components"):
        yaw_regression(w, yaw, 9)


def test_the_hyperplane_parts_left_from_right():
    w, yaw = turned_samples(noise=5.0)
    yaw[::7] = torch.nan
    found = yaw_hyperplane(w, yaw, share=0.3)
    assert float(found.norm()) == pytest.approx(1, abs=1e-5)
    known = ~yaw.isnan()
    assert np.corrcoef((w @ found)[known], yaw[known])[0, 1] > 0.9
    backwards = yaw_hyperplane(w, -yaw, share=0.3)
    torch.testing.assert_close(backwards, -found, atol=1e-3, rtol=0)


def test_the_hyperplane_looks_at_the_extremes_only():
    w, yaw = turned_samples()
    middle = (yaw - yaw.median()).abs() < 10
    exchanged = yaw.clone()
    exchanged[middle] = exchanged[middle].flip(0)
    torch.testing.assert_close(yaw_hyperplane(w, exchanged, 0.1), yaw_hyperplane(w, yaw, 0.1))


@pytest.mark.parametrize(("share", "count"), [(0.0, 300), (0.6, 300), (0.02, 40)])
def test_the_hyperplane_needs_samples_on_either_side(share, count):
    with pytest.raises(ValueError, match=f"share={share}"):
        yaw_hyperplane(*turned_samples(count=count), share)


# -- stored -------------------------------------------------------------------------------------


@pytest.fixture
def directions() -> Directions:
    w, yaw = turned_samples()
    regression = yaw_regression(w, yaw, 8)
    hyperplane = yaw_hyperplane(w, yaw, 0.2)
    rows = torch.eye(10)[:3]
    steps = {"hyperplane": hyperplane / 7, "sefa": rows[0] / 2, "ganspace": rows[2] / -8}
    steps = {"regression": regression.step, **steps}
    return Directions(regression, hyperplane, rows, rows.flip(0), steps, {"teacher": "toy"})


def test_stylecodes_are_moved_to_where_a_yaw_is_expected(directions):
    w, _ = turned_samples(count=5)
    for kind in ("regression", "ganspace"):
        moved = directions.rotated(w, -20.0, kind)
        yaw = 4 + (moved - 1) @ GRADIENT
        torch.testing.assert_close(yaw, torch.full((5,), -20.0), atol=0.3, rtol=0)
    assert (directions.rotated(w, 30.0, "sefa") - w)[:, 1:].abs().max() == 0


def test_directions_are_read_back_as_they_were_written(directions, tmp_path):
    written = directions.save(tmp_path / "new")
    assert [path.name for path in written] == ["directions.safetensors", "card.json"]
    again = Directions.load(tmp_path / "new")
    assert again.card == {"teacher": "toy"}
    assert again.steps.keys() == directions.steps.keys()
    for kind, step in directions.steps.items():
        assert torch.equal(again.steps[kind], step)
    for name in ("hyperplane", "sefa", "ganspace"):
        assert torch.equal(getattr(again, name), getattr(directions, name))
    for name, value in vars(directions.regression).items():
        torch.testing.assert_close(getattr(again.regression, name), value)
    assert isinstance(again.regression, YawRegression)


def test_damaged_directions_are_refused_in_one_line(directions, tmp_path):
    written = directions.save(tmp_path)
    state, metadata = module.read_weights(written[0], module.PURPOSE)
    for missing in ("steps.sefa", "sefa", "regression.gradient"):
        part = {name: value for name, value in state.items() if name != missing}
        module.save_weights(written[0], part, metadata["purpose"], dtype=torch.float32)
        with pytest.raises(UserError, match="expected the directions of a teacher"):
            Directions.load(tmp_path)
    directions.save(tmp_path)
    written[1].write_text("{")
    with pytest.raises(UserError, match="expected the card of directions"):
        Directions.load(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        Directions.load(tmp_path / "none")


@pytest.mark.parametrize("name", ["heads-teacher-64", "nobody"])
def test_a_teacher_without_directions_says_how_to_make_them(name):
    with pytest.raises(UserError, match=f"teacher='{name}'.*gan3d-bench directions") as error:
        Directions.of_teacher(name)
    assert "mobilestylegan-ffhq" in str(error.value)


def test_the_face_teacher_has_its_directions_under_either_name():
    found, fast = map(Directions.of_teacher, ("mobilestylegan-ffhq", "mobilestylegan-ffhq-fast"))
    assert torch.equal(found.regression.step, fast.regression.step)
    assert found.hyperplane.shape == found.regression.w_mean.shape == (512,)
    assert found.sefa.shape == found.ganspace.shape == (10, 512)
    assert float(found.regression.gradient @ found.regression.step) == pytest.approx(1, abs=1e-4)
    assert found.regression.r2 > 0.85
    # another direction that turns faces to the right is no other way
    for kind in ("hyperplane", "ganspace", "sefa"):
        assert float(found.steps[kind] @ found.regression.gradient) > 0
    card = json.loads(json.dumps(found.card, allow_nan=False))
    assert card["teacher"]["same_w"] == ["mobilestylegan-ffhq", "mobilestylegan-ffhq-fast"]


def test_the_page_shows_what_the_card_says():
    page = (Path(__file__).parents[2] / "docs/directions.md").read_text()
    card = Directions.of_teacher("mobilestylegan-ffhq").card
    assert f"R2 {card['regression']['r2']:.2f}" in page
    assert f"; {card['samples']} samples, a face in every one" in page
    assert card["pose"]["faces"] == card["samples"]
    lines = page.splitlines()
    for kind in module.KINDS:
        row = card["turned"][kind]
        pairs = zip(row["mean"], row["std"], strict=True)
        measured = " | ".join(f"{round(mean)} ± {round(std)}" for mean, std in pairs)
        (place,) = (i for i, line in enumerate(lines) if line.endswith(f"measured | {measured} |"))
        cosines = " | ".join(f"{value:.2f}" for value in row["cosine"])
        assert lines[place + 1] == f"| cosine | {cosines} |"
