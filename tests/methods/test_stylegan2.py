"""StyleGAN2 training: data, phases, resuming, averages."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from gan3d_bench.config import compose, to_dict
from gan3d_bench.datamodules.heads import HeadsConfig, HeadsDataset
from gan3d_bench.distributed.strategy import PlainDDPStrategy
from gan3d_bench.errors import UserError
from gan3d_bench.generators.stylegan2 import Generator, GeneratorConfig, save_network
from gan3d_bench.generators.stylegan2.generator import normalize_latent
from gan3d_bench.generators.teachers import load_teacher
from gan3d_bench.geometry.views import View
from gan3d_bench.heads.sampling import LAYOUT, NUM_LATENTS, sample_heads
from gan3d_bench.methods.stylegan2 import data
from gan3d_bench.methods.stylegan2.config import DataConfig
from gan3d_bench.methods.stylegan2.method import StyleGAN2
from gan3d_bench.methods.stylegan2.networks import build_generator, make_mapping_linear
from gan3d_bench.methods.stylegan2.scene import move, view_latents
from gan3d_bench.methods.stylegan2.spec import SPEC
from gan3d_bench.rendering.shading import LambertLight
from gan3d_bench.spec import SAMPLE
from gan3d_bench.training import fit

Z_DIM, SIZE, COUNT = 160, 16, 24


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images that depend on their latents."""
    rng = torch.Generator().manual_seed(0)
    latents = normalize_latent(torch.randn(COUNT, Z_DIM, generator=rng))
    ramp = torch.linspace(-1, 1, SIZE)
    images = torch.tanh(latents[:, :3, None, None] + latents[:, 3:6, None, None] * ramp)
    images = images.expand(-1, -1, SIZE, SIZE)
    target = tmp_path / "pairs"
    target.mkdir()
    np.save(target / data.LATENTS, latents.half().numpy())
    np.save(target / data.IMAGES, ((images + 1) * 127.5).round().byte().numpy())
    return target


def build(folder: Path, *overrides: str) -> StyleGAN2:
    torch.manual_seed(0)
    config = compose(SPEC, "check", None, [f"data.path={folder}", *overrides])
    return StyleGAN2(config)


def trainer(*callbacks: L.Callback, **options: Any) -> L.Trainer:
    return L.Trainer(
        max_epochs=-1,
        max_steps=-1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **options,
    )


def train(method: StyleGAN2, steps: int | None = None) -> L.Trainer:
    made = trainer(*([] if steps is None else [StopAfter(steps)]))
    made.fit(method)
    return made


class StopAfter(L.Callback):
    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: StyleGAN2, *_: object) -> None:
        trainer.should_stop = pl_module.step >= self.steps


# -- data ---------------------------------------------------------------------------------------


def test_folder_of_images(tmp_path: Path) -> None:
    pixels = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    images, latents = data.open_images(DataConfig(path=str(tmp_path)), 8).read(torch.tensor([0]))
    assert latents is None
    torch.testing.assert_close(images[0], torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="not a readable image"):
        data.open_images(DataConfig(path=str(tmp_path)), 8)


def test_pictures_of_other_sizes_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for name, level in {"2.png": 20, "10.png": 100, "b/1.png": 200}.items():
        (tmp_path / "deep" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 9), (level,) * 3).save(tmp_path / "deep" / name)
    images = data.open_images(DataConfig(path=str(tmp_path)), 8)
    found, _ = images.read(torch.arange(len(images)))
    assert found.shape == (3, 3, 8, 8)
    assert ((found[:, 0, 0, 0] + 1) * 127.5).round().tolist() == [100, 20, 200]


def test_images_and_latents_of_a_data_module(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(tmp_path))
    given = DataConfig(name="heads", count=3)
    module = data.open_module(given, SIZE)
    assert module is not None
    module.prepare("train")
    images = data.open_images(given, SIZE, NUM_LATENTS)
    found, latents = images.read(torch.tensor([2, 0]))
    heads = HeadsDataset("train", 3, HeadsConfig(SIZE))
    assert len(images) == 3
    assert torch.equal(found[0], heads[2]["image"])
    assert torch.equal(latents, heads.latents[[2, 0]])
    with pytest.raises(UserError, match=r"latents of \(146,\) numbers, expected 160"):
        data.open_images(given, SIZE, Z_DIM)
    expected = "gives image, name but no latents; expected cars or heads or heads-360"
    with pytest.raises(UserError, match=expected):
        compose(SPEC, "check", None, ["data.name=images", "data.path=."])


def test_unusable_data(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        data.open_images(DataConfig(path=str(tmp_path / "absent")), SIZE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty': no images there"):
        data.open_images(DataConfig(path=str(tmp_path / "empty")), SIZE)
    with pytest.raises(UserError, match=r"shape \(N, 3, 32, 32\)"):
        data.open_images(DataConfig(path=str(folder)), 32)
    latents = np.load(folder / data.LATENTS)
    for wrong in (
        latents[:, :7],
        latents[:5],
        np.full_like(latents, np.nan),
        latents.astype(str),
    ):
        np.save(folder / data.LATENTS, wrong)
        with pytest.raises(UserError, match=r"latent\.npy: .*expected rows of finite"):
            _ = build(folder).images
    (folder / data.LATENTS).unlink()
    with pytest.raises(UserError, match=r"no latent\.npy"):
        _ = build(folder).images
    whole = (folder / data.IMAGES).read_bytes()
    (folder / data.IMAGES).write_bytes(whole[:50])
    with pytest.raises(UserError, match="truncated"):
        data.open_images(DataConfig(path=str(folder)), SIZE)
    for wrong in (np.zeros((2, 3, SIZE, SIZE), np.float32), np.zeros((0, 3, SIZE, SIZE), np.uint8)):
        np.save(folder / data.IMAGES, wrong)
        with pytest.raises(UserError, match=r"expected one or more images.*uint8"):
            data.open_images(DataConfig(path=str(folder)), SIZE)
    with open(folder / data.IMAGES, "wb") as file:
        np.savez(file, wrong)
    with pytest.raises(UserError, match="not a NumPy array"):
        data.open_images(DataConfig(path=str(folder)), SIZE)


# -- scene ---------------------------------------------------------------------------------------


def test_view_latents_invert_the_sampling_of_views() -> None:
    latents = normalize_latent(torch.randn(50, Z_DIM)).clamp(-2.5, 2.5)
    entries = latents[:, LAYOUT["view"]]
    view = sample_heads(latents).view
    torch.testing.assert_close(view_latents(view), entries, rtol=1e-3, atol=1e-3)
    far = View.from_angles([200.0], [-90.0], [0.0])
    assert view_latents(far)[0, :3].tolist() == [3.0, -3.0, 0.0]


def test_moved_latents_stay_normalised() -> None:
    latents, entries = normalize_latent(torch.randn(4, Z_DIM)), torch.randn(4, 6)
    moved = move(latents, entries)
    torch.testing.assert_close(normalize_latent(moved), moved)
    torch.testing.assert_close(moved[:, LAYOUT["view"]], entries)
    rest = moved[:, 140:] / latents[:, 140:]
    torch.testing.assert_close(rest, rest[:, :1].expand_as(rest))


def test_sampled_scene(folder: Path) -> None:
    method = build(folder)
    scene = method.sample(3, torch.Generator().manual_seed(0))
    front, turned = (scene.render(View.from_angles([yaw] * 3)) for yaw in (0.0, 20.0))
    assert front.rgb.shape == (3, 3, SIZE, SIZE)
    assert front.rgb.abs().max() <= 1
    assert not torch.equal(front.rgb, turned.rgb)
    assert scene.render(View.from_angles([0.0] * 3), image_size=32).rgb.shape[-1] == 32
    with pytest.raises(UserError, match="cannot give 'relight'"):
        scene.render(View.from_angles([0.0] * 3), LambertLight.frontal(3))
    plain = build(folder, "regression.steps=0", "adversarial.anchor=0")
    with pytest.raises(UserError, match="only after a warm start"):
        plain.sample(1, torch.Generator())


# -- training -----------------------------------------------------------------------------------


def test_a_run_trains_both_networks(folder: Path) -> None:
    method = build(folder)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    train(method)
    assert method.finished
    after = method.state_dict()
    for name in ("generator", "average", "discriminator"):
        key = next(key for key in before if key.startswith(f"{name}.") and "weight" in key)
        assert not torch.equal(before[key], after[key]), name
    assert float(method.adversarial.path_mean) > 0
    assert torch.isfinite(torch.cat([v.flatten().float() for v in after.values()])).all()
    shown = method.preview().images
    assert shown["samples"].shape == (32, 3, SIZE, SIZE)
    assert shown["reconstructed"].shape == shown["real"].shape


def test_regression_learns_the_pairs(folder: Path) -> None:
    method = build(folder, "regression.steps=60", "adversarial.steps=0", "regression.lr=0.01")
    images, latents = method.images.read(torch.arange(COUNT))

    def error() -> float:
        with torch.no_grad():
            return float((method.generator(latents, noise="none") - images).abs().mean())

    before = error()
    train(method)
    assert error() < 0.5 * before


def test_resumes_to_the_bit_in_the_middle_of_either_phase(folder: Path, tmp_path: Path) -> None:
    whole = build(folder)
    train(whole)
    for stop in (2, 7):
        half = build(folder)
        train(half, stop).save_checkpoint(tmp_path / "half.ckpt")
        rest = build(folder, "seed=0")
        checkpoint = torch.load(tmp_path / "half.ckpt", weights_only=True)
        rest.on_load_checkpoint(checkpoint)
        trainer().fit(rest, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
        assert rest.finished
        for key, value in whole.state_dict().items():
            assert torch.equal(value, rest.state_dict()[key]), key


def choosing(*overrides: str) -> StyleGAN2:
    """A run whose pictures show which of three entries is the largest."""
    small = [
        *("data.name=cars", "network.z_dim=6", "network.w_dim=32", "network.mapping_layers=4"),
        *("mapping.steps=400", "regression.steps=0", "adversarial.steps=1", "adversarial.anchor=0"),
    ]
    torch.manual_seed(0)
    method = StyleGAN2(compose(SPEC, "check", None, [*small, *overrides]))
    # in the place of a data module
    method.training_images.__dict__["module"] = SimpleNamespace(
        described=lambda z: F.one_hot(z[:, :3].argmax(1), 3).float()
    )
    method.prepare_data = method.training_images.open = lambda: [0] * 32  # type: ignore
    return method


def test_mapping_learns_what_a_latent_chooses() -> None:
    """Better than a linear map, which cannot tell."""
    method = choosing()
    before = {key: x.clone() for key, x in method.generator.synthesis.state_dict().items()}
    phase, *_ = method.schedule
    train(method, phase.steps)
    assert phase.name == "mapping" and method.phase_index == 1
    z = torch.randn(2000, 6)
    shown = method.training_images.module.described(z)  # type: ignore[union-attr]
    known = torch.cat((normalize_latent(z), torch.ones(2000, 1)), 1)
    linear = known @ torch.linalg.lstsq(known, shown).solution
    for network in (method.generator, method.generator_ema):
        w = network.mapping(z)
        errors = [float((made - shown).square().mean()) for made in (w[:, :3], linear)]
        assert errors[0] < 0.6 * errors[1], errors
        assert w[:, 3:].square().mean() < 0.01
    for key, value in method.generator.synthesis.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_mapping_resumes_to_the_bit_and_is_the_same_on_two_processes(tmp_path: Path) -> None:
    steps = "mapping.steps=6"
    whole = choosing(steps)
    train(whole, 6)
    train(choosing(steps), 3).save_checkpoint(tmp_path / "half.ckpt")
    rest = choosing(steps)
    trainer(StopAfter(6)).fit(rest, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert rest.step == 6
    two = choosing(steps)
    trainer(StopAfter(6), devices=2, strategy=PlainDDPStrategy(start_method="fork")).fit(two)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, rest.state_dict()[key]), key
        torch.testing.assert_close(two.state_dict()[key], value, rtol=1e-3, atol=1e-3)


def test_stylecodes_too_small_for_what_is_known_of_a_picture() -> None:
    small = ("data.name=cars", "network.z_dim=57", "mapping.steps=1", "network.w_dim=56")
    with pytest.raises(UserError, match=r"network.w_dim=56: expected at least 57, what is known"):
        StyleGAN2(compose(SPEC, "check", None, small)).prepare_data()


def test_linear_mapping_passes_latents_through() -> None:
    torch.manual_seed(0)
    for layers, sign in ((2, -1.0), (4, 1.0)):
        generator = Generator(GeneratorConfig(8, 6, 6, layers, {4: 4, 8: 4}))
        with torch.no_grad():
            make_mapping_linear(generator, [[1, 3, 2.5]])
            z = torch.randn(5, 6)
            expected = sign * normalize_latent(z) * torch.tensor([1, 2.5, 2.5, 1, 1, 1])
            torch.testing.assert_close(generator.mapping(z), expected)
    for config in (
        GeneratorConfig(8, 6, 6, 3, {4: 4, 8: 4}),
        GeneratorConfig(8, 6, 5, 2, {4: 4, 8: 4}),
    ):
        with pytest.raises(UserError, match="expected equal sizes and an even number of layers"):
            make_mapping_linear(Generator(config), [])


def test_views_and_content_come_from_their_own_style_inputs(folder: Path) -> None:
    options = ("network.w_dim=160", "network.mapping_layers=2", "regression.linear_mapping=true")
    method = build(folder, *options, "regression.view_entries=[3,7]", "regression.view_layers=2")
    _, latents = method.images.read(torch.arange(method.config.batch))
    assert latents is not None
    ws = method._pair_ws(latents)
    assert ws.shape == (method.config.batch, method.generator.num_ws, Z_DIM)
    view = torch.zeros(Z_DIM, dtype=torch.bool)
    view[3:7] = True
    # the linear map passes latents on, but for their sign and their length as a whole
    for layer, mine in ((0, view), (1, view), (2, ~view), (method.generator.num_ws - 1, ~view)):
        alike = torch.cosine_similarity(ws[:, layer][:, mine], -latents[:, mine])
        other = torch.cosine_similarity(ws[:, layer][:, ~mine], -latents[:, ~mine])
        assert alike.min() > 0.999, layer
        assert other.abs().mean() < 0.8, layer
    plain = build(folder, *options)._pair_ws(latents)
    assert torch.equal(plain[:, 0], plain[:, -1])
    with pytest.raises(UserError, match="view_layers=9: expected fewer than the 6 style inputs"):
        build(folder, "regression.view_entries=[3,7]", "regression.view_layers=9")


def test_a_finished_run_is_a_teacher(folder: Path, tmp_path: Path) -> None:
    method = build(folder)
    method.write_results(tmp_path / "results")
    teacher = load_teacher(str(tmp_path / "results"))
    assert isinstance(teacher.generator, Generator) and teacher.discriminator is not None
    z = torch.randn(2, Z_DIM)
    expected, found = (
        network(z, noise="none") for network in (method.generator_ema, teacher.generator)
    )
    torch.testing.assert_close(expected, found)


def test_rows_are_of_teachers_of_heads() -> None:
    for preset, rows in (("heads-64", {"StyleGAN2 teacher": SAMPLE}), ("cars-64", {})):
        assert SPEC.rows("fid", to_dict(compose(SPEC, preset))) == rows


def test_average_halves_its_distance_after_the_half_life(folder: Path) -> None:
    method = build(folder, "ema_kimg=0.08", "batch=8")  # 80 images are 10 steps
    average = method.generator_ema.synthesis.constant
    with torch.no_grad():
        average.zero_()
        method.generator.synthesis.constant.fill_(1.0)
    for _ in range(10):
        method.average.update_parameters(method.generator)
    torch.testing.assert_close(average, torch.full_like(average, 0.5))
    method.generator.w_mean.fill_(3.0)
    method.average.update_parameters(method.generator)
    assert (method.generator_ema.w_mean == 3).all()


def test_discriminator_alone_trains_during_the_delay(folder: Path) -> None:
    method = build(folder, "regression.steps=0", "adversarial.delay=3", "adversarial.steps=3")
    generator = {k: v.clone() for k, v in method.generator.named_parameters()}
    critic = method.discriminator.from_rgb.weight.detach().clone()
    train(method)
    for key, value in method.generator.named_parameters():
        assert torch.equal(value, generator[key]), key
    assert not torch.equal(method.discriminator.from_rgb.weight, critic)


def test_starts_from_saved_networks(folder: Path, tmp_path: Path) -> None:
    first = build(folder)
    save_network(first.generator, tmp_path / "g.safetensors")
    again = build(folder, f"network.generator={tmp_path / 'g.safetensors'}")
    constant: Tensor = again.generator.synthesis.constant
    assert torch.equal(constant, first.generator.synthesis.constant.half().float())
    assert constant.requires_grad
    larger = ("network.image_size=32", "network.channels={4: 8, 8: 8, 16: 8, 32: 8}")
    with pytest.raises(UserError, match="images of 16 pixels"):
        build(folder, f"network.generator={tmp_path / 'g.safetensors'}", *larger)


def test_config_errors(folder: Path) -> None:
    for override, message in {
        "network.image_size=48": "power of two",
        "adversarial.mixing=1.5": "adversarial.mixing=1.5: expected a number from 0 to 1",
        "regression.perceptual=lpipz-vgg": "did you mean 'lpips-vgg'",
        "batch=0": "above 0",
        "regression.steps=-1": "regression.steps=-1: expected a number from 0 to",
        "regression.pixel=-1": "regression.pixel=-1.0: expected a number from 0 to",
        "regression.warmup=-1": "regression.warmup=-1: expected a number from 0 to",
        "adversarial.gamma=-1": "adversarial.gamma=-1.0: expected a number from 0 to",
        "adversarial.anchor=-1": "adversarial.anchor=-1.0: expected a number from 0 to",
        "adversarial.lr_end=-1": "adversarial.lr_end=-1.0: expected a number from 0 to",
        "adversarial.path_decay=2": "adversarial.path_decay=2.0: expected a number from 0 to 1",
        "augment.target=-2": "augment.target=-2.0: expected a number from -1 to 1",
        "augment.maximum=1.5": "augment.maximum=1.5: expected a number from 0 to 1",
        "ema_rampup=-1": "ema_rampup=-1.0: expected a number from 0 to",
        "network.z_dim=0": "network.z_dim=0: expected a number above 0",
        "network.mapping_layers=0": "network.mapping_layers=0: expected a number above 0",
        "network.conv_clamp=-1": "network.conv_clamp=-1.0: expected a number from 0 to",
        "network.image_size=2048": "network.image_size=2048: expected a power of two",
        "network.image_size=32": "network.channels={4: 8, 8: 8, 16: 8}: expected the channels at",
        "network.channels={4: 8, 8: 8, 16: 0}": "channels.16=0: expected a number above 0",
        "regression.view_entries=[4,2]": "regression.view_entries=[4, 2]: expected [first, last]",
        "regression.view_entries=[0,200]": "0 <= first < last <= 160 (network.z_dim)",
        "regression.latent_scales=[[0,2]]": "regression.latent_scales=[[0.0, 2.0]]: expected",
        "regression.latent_scales=[[4,2,1]]": "latent_scales=[[4.0, 2.0, 1.0]]: expected",
        "regression.latent_scales=[[0,2,.nan]]": "expected a finite number",
        "mapping.steps=1": "mapping.steps=1: expected data.name with it",
    }.items():
        with pytest.raises(UserError, match=re.escape(message)):
            build(folder, override)


def test_saved_networks_that_are_none(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "g.safetensors").write_text("text")
    for key in ("network.generator", "network.discriminator"):
        for name in ("g.safetensors", "absent.safetensors", "."):
            with pytest.raises(UserError, match=re.escape(f"{key}={tmp_path / name}")):
                build(folder, f"{key}={tmp_path / name}")


@pytest.mark.parametrize("preset", sorted(SPEC.presets))
def test_presets_compose(preset: str) -> None:
    config = compose(SPEC, preset)
    assert isinstance(build_generator(config.network), Generator)


def test_last_pictures_are_made_up_for(folder: Path, tmp_path: Path, monkeypatch) -> None:
    """Killed while it wrote them, a run writes all of them when it is resumed."""
    monkeypatch.chdir(tmp_path)
    config = compose(SPEC, "check", None, [f"data.path={folder}", "trainer.preview_every=-1"])
    run = fit.fit(SPEC, config)
    assert run is not None
    shown = {path.name: path.read_bytes() for path in run.pictures.rglob("*.png")}
    assert {"real.png", "reconstructed.png", "samples.png"} <= shown.keys()
    shutil.rmtree(run.pictures)
    (run.path / "finished.json").unlink()
    assert fit.fit(SPEC, config, run) is run
    assert {path.name: path.read_bytes() for path in run.pictures.rglob("*.png")} == shown
    assert run.finished
