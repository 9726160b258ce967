"""Teachers of cars and of heads from all round, each lifted by what its latents say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gan3d_bench.files.run_folder import Run
from gan3d_bench.methods.stylegan_r.subjects import SUBJECTS

FIT = ("fit", "--preset", "check", "trainer.accelerator=cpu", "trainer.preview_every=-1")


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_teacher_of_a_class_is_lifted(
    cli: Callable[..., Any], toy: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Of its own data module and latents, from training it to cameras beside the true ones."""
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(toy / "cache"))
    latents = SUBJECTS[name].num_latents
    made = cli(
        *(*FIT, "--method", "stylegan2", f"data.name={name}", "data.count=16"),
        *("network.image_size=16", f"network.z_dim={latents}", f"network.w_dim={latents}"),
        *("regression.view_entries=[0,4]", "regression.linear_mapping=true"),
        *("regression.steps=2", "adversarial.steps=2"),
    )
    assert made.code == 0, made.err
    (teacher,) = Run.find("stylegan2")
    lifted = cli(
        *(*FIT, "--method", "stylegan-r", f"teacher={teacher.path / 'results'}", f"views={name}"),
        *(f"masks={name}", "candidates.count=40", "dataset.objects=4", "samples=1"),
        *("inverse.steps=2", "mapping.steps=1", "finetune.steps=1"),
    )
    assert lifted.code == 0, lifted.err
    assert f"masks: true silhouettes of the latents' {name}" in lifted.out
    (run,) = Run.find("stylegan-r")
    assert run.environment["method"]["azimuths_from"] == f"the latents of {name}"
    for camera in json.loads((run.path / "results" / "cameras.json").read_text()):
        apart = (camera["true_azimuth"] - camera["bin_azimuth"] + 180) % 360 - 180
        assert abs(apart) <= 15
