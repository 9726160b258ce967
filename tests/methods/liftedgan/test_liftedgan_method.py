"""LiftedGAN as a method: scenes, resuming, processes, bad input."""

from __future__ import annotations

import pytest
import torch

from gan3d_bench.config import compose
from gan3d_bench.errors import UserError
from gan3d_bench.files.run_folder import Run
from gan3d_bench.generators.latents import sample_z
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.liftedgan.image_formation import view_from_raw, view_to_raw
from gan3d_bench.methods.liftedgan.losses import Share, perturbed_view
from gan3d_bench.methods.liftedgan.method import LiftedGAN
from gan3d_bench.registry import registry
from gan3d_bench.training.fit import build, fit, load_method

SIZE = 16


@pytest.fixture
def spec():
    return registry("methods").get("liftedgan")


@pytest.fixture
def method(spec) -> LiftedGAN:
    made = build(spec, compose(spec, "check", None, []))
    assert isinstance(made, LiftedGAN)
    return made.eval()


def test_samples_know_their_own_view_and_turn(method: LiftedGAN) -> None:
    scene = method.sample(3, torch.Generator().manual_seed(0))
    assert scene.batch_size == 3
    assert scene.input_view is not None
    own = scene.render(scene.input_view)
    assert own.rgb.shape == (3, 3, SIZE, SIZE)
    assert own.normal is not None and own.albedo is not None and own.depth is not None
    turned = scene.render(View.from_angles([40.0] * 3))
    assert (own.rgb - turned.rgb).abs().max() > 0.05
    again = method.sample(3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(scene.albedo, again.albedo)


def test_reconstruction_embeds_images_first(method: LiftedGAN) -> None:
    with torch.no_grad():
        z = sample_z(2, method.generator.z_dim, torch.Generator().manual_seed(0))
        images = method.generator.synthesis(method.styles(z)).clamp(-1, 1)
    scene = method.reconstruct(images)
    assert scene.batch_size == 2
    assert scene.input_view is not None
    with pytest.raises(UserError, match=r"images of shape .* \(B, 3, 16, 16\)"):
        method.reconstruct(images[..., :8])


def test_raw_views_are_the_tables_of_the_conventions() -> None:
    """+60 degrees of the released angle turn the near side to the left: our -60 degrees."""
    raw = torch.tensor([[0.5, 1.0, -0.25, 0.1, 0.2, 1.0]])
    view = view_from_raw(raw)
    assert view.yaw.item() == pytest.approx(-60)
    assert view.pitch.item() == pytest.approx(-30)
    assert view.roll.item() == pytest.approx(-15)
    torch.testing.assert_close(view.translation, torch.tensor([[0.01, 0.02, 0.01]]))
    torch.testing.assert_close(view_to_raw(view), raw)


def test_perturbations_stay_in_range() -> None:
    uniform = torch.rand(200, 3, generator=torch.Generator().manual_seed(0))
    raw = perturbed_view(uniform, pitch=10, yaw=40)
    assert raw[:, 0].abs().max() * 60 <= 10
    assert 35 < raw[:, 1].abs().max() * 60 <= 40
    assert not raw[:, 2].any()


@pytest.mark.parametrize(("batch", "size", "rows"), [(8, 3, [3, 3, 2]), (8, 0, [8]), (4, 9, [4])])
def test_micro_batches(batch: int, size: int, rows: list[int]) -> None:
    parts = Share.whole(batch).split(size)
    assert [part.rows.stop - part.rows.start for part in parts] == rows
    assert sum(part.fraction for part in parts) == pytest.approx(1)


@pytest.mark.parametrize(
    ("rows", "count", "part"), [((0, 1), 6, (0, 1)), ((1, 4), 6, (1, 6)), ((0, 4), 0, (0, 0))]
)
def test_parts_of_other_things_are_shared_too(rows, count: int, part) -> None:
    assert Share(slice(*rows), 4).part_of(count) == slice(*part)


def test_the_learning_rate_falls_at_the_end(spec) -> None:
    made = build(spec, compose(spec, "check", None, ["steps=10", "decay=0.4"]))
    assert isinstance(made, LiftedGAN)
    rates = [made._rate(step) for step in range(10)]
    assert rates == pytest.approx([1.0] * 7 + [0.75, 0.5, 0.25])
    lift = made.schedule[-1].trainable["lifter"]
    assert lift.schedule == made._rate
    constant = build(spec, compose(spec, "check", None, []))
    assert isinstance(constant, LiftedGAN)
    assert constant.schedule[-1].trainable["lifter"].schedule is None


STEPS, RATE = 6, 1e-4


def weights(spec, tmp_path, monkeypatch, *overrides: str) -> dict[str, torch.Tensor]:
    monkeypatch.setenv("GAN3D_BENCH_RUNS", str(tmp_path / "-".join(overrides)))
    config = compose(
        spec, "check", None, ["trainer.accelerator=cpu", f"lr={RATE}", f"steps={STEPS}", *overrides]
    )
    run = fit(spec, config)
    assert run is not None
    return load_method(run).state_dict()


def disagreement(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Share of the weights that differ by over a tenth of the way that training can have gone.

    Adam turns the rounding of gradients near zero into whole steps: a few weights always differ.
    """
    far = [((one[key] - other[key]).abs() > 0.1 * STEPS * RATE).flatten() for key in one]
    return torch.cat(far).float().mean().item()


def test_accumulated_micro_batches_equal_the_whole_batch(spec, tmp_path, monkeypatch) -> None:
    ours = ("losses.keep=1", "kept=7", "decay=0.5")
    whole = weights(spec, tmp_path, monkeypatch, "batch=5", *ours)
    parts = weights(spec, tmp_path, monkeypatch, "batch=5", "micro_batch=2", *ours)
    other = weights(spec, tmp_path, monkeypatch, "batch=4", *ours)
    assert disagreement(parts, whole) < 0.01
    assert disagreement(other, whole) > 0.2


def test_a_run_starts_from_another_run(spec, tmp_path, monkeypatch) -> None:
    trained = weights(spec, tmp_path, monkeypatch, "batch=4")
    (run,) = Run.find("liftedgan")
    made = build(spec, compose(spec, "check", None, [f"start={run.path}"]))
    for key, value in made.state_dict().items():
        if key.startswith("lifter."):
            torch.testing.assert_close(value, trained[key], msg=key)
    with pytest.raises(UserError, match=r"start='.*': .*depth"):
        build(spec, compose(spec, "check", None, [f"start={run.path}", "width.depth=16"]))
    with pytest.raises(UserError, match="start='nowhere'"):
        build(spec, compose(spec, "check", None, ["start=nowhere"]))


def test_mixed_precision_trains(spec, tmp_path, monkeypatch) -> None:
    """Every network learns, and goes where it goes in float32 but for the rounding of bfloat16."""
    state = weights(spec, tmp_path, monkeypatch, "trainer.precision=bf16-mixed")
    whole = weights(spec, tmp_path, monkeypatch, "trainer.precision=32-true")
    start = build(spec, compose(spec, "check", None, [])).state_dict()
    trained = [key for key in state if key.startswith("lifter.")]
    for network in ("depth", "transformation", "decomposition", "manipulation"):
        keys = [key for key in trained if key.startswith(f"lifter.{network}.")]
        assert any(not torch.equal(state[key], start[key]) for key in keys), network
    gone = torch.cat([(whole[key] - start[key]).flatten() for key in trained])
    found = torch.cat([(state[key] - start[key]).flatten() for key in trained])
    assert torch.cosine_similarity(found, gone, 0) > 0.9


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("losses.flip=-1", "losses.flip=-1"),
        ("losses.reconstruction=0", "losses.reconstruction=0"),
        ("perturbation.yaw=90", "perturbation.yaw=90.0: expected a number from 0 to 60"),
        ("perceptual.network=resnet", "perceptual.network='resnet'"),
        ("renderer=pytorch3d", "renderer='pytorch3d'"),
        ("width.hidden=33", "width.hidden=33: expected a multiple of 4"),
        ("image_size=48", "image_size=48"),
        ("geometry.border=1.2", "geometry.border=1.2"),
        ("geometry.blur_radius=9", "geometry.blur_radius=9"),
        ("warmup.far=1.2", "warmup.near=0.91 warmup.far=1.2"),
        ("perceptual.scales=9", "perceptual.scales=9"),
        ("perceptual.network=vgg perceptual.scales=3", "image_size=16 has 4 pixels, expected at"),
        ("perceptual.layers=4 perceptual.scales=4", "has 2 pixels, expected at least 4 for percep"),
        ("batch=0", "batch=0"),
        ("decay=2", "decay=2.0: expected a number from 0 to 1"),
        ("warmup.styles=0", "warmup.styles=0"),
        ("kept=0", "kept=0"),
        ("losses.filp=0", "filp"),
        ("inversion.space=w+", "inversion.space='w+': expected 'w'"),
        ("teacher=''", "teacher=''"),
    ],
)
def test_bad_settings_are_named(spec, override: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        compose(spec, "check", None, override.split())
    assert message in str(error.value)


def test_the_loss_needs_no_more_than_its_layers(spec) -> None:
    compose(spec, "check", None, ["perceptual.network=vgg", "perceptual.scales=2"])


def test_a_teacher_of_another_size_is_refused(spec) -> None:
    with pytest.raises(UserError, match="image_size=16: expected 32"):
        build(spec, compose(spec, "check", None, ["teacher=random-32"]))
