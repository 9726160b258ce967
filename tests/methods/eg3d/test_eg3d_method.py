"""EG3D training: phases, resuming, processes, what a run leaves behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import lightning as L
import pytest
import torch
from PIL import Image
from torch import Tensor

from gan3d_bench.adversarial.step import Samples
from gan3d_bench.config import compose
from gan3d_bench.conformance.checks import distance
from gan3d_bench.datamodules.heads import HeadsDataset
from gan3d_bench.distributed import processes
from gan3d_bench.distributed.strategy import PlainDDPStrategy
from gan3d_bench.generators.eg3d import CameraOrbit
from gan3d_bench.generators.eg3d.cameras import mirrored
from gan3d_bench.generators.eg3d.discriminator import raw_of
from gan3d_bench.generators.teachers import load_teacher
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.eg3d.conditioning import blurred
from gan3d_bench.methods.eg3d.data import Posed
from gan3d_bench.methods.eg3d.method import EG3D
from gan3d_bench.methods.eg3d.spec import SPEC

SIZE, BATCH = 64, 4


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The heads are rendered once."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN3D_BENCH_HOME", str(folder))
        yield folder


def build(*overrides: str) -> EG3D:
    torch.manual_seed(0)
    return EG3D(compose(SPEC, "check", None, list(overrides)))


def trainer(**options: object) -> L.Trainer:
    return L.Trainer(
        max_epochs=-1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **options,
    )  # type: ignore[arg-type] # fmt: skip


class StopAfter(L.Callback):
    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: EG3D, *_: object) -> None:
        trainer.should_stop = pl_module.step >= self.steps


@pytest.fixture(scope="module")
def trained(home: Path) -> EG3D:
    method = build()
    trainer().fit(method)
    return method


def test_a_run_trains_both_networks(trained: EG3D) -> None:
    before, after = build().state_dict(), trained.state_dict()
    assert trained.finished
    for name in (
        "generator.synthesis.backbone.constant",
        "generator.synthesis.decoder.out.weight",
        "generator.synthesis.super_resolution.block1.to_rgb.weight",
        "generator.mapping.embed.weight",
        "average.module.synthesis.decoder.out.weight",
        "discriminator.network.from_rgb.weight",
        "generator.w_mean",
    ):
        assert not torch.equal(before[name], after[name]), name
    assert torch.isfinite(torch.cat([v.flatten().float() for v in after.values()])).all()


@pytest.mark.parametrize("stop", [1, 4, 8])
def test_resumes_to_the_bit_in_the_middle_of_each_phase(
    trained: EG3D, tmp_path: Path, stop: int
) -> None:
    first = trainer(callbacks=[StopAfter(stop)])
    first.fit(build())
    first.save_checkpoint(tmp_path / "half.ckpt")
    rest = build("seed=0")
    trainer().fit(rest, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert rest.finished
    for key, value in trained.state_dict().items():
        assert torch.equal(value, rest.state_dict()[key]), key


def test_two_processes_learn_what_one_learns(trained: EG3D) -> None:
    two = build()
    trainer(devices=2, strategy=PlainDDPStrategy(start_method="fork")).fit(two)
    one, start = trained.state_dict(), build().state_dict()
    # gradients are added in another order, which Adam's first steps amplify
    assert distance(one, two.state_dict()) < 0.02 * distance(one, start)


def test_the_parts_of_two_processes_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cameras, rays and noise of a sample are the same whichever process makes it."""
    method = build()
    with torch.no_grad():
        whole = method._fakes(16, "d")[0]
        made, images = method._reconstruct(method.images.read(torch.arange(BATCH)), 16, 2)
        for rank in range(2):
            monkeypatch.setattr(processes, "rank_and_size", lambda rank=rank: (rank, 2))
            part = method._fakes(16, "d")[0]
            mine = range(rank, BATCH, 2)
            assert torch.equal(part.labels, whole.labels[rank::2])
            for x, y in zip(part.parts, whole.parts, strict=True):
                torch.testing.assert_close(x, y[rank::2], atol=1e-4, rtol=1e-4)
            own, wanted = method._reconstruct(method.images.read(torch.tensor(mine)), 16, 2)
            expected = made.image.unflatten(0, (BATCH, 2))[rank::2].flatten(0, 1)
            torch.testing.assert_close(own.image, expected, atol=1e-4, rtol=1e-4)
            assert torch.equal(wanted, images.unflatten(0, (BATCH, 2))[rank::2].flatten(0, 1))


def test_regression_learns_heads_from_all_their_cameras(home: Path) -> None:
    method = build(
        "ellipsoid.steps=0",
        "regression.steps=16",
        "adversarial.steps=0",
        "regression.lr=0.02",
        "regression.views=3",
    )
    batch = method.images.read(torch.arange(BATCH))

    def error() -> Tensor:
        with torch.no_grad():
            made, images = method._reconstruct(batch, 16, 3)
            return (made.image - images).abs().mean((1, 2, 3)).view(BATCH, 3)

    before = error()
    trainer().fit(method)
    assert (error().mean(0) < 0.8 * before.mean(0)).all()


def test_what_the_discriminator_is_shown() -> None:
    method = build("adversarial.blur=2", "data.mirror=true")
    images = method.images
    batch = images.read(torch.arange(BATCH))
    (real,) = method._reals(batch, 16)
    coin = method._coin("real")[:, 0]
    assert coin.any() and not coin.all()
    own = batch.images[:, 0]
    seen = torch.where(coin[:, None, None, None], own.flip(3), own)
    torch.testing.assert_close(real.parts[0], blurred(seen, 2.0))
    torch.testing.assert_close(real.parts[1], blurred(raw_of(seen, 16), 2.0))
    cameras = torch.where(coin[:, None], mirrored(batch.cameras[:, 0]), batch.cameras[:, 0])
    assert torch.equal(real.labels, cameras)

    told: list[Tensor] = []
    mapping = method.generator.mapping.forward
    method.generator.mapping.forward = lambda z, labels: (told.append(labels), mapping(z, labels))[
        1
    ]
    (fake,) = method._fakes(16, "g")
    assert isinstance(fake, Samples) and fake.parts[1].shape == (BATCH, 3, 16, 16)
    # at the start all are swapped: the generator is told the neighbour's camera
    assert torch.equal(told[0], fake.labels.roll(1, 0))
    method.phase_index, method.phase_step = 2, 1000
    (fake,) = method._fakes(16, "g")
    kept = (told[1] == fake.labels).all(1)
    expected = torch.rand((BATCH, 1), generator=method.rng("swap/g"))[:, 0] >= 0.5
    assert torch.equal(kept, expected)
    # no blur is left, and it never was on the raw picture
    (real,) = method._reals(Posed(own[:, None], batch.cameras, batch.latents), 16)
    coin = method._coin("real")[:, :, None, None]
    assert torch.equal(real.parts[0], torch.where(coin, own.flip(3), own))


def test_density_is_regularised_every_so_many_updates() -> None:
    method = build(
        "ellipsoid.steps=0", "regression.steps=0", "adversarial.steps=6", "adversarial.delay=1"
    )  # fmt: skip
    seen: list[tuple[int, list[str]]] = []
    descend = method.descend
    method.descend = lambda terms, name: (
        seen.append((method.phase_step, [*terms, name])), descend(terms, name)
    )[1]  # fmt: skip
    trainer().fit(method)
    assert [step for step, terms in seen if terms == ["density", "generator"]] == [2, 4]
    assert [step for step, terms in seen if terms[0] == "g"] == [1, 2, 3, 4, 5]
    optimizer = method.schedule[0].trainable["generator"].optimizer([torch.nn.Parameter()])
    assert optimizer.defaults["lr"] == pytest.approx(method.config.adversarial.generator_lr * 2 / 3)
    assert optimizer.defaults["betas"] == (0.0, 0.99 ** (2 / 3))


def test_a_discriminator_alone_during_the_delay() -> None:
    method = build(
        "ellipsoid.steps=0", "regression.steps=0", "adversarial.steps=1", "adversarial.delay=1"
    )  # fmt: skip
    before = {k: v.clone() for k, v in method.named_parameters()}
    trainer().fit(method)
    for key, value in method.named_parameters():
        if key.startswith("generator"):
            assert torch.equal(value, before[key]), key
    assert any(not torch.equal(v, before[k]) for k, v in method.named_parameters())


# -- what a run shows and leaves ----------------------------------------------------------------


def test_samples_and_pictures(trained: EG3D) -> None:
    scene = trained.eval().sample(3, torch.Generator().manual_seed(0))
    again = trained.sample(3, torch.Generator().manual_seed(0))
    turned = scene.render(View.from_angles([0.0, 10.0, -30.0]))
    assert turned.rgb.shape == (3, 3, SIZE, SIZE) and turned.depth is not None
    assert torch.equal(turned.rgb, again.render(View.from_angles([0.0, 10.0, -30.0])).rgb)
    assert scene.camera.fov == pytest.approx(10.0)
    shown = trained.preview()
    assert shown.images["views"].shape == (40, 3, SIZE, SIZE)
    assert shown.images["real"].shape == shown.images["reconstructed"].shape == (24, 3, SIZE, SIZE)
    assert shown.scene is not None and shown.scene.batch_size == 8


def test_networks_are_a_teacher_afterwards(trained: EG3D, tmp_path: Path) -> None:
    trained.eval().write_results(tmp_path)
    teacher = load_teacher(f"eg3d:{tmp_path}", conditional=True)
    z, labels = torch.randn(2, 140), trained.generator.config.orbit.frontal(2)
    assert torch.equal(teacher.generator(z, labels=labels), trained.generator_ema(z, labels=labels))
    assert teacher.generator.config == trained.generator.config
    assert torch.equal(teacher.generator.w_mean, trained.generator_ema.w_mean)
    images = (torch.randn(2, 3, SIZE, SIZE), torch.randn(2, 3, 16, 16))
    assert teacher.discriminator is not None
    found, expected = teacher.discriminator(images, labels), trained.discriminator(images, labels)
    assert torch.equal(found, expected)
    generator = tmp_path / "generator.safetensors"
    critic = tmp_path / "discriminator.safetensors"
    again = build(f"network.generator={generator}", f"network.discriminator={critic}")
    assert torch.equal(again.generator(z, labels=labels), teacher.generator(z, labels=labels))
    assert all(p.requires_grad for p in again.generator.parameters())


def test_trains_on_pictures_with_cameras(tmp_path: Path) -> None:
    orbit = CameraOrbit(1.0, (0.0, 0.0, 0.0), 5.6)
    rows = orbit.look_at(torch.linspace(-0.3, 0.3, 5), torch.zeros(5)).tolist()
    names = [f"{number}.png" for number in range(5)]
    for number, name in enumerate(names):
        Image.new("RGB", (SIZE, SIZE), (50 * number,) * 3).save(tmp_path / name)
    labels = [list(pair) for pair in zip(names, rows, strict=True)]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    method = build(
        f"data.path={tmp_path}", "network.focal=5.6", "regression.steps=0", "adversarial.anchor=0",
        "adversarial.steps=2", "adversarial.delay=0",
    )  # fmt: skip
    trainer().fit(method)
    assert method.finished
    shown = method.eval().preview()
    assert shown.images["real"].shape == (5, 3, SIZE, SIZE) and "reconstructed" not in shown.images


def test_heads_of_the_data_are_not_those_of_the_tables(home: Path) -> None:
    own = build().images.read(torch.arange(16)).latents
    assert own is not None
    test = HeadsDataset("test", 16).latents[:, :128]
    distance = torch.cdist(own[:, :128], test)
    assert distance.min() > 5
