"""The W_tri encoder as a method: config, training, reconstruction."""

from __future__ import annotations

import json
from pathlib import Path

import lightning as L
import pytest
import torch
from PIL import Image
from torch import Tensor

from gan3d_bench.config import compose, to_dict
from gan3d_bench.distributed.strategy import PlainDDPStrategy
from gan3d_bench.errors import UserError
from gan3d_bench.generators.eg3d.checkpoint import save_generator
from gan3d_bench.generators.eg3d.scene import TriplaneScene
from gan3d_bench.generators.eg3d.teacher import random_pair
from gan3d_bench.generators.encoders import Ranger
from gan3d_bench.generators.latents import w_statistics
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.wtri.losses import code_distance, pixel_loss
from gan3d_bench.methods.wtri.method import WTri
from gan3d_bench.methods.wtri.spec import LINEAR, PIVOTAL, PROJECTION, SPEC
from gan3d_bench.scenes.base import Scene
from gan3d_bench.spec import RECONSTRUCT

STRONG = (
    "offsets.width=8", "losses.mirror=0.3", "losses.views_id=0.1", "identity=idnet-heads-64",
)  # fmt: skip
WARMED = ("warmup.steps=1", "warmup.batch=5", "warmup.cameras=3", "warmup.group=2")
QUICK = ("camera.steps=1", "steps=1", "refinements=2", "cycle.count=2", "volume_size=8")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(tmp_path_factory.getbasetemp() / "wtri"))


def config(*overrides: str, preset: str = "check"):
    return compose(SPEC, preset, overrides=list(overrides))


def build(*overrides: str) -> WTri:
    torch.manual_seed(0)
    return WTri(config(*QUICK, *overrides)).eval()


def train(method: WTri, **options: object) -> None:
    L.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,  # type: ignore[arg-type]
    ).fit(method)


def images(count: int = 2, size: int = 64) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


# -- config -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["losses.similarity=0.5"], "expected similarity.weights=FILE"),
        (["losses.l2=0"], "expected one of l2, lpips, id, similarity above 0"),
        (["encoder.image_size=128"], "encoder.image_size=128: expected at most image_size=64"),
        (["data.name=images"], "data.path=''"),
        (["data.name=synface", "data.path=x"], "no angles"),
        (["codes=w"], "codes='w'"),
        (["cycle.cameras=video"], "expected one of trajectory, data"),
        (["encoder.weights=x.pth"], "expected encoder.width=64"),
    ],
)
def test_configs_that_make_no_sense(overrides: list[str], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        config(*overrides)


def test_a_teacher_is_needed() -> None:
    with pytest.raises(UserError, match="expected an EG3D generator"):
        config(preset="heads-128")


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["teacher=random-16"], "expected EG3D"),
        (["teacher=/nowhere"], "no teacher"),
        (["image_size=128"], "image_size=128: expected 64"),
    ],
)
def test_teachers_that_do_not_fit(overrides: list[str], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        build(*overrides)


def test_a_folder_is_one_of_eg3d(tmp_path: Path) -> None:
    generator = random_pair()[0]
    save_generator(generator, tmp_path / "generator.safetensors", dtype=torch.float32)
    method = build(f"teacher={tmp_path}")
    assert torch.equal(method.start[0], generator.w_mean)
    assert not any(key.startswith("frozen") for key in method.state_dict())


@pytest.mark.parametrize(
    ("overrides", "row"),
    [
        (["losses.cycle=0.1"], "W_tri"),
        (["losses.cycle=0"], "W_tri without L_cyc"),
        (["losses.cycle=0", "codes=w+"], "ReStyle on EG3D"),
        (["losses.cycle=0.1", "offsets.width=8"], "W_tri with plane offsets"),
    ],
)
def test_rows(overrides: list[str], row: str) -> None:
    own = to_dict(config("teacher=eg3d:folder", *overrides))
    assert next(iter(SPEC.rows("novel-view", own))) == row
    assert not SPEC.rows("fid", own)
    assert not SPEC.rows("novel-view", to_dict(config()))  # an untrained teacher


# -- training and use ---------------------------------------------------------------------------


def weights(method: WTri) -> Tensor:
    return torch.cat([x.detach().flatten().double() for x in method.state_dict().values()])


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("codes=w+", "losses.cycle=0", "jitter=false", "start=frontal"),
        ("cycle.every_refinement=true", "cycle.refinements=2", "cycle.cameras=data"),
        STRONG,
    ],
)
def test_training_moves_what_it_trains_and_repeats(overrides: tuple[str, ...]) -> None:
    before, one, two = (build(*overrides) for _ in range(3))
    for method in (one, two):
        train(method)
    assert torch.equal(weights(one), weights(two))
    parts = ("camera", "encoder", *(("offsets",) if before.offsets else ()))
    for part in parts:
        moved = [
            not torch.equal(a, b)
            for a, b in zip(
                getattr(one, part).parameters(), getattr(before, part).parameters(), strict=True
            )
        ]
        # in its first step only the offsets' last layer, which is zero, has a gradient
        assert sum(moved) > (0 if part == "offsets" else 0.9 * len(moved))
    frozen = random_pair()[0].state_dict()
    for key, value in one.generator.state_dict().items():
        assert torch.equal(value, frozen[key])


def test_two_processes_learn_what_one_learns() -> None:
    # five pictures: unequal shares; statistics and jitter are those of the whole batch
    one, two = (build("steps=2", "batch=5", "camera.batch=5", *STRONG, *WARMED) for _ in range(2))
    before = weights(one)
    train(one)
    train(two, devices=2, strategy=PlainDDPStrategy(start_method="fork"))
    apart = (weights(one) - weights(two)).norm() / (weights(one) - before).norm()
    assert apart < 1e-3


def test_the_first_gradient_is_the_sum_over_refinements() -> None:
    """What `descend` adds up is the gradient of the sum of all terms, each with a cut graph."""
    method = build("losses.cycle=0.5", "losses.w_norm=0.1")
    batch = method._batch(images(4), method.orbit.frontal(4))
    total = sum(sum(terms.values()) for terms in method.terms(batch))
    assert isinstance(total, Tensor)
    total.backward()
    expected = [p.grad.clone() for p in method.encoder.parameters() if p.grad is not None]
    method.zero_grad()
    for terms in method.terms(batch):
        torch.stack(list(terms.values())).sum().backward()
    found = [p.grad for p in method.encoder.parameters() if p.grad is not None]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max()) + 1e-9)


def test_an_encoder_learns_what_its_generator_can_make() -> None:
    """Fifteen steps on four pictures of W+ codes: half of the average's error at most."""
    method = build("losses.cycle=0", "losses.w_norm=0", "jitter=false")
    generator, inverter = method.generator, method.inverter(training=True)
    cameras = method.orbit.trajectory(4)
    drawn = torch.randn(4, generator.num_ws, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        own = generator.synthesis.run(generator.w_mean + drawn, cameras, volume_size=8)
        average = inverter.picture(method.start.expand(4, -1, -1), cameras)
    batch = method._batch(own.image, cameras)
    optimizer = Ranger(method.encoder.parameters(), lr=2e-2)
    method.encoder.train()
    last = torch.tensor(0.0)
    for _ in range(15):
        optimizer.zero_grad()
        for terms in method.terms(batch):
            last = terms["l2"]
            last.backward()
        optimizer.step()
    assert last < 0.5 * pixel_loss(average, batch.targets)


def test_offsets_see_the_picture_and_begin_with_nothing() -> None:
    plain, method = build(), build("offsets.width=8")
    pictures, cameras = images(), method.orbit.trajectory(2)
    method.encoder.load_state_dict(plain.encoder.state_dict())
    scene = method.reconstruct_from(pictures, cameras)
    assert torch.equal(scene.planes, plain.reconstruct_from(pictures, cameras).planes)
    assert method.offsets is not None
    torch.nn.init.normal_(method.offsets.last.weight, std=0.1)
    moved = method.reconstruct_from(pictures, cameras)
    assert (moved.planes - scene.planes).abs().mean() > 1e-3
    # a picture's offsets are its own, whatever is beside it
    alone = method.reconstruct_from(pictures[:1], cameras[:1])
    torch.testing.assert_close(alone.planes, moved.planes[:1], rtol=1e-4, atol=1e-5)


def test_what_goes_beyond_the_paper_looks_from_other_cameras() -> None:
    method = build(*STRONG, "losses.cycle=0")
    batch = method._batch(images(4), method.orbit.frontal(4))
    *_, last = method.terms(batch)
    assert {"final_l2", "mirror", "views_id"} <= last.keys()
    # the frontal camera and an even picture are their own mirror images
    even = method._batch((images(4) + images(4).flip(3)) / 2, method.orbit.frontal(4))
    *_, last = method.terms(even)
    torch.testing.assert_close(last["mirror"], 0.3 * last["final_l2"], rtol=1e-2, atol=0)


def test_warm_up_says_how_codes_differ() -> None:
    """From zero outputs, which say nothing."""
    keys = ("warmup.steps=60", "warmup.batch=8", "warmup.cameras=4", "warmup.group=2")
    method = build(*keys, "encoder.zero_output=true", "warmup.lr=1e-2")
    method.prepare_data()
    known = method.known
    _, _, codes, made = known.pairs(*known.draw(500, torch.Generator().manual_seed(0)))
    nothing = float(code_distance(made, codes))
    found: list[float] = []
    own = method._warm_up_step
    method._warm_up_step = lambda batch: found.append(float((x := own(batch))["codes"])) or x
    train(method)
    assert len(found) == 60 and sum(found[-10:]) / 10 < 0.8 * nothing
    assert "known" not in vars(method)  # hundreds of megabytes


def test_known_pictures_are_those_of_their_codes() -> None:
    method = build(*WARMED)
    method.prepare_data()
    known, inverter = method.known, method.inverter()
    assert known.subjects.pictures.shape == (3, 2, 3, 32, 32)
    cameras = method.data.read("train", range(3))[1]
    kinds = (known.subjects, known.guesses, known.average)
    with torch.no_grad():
        for kind in kinds:
            for number in range(kind.pictures.shape[1]):
                seen = inverter.picture(kind.codes[:, number], cameras)
                torch.testing.assert_close(kind.pictures[:, number], seen, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(known.subjects.codes[0, 0], known.subjects.codes[0, 1])
    guess = method.linear(known.subjects.pictures[1])[:, None].expand(-1, method.space.count, -1)
    torch.testing.assert_close(known.guesses.codes[1], guess)
    assert torch.equal(known.average.codes[:, 0], method.start.expand(3, -1, -1))
    drawn = known.draw(500, torch.Generator().manual_seed(0))
    camera, subject, guessed = drawn
    assert set(camera.tolist()) == {0, 1, 2} and set(subject.tolist()) == {0, 1}
    assert 200 < int(guessed.sum()) < 300
    targets, made, codes, start = known.pairs(*drawn)
    for i in range(20):
        c, k = int(camera[i]), int(subject[i])
        beside, number = (known.guesses, k) if guessed[i] else (known.average, 0)
        assert torch.equal(targets[i], known.subjects.pictures[c, k])
        assert torch.equal(codes[i], known.subjects.codes[c, k])
        assert torch.equal(made[i], beside.pictures[c, number])
        assert torch.equal(start[i], beside.codes[c, number])


def test_linear_regression_tells_subjects_apart() -> None:
    keys = ("warmup.steps=1", "warmup.batch=8", "warmup.cameras=16", "warmup.group=4")
    method = build(*keys)
    method.prepare_data()
    known = method.known.subjects
    train(method)
    pictures, codes = known.pictures.flatten(0, 1), known.codes[:, :, 0].flatten(0, 1)
    found = method.linear(pictures)
    nothing = (codes - codes.mean(0)).square().mean()
    assert float((found - codes).square().mean()) < 0.8 * float(nothing)
    scene = method.row_scene(LINEAR, images())
    assert isinstance(scene, TriplaneScene)
    expected = method.generator.synthesis.planes(method.linear(method.inverter().seen(images())))
    torch.testing.assert_close(scene.planes, expected, rtol=1e-4, atol=1e-5)
    again = build(*keys)
    again.load_state_dict(method.state_dict())
    assert torch.equal(again.linear(pictures), found)
    with pytest.raises(UserError, match=r"warmup.steps=0: .* with a warm-up"):
        build("warmup.steps=0").row_scene(LINEAR, images())


def test_reconstruction_looks_like_its_last_refinement() -> None:
    method = build()
    pictures = images()
    cameras = method.orbit.look_at(torch.tensor([0.2, -0.1]), torch.zeros(2))
    scene = method.reconstruct_from(pictures, cameras)
    assert scene.input_view is not None
    seen = scene.render(scene.input_view).rgb
    codes = method.invert(pictures, cameras)
    assert len(codes) == 2
    with torch.no_grad():
        planes = method.space.planes(method.generator.synthesis, codes[-1])
        volume = method.generator.synthesis.render(planes, cameras)
        expected = method.generator.synthesis.upscale(volume.features, codes[-1][:, -1])
    torch.testing.assert_close(seen, expected.clamp(-1, 1), rtol=0, atol=1e-3)
    told = method.reconstruct(pictures)
    assert told.batch_size == 2
    with pytest.raises(UserError, match="this run takes"):
        method.reconstruct(images(size=32))
    with pytest.raises(UserError, match="cameras"):
        method.reconstruct_from(pictures, cameras[:, :24])


def folder(root: Path, labels: bool = True, oblong: bool = False) -> Path:
    rows = []
    for index, label in enumerate(random_pair()[0].config.orbit.trajectory(6)):
        size = (70, 64) if oblong and index == 3 else (64, 64)
        (root / "00").mkdir(exist_ok=True)
        Image.new("RGB", size, (40 * index, 90, 200)).save(root / "00" / f"{index}.png")
        if labels or index != 2:
            rows.append([f"00/{index}.png", label.tolist()])
    (root / "dataset.json").write_text(json.dumps({"labels": rows}))
    return root


def test_a_folder_with_labels(tmp_path: Path) -> None:
    method = build("data.name=images", f"data.path={folder(tmp_path)}", "data.val=2")
    method.prepare_data()
    pictures, cameras = method.data.read("train", [0, 1])
    orbit = random_pair()[0].config.orbit.trajectory(6)
    for picture, camera in zip(pictures, cameras, strict=True):
        index = round((float(picture[0, 0, 0]) + 1) * 127.5 / 40)
        torch.testing.assert_close(camera, orbit[index])
    before = method.encoder.backbone.input_layer[0].weight.clone()
    train(method)
    assert not torch.equal(before, method.encoder.backbone.input_layer[0].weight)
    assert method.preview().images["input"].shape == (2, 3, 64, 64)


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"labels": False}, "no camera of '00/2.png'"), ({"oblong": True}, "70 x 64 pixels")],
)
def test_a_folder_whose_labels_do_not_fit(tmp_path: Path, options: dict, reason: str) -> None:
    method = build("data.name=images", f"data.path={folder(tmp_path, **options)}", "data.val=2")
    with pytest.raises(UserError, match=reason):
        method.prepare_data()


# -- without the encoder ------------------------------------------------------------------------


class Plain:
    """A perceptual loss that is the mean squared error."""

    name = "plain"

    def against(self, targets: Tensor):
        return lambda made: (made - targets).square().mean((1, 2, 3))


def test_projection_and_tuning_come_ever_nearer_and_leave_the_generator_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "gan3d_bench.generators.inversion.invert.build_perceptual", lambda *_: Plain()
    )
    method = build(
        "inversion.steps=8",
        "inversion.lr=0.1",
        "inversion.pivotal.steps=4",
        "inversion.pivotal.lr=1e-2",
    )
    before = {key: value.clone() for key, value in method.generator.state_dict().items()}
    pictures = images()

    def error(scene: Scene) -> Tensor:
        assert scene.input_view is not None
        return (scene.render(scene.input_view).rgb - pictures).square().mean((1, 2, 3))

    cameras = method.camera.cameras(method.inverter().seen(pictures)).detach()
    start = w_statistics(method.generator, torch.Generator(), 100, method.orbit.frontal())[0]
    view = method.orbit.view(cameras)
    average = TriplaneScene.of_stylecodes(method.generator, start.expand(2, -1), view)
    projected, tuned = (method.row_scene(kind, pictures) for kind in (PROJECTION, PIVOTAL))
    assert (error(projected) < error(average)).all()
    assert (error(tuned) < error(projected)).all()
    assert tuned.batch_size == 2 and len(tuned.render(View.from_angles(10.0)).rgb) == 2
    for key, value in method.generator.state_dict().items():
        assert torch.equal(value, before[key]), key
    again = method.row_scene(PROJECTION, pictures)
    assert torch.equal(error(again), error(projected))


def test_regression_and_optimisation_fill_rows_beside_the_last_method_of_the_paper_alone() -> None:
    trained = {**to_dict(config(preset="heads-64")), "method": "wtri"}
    assert SPEC.rows("inversion", trained) == {
        "W_tri": RECONSTRUCT, "Linear regression on EG3D": LINEAR,
        "Projection on EG3D": PROJECTION, "PTI on EG3D": PIVOTAL,
    }  # fmt: skip
    baseline = {**trained, "codes": "w+", "losses": {**trained["losses"], "cycle": 0}}
    assert SPEC.rows("inversion", baseline) == {"ReStyle on EG3D": RECONSTRUCT}
    both = {"W_tri": RECONSTRUCT, "Linear regression on EG3D": LINEAR}
    assert SPEC.rows("shape", trained) == both
    cold = {**trained, "warmup": {**trained["warmup"], "steps": 0}}  # knows no codes to regress on
    assert SPEC.rows("shape", cold) == {"W_tri": RECONSTRUCT}
    assert SPEC.rows("inversion", {**trained, "teacher": "random-eg3d"}) == {}
