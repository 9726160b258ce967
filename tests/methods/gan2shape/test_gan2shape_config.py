"""Configuration: presets, mistakes, and the table rows a run fills."""

from __future__ import annotations

import re

import pytest

from gan3d_bench.benchmarks.shape.spec import SPEC as SHAPE
from gan3d_bench.config import compose, to_dict
from gan3d_bench.errors import UserError
from gan3d_bench.methods.gan2shape.config import GAN2ShapeConfig
from gan3d_bench.methods.gan2shape.spec import SPEC, table_rows
from gan3d_bench.spec import RECONSTRUCT


def config(*overrides: str, preset: str = "heads-64") -> GAN2ShapeConfig:
    return compose(SPEC, preset, None, overrides)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("prior.shape=cube", "prior.shape"),
        ("symmetry.step3=sometimes", "symmetry.step3"),
        ("weights=mixed", "weights"),
        ("instances=0", "instances"),
        ("image_size=48", "image_size=48"),
        ("width.shape=6", "width.shape=6"),
        ("prior.box=[0.5,0.2,0.1,0.9]", "prior.box"),
        ("prior.near=0.5", "prior.near"),
        ("samples_per_instance=1", "samples_per_instance"),
        ("targets=99", "targets=99"),
        ("data=images masks=''", "images=''"),
        ("start=/nowhere/at/all", "start"),
        ("use_mask=true masks=''", "use_mask"),
        ("use_mask=false masks=''", "mask_target"),
        ("masks=exact data=teacher", "masks=exact"),
        ("teacher=''", "teacher"),
        ("light.x=[1]", "light.x"),
        ("prior.steps=0 start=''", "start=''"),
        ("prior.shape=flat", "prior.shape=flat"),
        ("perceptual=lpips", "did you mean"),
        ("share=[views]", "did you mean 'view'"),
        ("warmup.pose=5 share=[view]", "warmup.pose=5"),
        ("view.statistics=''", "view.statistics"),
        ("prior.steps=-1", "prior.steps=-1: expected a number from 0 to"),
        ("losses.smooth=-0.1", "losses.smooth=-0.1: expected a number from 0 to"),
        ("losses.mirrored=-1", "losses.mirrored=-1.0: expected a number from 0 to"),
        ("weight_decay=-1", "weight_decay=-1.0: expected a number from 0 to"),
        ("truncation=-1", "truncation=-1.0: expected a number from 0 to"),
        ("view.yaw_scale=-1", "view.yaw_scale=-1.0: expected a number from 0 to"),
        ("light.x=[1,-1]", "light.x=[1.0, -1.0]: expected low <= high"),
        ("light.y=[0.8,-0.2]", "light.y=[0.8, -0.2]: expected low <= high"),
        ("light.diffuse=[0.6,-0.1]", "light.diffuse=[0.6, -0.1]: expected low <= high"),
        ("light.diffuse=[0,.inf]", "light.diffuse=[0.0, inf]: expected a finite number"),
        ("inversion.lr=0", "inversion.lr=0.0: expected a number above 0"),
        ("inversion.ramp_up=0", "inversion.ramp_up=0.0: expected a number above 0"),
        ("inversion.ramp_down=0", "inversion.ramp_down=0.0: expected a number above 0"),
        (
            "inversion.ramp_down=1.5",
            "ramp_down=1.5: expected a number above 0, at most 1",
        ),
        ("inversion.noise_ramp=0", "inversion.noise_ramp=0.0: expected a number above 0"),
        ("inversion.noise=-1", "inversion.noise=-1.0: expected a number from 0 to"),
        ("inversion.compare_size=4", "inversion.compare_size=4: expected a number from 16 to 1024"),
        ("original_size=0", "original_size=0: expected a number above 0"),
        ("offset.depth=-1", "offset.depth=-1: expected a number from 0 to"),
        ("image_size=2048", "image_size=2048: expected a power of two from 16 to 1024"),
    ],
)
def test_mistakes_are_one_clear_line(override, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        config(*override.split(" "))
    assert "\n" not in str(error.value)


def test_joint_trains_all_instances_at_once():
    with pytest.raises(UserError, match="joint=true"):
        config("joint=true", "group=2")


def test_a_step_of_some_targets_needs_shared_weights():
    with pytest.raises(UserError, match="targets=2"):
        config("targets=2", "weights=independent")


@pytest.mark.parametrize("preset", [p for p in SPEC.presets if p.startswith("paper")])
def test_paper_presets_ask_for_what_a_user_must_bring(preset, tmp_path):
    given = [
        f"images={tmp_path}", f"teacher={tmp_path}", f"masks={tmp_path}", f"start={tmp_path}",
        "view.statistics=x", "light.statistics=x",
    ]  # fmt: skip
    needed = {"images", "teacher", "view.statistics", "light.statistics"}
    if preset in ("paper-car", "paper-church"):
        needed.add("masks")
    elif not preset.endswith("joint"):
        needed.add("start")
    config(*given, preset=preset)
    for key in sorted(needed):
        rest = [g for g in given if not g.startswith(f"{key}=")]
        with pytest.raises(UserError, match=key.replace(".", r"\.")):
            config(*rest, preset=preset)


def test_paper_numbers(tmp_path):
    """Spot checks of the paper, tables 10 to 12."""
    given = [
        f"images={tmp_path}", f"teacher={tmp_path}", f"masks={tmp_path}", f"start={tmp_path}",
        "view.statistics=x", "light.statistics=x",
    ]  # fmt: skip
    joint = config(*given, preset="paper-synface-joint")
    assert joint.targets * joint.batch == 96
    assert (joint.stages, joint.offset.depth, joint.samples_per_instance) == (8, 8, 480)
    fine = config(*given, preset="paper-synface")
    assert (fine.steps.first.step1, fine.steps.first.step3, fine.stages) == (500, 200, 1)
    celeba = config(*given, preset="paper-celeba")
    assert celeba.weights == "independent"
    assert [celeba.mirrored("step3", stage) for stage in range(4)] == [True, False, False, False]
    church = config(*given, preset="paper-church")
    assert (church.prior.far, church.view.yaw_scale, church.offset.relative) == (1.0, 1.0, False)


def test_symmetry_by_stage():
    later = config("symmetry.step1=later", "symmetry.step3=never")
    assert [later.mirrored("step1", stage) for stage in range(3)] == [False, True, True]
    assert not any(later.mirrored("step3", stage) for stage in range(3))


@pytest.mark.parametrize(
    ("overrides", "row"),
    [
        ([], "GAN2Shape, symmetric"),
        (["offset.regularise=none"], "GAN2Shape, symmetric, no regularisation"),
        (["symmetry.step1=never", "symmetry.step3=never"], "GAN2Shape, not symmetric"),
        (["prior.shape=asymmetric", "start=''"], "GAN2Shape, asymmetric prior"),
        (["prior.shape=shift-6", "start=''"], "GAN2Shape, prior shifted by w/6"),
        (["prior.shape=shift-4", "start=''"], "GAN2Shape, prior shifted by w/4"),
        (["prior.shape=weak", "start=''"], "GAN2Shape, weak prior"),
        (["prior.shape=flat", "start=''"], "GAN2Shape, flat prior"),
    ],
)
def test_rows_of_table_shape(overrides, row):
    assert row in SHAPE.rows
    assert table_rows("shape", to_dict(config(*overrides))) == ({row: RECONSTRUCT} if row else {})
    assert {r.metric for r in SPEC.reported if r.row == row} == {"side", "mad"}


def test_other_tables():
    rows = table_rows("identity-rotation", to_dict(config()))
    assert rows == {"GAN2Shape (3D)": RECONSTRUCT, "GAN2Shape (GAN)": "gan"}
    assert not table_rows("something else", to_dict(config()))
