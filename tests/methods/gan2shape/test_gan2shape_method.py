"""Whole tiny runs: phases, resuming, grouping, scenes, starting from another run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import lightning as L
import pytest
import torch

from gan3d_bench.config import compose
from gan3d_bench.errors import UserError
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.gan2shape.checkpoint import ENTRIES, released_states, save_networks
from gan3d_bench.methods.gan2shape.method import GAN2Shape
from gan3d_bench.methods.gan2shape.spec import SPEC
from gan3d_bench.rendering.shading import LambertLight


def build(*overrides: str) -> GAN2Shape:
    config = compose(SPEC, "check", None, overrides)
    config.validate()
    return GAN2Shape(config)  # type: ignore[arg-type]


class SaveAndStop(L.Callback):
    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, pl_module, *_) -> None:
        if pl_module.step == self.step:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


def train(method: GAN2Shape, *callbacks: L.Callback, resume: Path | None = None) -> GAN2Shape:
    trainer = L.Trainer(
        max_epochs=-1,
        accelerator="cpu",
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(method, ckpt_path=resume, weights_only=True)
    return method


@pytest.fixture(scope="module")
def trained() -> GAN2Shape:
    """The `check` preset from start to end."""
    return train(build()).eval().requires_grad_(False)


def test_phases():
    names = [(p.name, p.steps) for p in build().schedule]
    assert names == [
        ("prior", 3),
        ("stage 1/2, step 1", 2),
        ("stage 1/2, step 2", 3),
        ("stage 1/2, step 3", 3),
        ("stage 2/2, step 1", 1),
        ("stage 2/2, step 2", 2),
        ("stage 2/2, step 3", 2),
    ]
    grouped = [p.name for p in build("data=heads", "group=1", "stages=1").schedule]
    assert grouped[0] == "group 1/2, inversion"
    assert grouped[5] == "group 2/2, inversion"


def test_run_ends_with_finite_factors(trained):
    assert trained.finished
    assert trained.fitted.known.all()
    assert trained.projected.images.abs().sum() > 0
    assert trained.fitted.depth.isfinite().all()


@pytest.mark.parametrize("step", [7, 9, 14])
def test_resume_is_bitwise(trained, step, tmp_path):
    """Stopped within step 2, within step 3, within step 2 of the second stage."""
    path = tmp_path / "last.ckpt"
    train(build(), SaveAndStop(step, path))
    resumed = train(build(), resume=path)
    for key, value in trained.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key


SHARE = "share=[view,light,encoder]"


def test_warm_up_of_the_encoder():
    """E finds the offset between samples it has not seen better than before."""

    def error(method: GAN2Shape) -> float:
        with torch.no_grad():
            return float(method.warm_up.encoder_terms(64, range(64))["encoder"])

    before, after = (
        train(build(SHARE, "stages=1", "lr.step2=2e-3", f"warmup.encoder={n}", "batch=8"))
        for n in (1, 80)
    )
    assert error(after) < 0.8 * error(before)


def test_warm_up_of_the_pose():
    """V and L tell how far samples lie apart along the directions, of subjects not seen."""
    generator = torch.Generator().manual_seed(0)

    def fit(steps: int) -> GAN2Shape:
        method = build(SHARE, "stages=1", "lr.warmup=2e-3", f"warmup.pose={steps}", "batch=8")
        directions = 3 * torch.randn(method.directions.shape, generator=generator)
        method.warm_up.find_directions = lambda prior: directions
        return train(method)

    def error(method: GAN2Shape) -> float:
        with torch.no_grad():
            return float(method.warm_up.pose_terms(method.directions, 64, range(64))["pose"])

    assert error(fit(100)) < 0.7 * error(fit(1))


def test_directions_are_found_from_offsets():
    """Offsets that depend on the pose asked for, and on the subject."""
    method = build(SHARE)
    method.on_fit_start()
    true = torch.randn(method.directions.shape, generator=torch.Generator().manual_seed(0))

    warm_up = method.warm_up

    def draw(prior, count, local, rng):
        w, pose = warm_up._sample_w(count, rng), warm_up.sample_poses(count, rng)
        return w, w, pose, SimpleNamespace(images=pose)

    warm_up._draw_lifted = draw
    warm_up.projector.find_offset = lambda pose, w, *_: pose @ true.T + 0.01 * w
    directions = warm_up.find_directions(torch.ones(16, 16))
    poses = warm_up.sample_poses(100, torch.Generator().manual_seed(1))
    poses -= poses.mean(0)  # ambient and diffuse light vary together: compare what they add up to
    torch.testing.assert_close(poses @ directions.T, poses @ true.T, atol=2e-2, rtol=2e-2)


def test_new_directions_move_the_pool_anew():
    """A group's directions are its own: what the pool has moved along the last ones is stale."""
    method = build(SHARE, "warmup.pool=6", "batch=4")
    method.on_fit_start()
    method.networks.reset()
    warm_up = method.warm_up
    generator = torch.Generator().manual_seed(0)

    def pairs() -> torch.Tensor:
        directions = torch.randn(method.directions.shape, generator=generator)
        warm_up.find_directions(torch.ones(16, 16))
        return warm_up._draw_pairs(directions, 4, range(4), torch.Generator().manual_seed(1))[1]

    first, second = pairs(), pairs()
    assert torch.equal(first[:, 0], second[:, 0])
    assert not torch.equal(first[:, 1], second[:, 1])


def test_warm_up_resumes_to_the_bit(tmp_path):
    options = (SHARE, "stages=1", "warmup.encoder=2", "warmup.lifted=2", "warmup.pose=2")
    straight = train(build(*options))
    for step in (4, 6, 8):  # 3 steps of the prior come first
        path = tmp_path / f"{step}.ckpt"
        train(build(*options), SaveAndStop(step, path))
        resumed = train(build(*options), resume=path)
        for key, value in straight.state_dict().items():
            assert torch.equal(resumed.state_dict()[key], value), (step, key)


def test_shared_networks_among_independent_ones(tmp_path):
    """Networks named in `share` have one set of weights, and start a run of independent ones."""
    method = train(build("share=[depth,encoder]"))
    held = {name: getattr(method.networks, name).instances for name in ENTRIES.values()}
    assert held == {
        "depth_net": 1, "albedo_net": 2, "view_net": 2, "light_net": 2, "encoder": 1
    }  # fmt: skip
    save_networks(method.networks, tmp_path)
    fine = build(f"start={tmp_path}")
    fine.networks.reset()
    for name in ENTRIES.values():
        for key, value in getattr(method.networks, name).state_of(0).items():
            for slot in (0, 1):
                torch.testing.assert_close(
                    getattr(fine.networks, name).state_of(slot)[key], value, atol=1e-3, rtol=1e-3
                )


def test_an_instance_trains_the_same_alone_or_beside_others(trained):
    """Instance 1 of 2, with independent weights, against a run of it alone."""
    alone = train(build("instances=1", "first=1"))
    near = {"atol": 1e-3, "rtol": 1e-3}  # Adam magnifies rounding where gradients are tiny
    torch.testing.assert_close(alone.images.targets, trained.images.targets[1:], atol=1e-5, rtol=0)
    torch.testing.assert_close(alone.fitted.depth, trained.fitted.depth[1:], **near)
    torch.testing.assert_close(alone.fitted.view, trained.fitted.view[1:], **near)
    for name, value in alone.networks.depth_net.state_of(0).items():
        torch.testing.assert_close(value, trained.networks.depth_net.state_of(1)[name], **near)


def test_groups_one_after_the_other_are_the_same_as_at_once(trained):
    grouped = train(build("group=1"))
    near = {"atol": 1e-4, "rtol": 1e-3}
    torch.testing.assert_close(grouped.fitted.depth, trained.fitted.depth, **near)
    scene = grouped.reconstruct(grouped.images.targets)
    assert torch.equal(scene.depth, grouped.fitted.depth)
    turned = View.from_angles(torch.tensor([20.0]))
    shown, expected = (run.gan_scene([1]).render(turned).rgb for run in (grouped, trained))
    torch.testing.assert_close(shown, expected, atol=1e-2, rtol=0)
    assert not torch.allclose(shown, trained.gan_scene([0]).render(turned).rgb, atol=1e-2)
    with pytest.raises(UserError, match="instances 1 to 1"):
        grouped.gan_scene([0])
    assert grouped.items() == trained.items() == trained.row_items("gan") == [0, 1]
    assert grouped.row_items("gan") == [1]  # what a table measures of the row by the GAN


def test_reconstruct_finds_the_fitted_images(trained):
    scene = trained.reconstruct(trained.images.targets.flip(0))
    assert torch.equal(scene.depth, trained.fitted.depth.flip(0))
    rendering = scene.render(scene.input_view)
    assert rendering.rgb.shape == (2, 3, 16, 16)
    direct = trained.reconstruct(trained.images.targets[:1]).render(scene.input_view[1:])
    torch.testing.assert_close(direct.rgb, rendering.rgb[1:], atol=1e-5, rtol=0)
    with pytest.raises(UserError, match="instance-specific"):
        trained.reconstruct(-trained.images.targets)
    with pytest.raises(UserError, match="takes"):
        trained.reconstruct(torch.zeros(1, 3, 32, 32))


def test_scene_turns_and_relights(trained):
    scene = trained.reconstruct(trained.images.targets)
    scene.require("depth", "normal", "albedo", "relight", "mesh")
    front = View.from_angles(torch.zeros(2))
    small, large = scene.render(front), scene.render(front, image_size=32)
    assert large.rgb.shape == (2, 3, 32, 32)
    torch.testing.assert_close(
        large.depth[:, :, 8:24, 8:24].mean(), small.depth[:, :, 4:12, 4:12].mean(),
        atol=5e-3, rtol=0,
    )  # fmt: skip
    dark = LambertLight(torch.zeros(2), torch.zeros(2), scene.light.direction)
    assert (scene.render(front, dark).rgb[small.mask.expand(-1, 3, -1, -1) > 0] <= -0.99).all()
    torch.testing.assert_close(
        small.normal.norm(dim=1, keepdim=True)[small.mask > 0],
        torch.ones(int(small.mask.sum())),
    )
    assert scene.mesh(0).vertices.shape == (256, 3)


def test_gan_scene(trained):
    scene = trained.gan_scene([1])
    rendering = scene.render(scene.input_view)
    assert rendering.rgb.shape == (1, 3, 16, 16)
    assert rendering.depth is None
    turned = scene.render(View.from_angles(torch.tensor([25.0])))
    assert not torch.equal(turned.rgb, rendering.rgb)


def test_preview_repeats_and_shows_the_input(trained):
    first, second = trained.preview(), trained.preview()
    assert all(torch.equal(first.images[k], second.images[k]) for k in first.images)
    assert torch.equal(first.images["input"], trained.images.targets)
    assert first.images["pseudo_and_projected"].shape == (12, 3, 16, 16)
    assert first.scene.batch_size == 2


def test_items():
    assert build("data=heads").items() == [0, 1]
    assert build("data=heads", "first=5").items() == [5, 6]
    assert build("data=heads", "split=train").items() == []
    assert build("data=heads", "split=train", "weights=shared").items() is None


def test_joint_run_then_fine_tuning(tmp_path):
    """A joint run's weights, and a released checkpoint of them, start another run."""
    tiny = ("weights=shared", "stages=1")
    joint = train(
        build(*tiny, "joint=true", "instances=3", "targets=2"), SaveAndStop(5, tmp_path / "a.ckpt")
    )
    entries = released_states(joint.networks)
    torch.save(entries, tmp_path / "released.pth")
    fine = build(*tiny, f"start={tmp_path / 'released.pth'}")
    assert fine.schedule[0].name == "stage 1/1, step 1"
    fine.networks.reset()
    for entry, name in ENTRIES.items():
        for key, value in getattr(fine.networks, name).state_dict().items():
            assert torch.equal(value, entries[entry][key])
    several = build("weights=independent", f"start={tmp_path / 'released.pth'}")
    several.networks.reset()
    second, key = several.networks.encoder.state_of(1), "network.0.weight"
    assert torch.equal(second[key], entries["netEnc"][key])
    with pytest.raises(UserError, match="do not fit"):
        build("width.shape=4", f"start={tmp_path / 'released.pth'}").networks.reset()


def test_what_is_no_start(tmp_path):
    """One line with the key, the value and what was expected; no advice to run foreign code."""
    method = build()
    good = released_states(method.networks)
    (tmp_path / "text.pth").write_text("text")
    for name, state in {
        "list": [1, 2],
        "code": {**good, "netD": tmp_path},
        "none": {**good, "netD": None},
        "part": {key: value for key, value in good.items() if key != "netV"},
        "numbers": {**good, "netD": dict.fromkeys(good["netD"], 3)},
        "keys": {**good, "netD": {1: torch.zeros(1)}},
        "nan": {**good, "netD": {k: v * torch.nan for k, v in good["netD"].items()}},
        "ours": {"gan3d_bench": 3, "state_dict": None},
    }.items():
        torch.save(state, tmp_path / f"{name}.pth")
    for name in [*tmp_path.glob("*.pth"), tmp_path, "/dev/null", "heads", "heads-teacher-64"]:
        with pytest.raises(UserError) as error:
            build(f"start={name}").networks.start  # noqa: B018
        message = str(error.value)
        assert message.startswith(f"start='{name}': ")
        assert "expected" in message or "not a checkpoint of gan3d-bench" in message
        assert "weights_only" not in message
        assert "\n" not in message


def test_shared_networks_take_any_image():
    method = train(build("weights=shared", "stages=1"), SaveAndStop(2, Path("/dev/null")))
    assert method.reconstruct(torch.zeros(3, 3, 16, 16)).batch_size == 3


def test_compat_options():
    """Each released bug changes what it should."""
    plain, shifted = build(), build("compat.half_pixel=true", "compat.normal_epsilon=true")
    for method in (plain, shifted):
        method.on_fit_start()
        method.networks.reset()
        with torch.no_grad():
            factors = method.networks.factors(method.images.targets, [0, 1])
        flat = method.renderer.render(factors, View.from_angles(torch.zeros(2)))
        edge = flat.mask[..., -1].any() or flat.mask[..., -1, :].any()
        assert bool(edge) is (method is plain)
    epsilon = (1 - factors.normal[..., 2:-2, 4:-4].norm(dim=1)).abs()
    assert epsilon.max() > 1e-6

    joint = build("compat.shared_scalars=true")
    joint.on_fit_start()
    joint.networks.reset()
    images, slots = joint.images.targets, [0, 1]
    light = joint.projector.subjects(images, joint.latents.w, slots).factors.light
    own = joint.networks.fixed_factors(images, slots).light
    assert torch.equal(light.ambient, own.ambient[-1:].expand(2))
    assert not torch.equal(own.ambient[0], own.ambient[1])
    assert torch.equal(light.direction, own.direction)


def pseudo_masks(method: GAN2Shape) -> torch.Tensor:
    """Masks of three pseudo samples of each of two instances, by the networks as they are."""
    subjects = method._subjects(range(2))
    rngs = [torch.Generator().manual_seed(i) for i in range(2)]
    return method.projector.pseudo_samples(subjects, rngs, 3).masks


def test_object_mask_limits_projected_samples(tmp_path):
    import numpy as np
    from PIL import Image

    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for i in range(2):
            pixels = np.zeros((16, 16, 3), np.uint8)
            pixels[5:11, 5:11] = 255
            Image.fromarray(pixels).save(tmp_path / folder / f"{i}.png")
    given = ("data=images", f"images={tmp_path / 'images'}", f"masks={tmp_path / 'masks'}")
    method = build(*given, "use_mask=true")
    method.on_fit_start()
    method.networks.reset()
    masks = pseudo_masks(method)
    assert 0 < masks.mean() < 0.5
    whole = build(*given)
    whole.on_fit_start()
    whole.networks.reset()
    assert pseudo_masks(whole).mean() > 0.6


def inverted(folder, *overrides):
    """A run of nothing but the inversion of the pictures of a folder, and its stylecodes' error."""
    method = build(
        "data=images", f"images={folder}", "inversion.lr=0.1", "inversion.pixel=1", "prior.steps=1",
        "stages=1", "steps.first.step1=0", "steps.first.step2=0", "steps.first.step3=0", *overrides,
    )  # fmt: skip
    train(method)
    with torch.no_grad():
        made = method.teacher.generated(method.latents.w)
        start = method.teacher.generator.w_mean.expand(2, -1)
        before = (method.teacher.generated(start) - method.images.targets).square().mean()
    return method, float((made - method.images.targets).square().mean() / before)


@pytest.fixture
def own_samples(tmp_path):
    """Pictures that the tiny teacher drew, their folder and stylecodes."""
    import numpy as np
    from PIL import Image

    samples = build()
    samples.on_fit_start()
    folder = tmp_path / "images"
    folder.mkdir()
    for i, image in enumerate(samples.images.originals):
        Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0))).save(folder / f"{i}.png")
    return folder, samples.latents.w.detach()


def test_inversion_recovers_the_teachers_own_samples(own_samples):
    """Images drawn by a tiny generator are found again, far nearer than where the search starts."""
    _, error = inverted(own_samples[0], "inversion.steps=120")
    assert error < 0.05


def test_refinement_brings_inverted_stylecodes_to_the_own_ones(own_samples):
    """Not only a picture alike: after few steps of Adam the stylecode itself comes nearer."""
    folder, own = own_samples
    keys = ("inversion.steps=30", "inversion.refinement.deviation=0.05")
    found, error = inverted(folder, *keys)
    refined, less = inverted(folder, *keys, "inversion.refinement.steps=4")
    assert less < 0.5 * error
    assert (refined.latents.w - own).norm() < 0.7 * (found.latents.w - own).norm()
