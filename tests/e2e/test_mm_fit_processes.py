"""Fits of a morphable model by two processes: the bits of one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gan3d_bench.files.run_folder import Run

FIT = (
    *("fit", "--method", "mm-fit", "--preset", "check", "trainer.accelerator=cpu", "shard=2"),
    *("trainer.preview_every=-1", "meshes=0", "overlays=0", "fit.steps=2"),
)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> None:
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(tmp_path_factory.getbasetemp() / "mm-fit"))


def results(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.path / "results" / "coefficients.safetensors")


def test_two_processes_fit_as_one(
    child: Callable[..., Any], pair: Callable[..., Any], toy: Path
) -> None:
    ended = [child(*FIT), *pair(*FIT)]
    assert [end.code for end in ended] == [0, 0, 0], "".join(end.text for end in ended)
    assert "8 of 8 fits usable" in ended[1].text and ended[2].text == ""
    one, two = Run.find("mm-fit")
    assert len(list((two.path / "fits").iterdir())) == 4
    expected, found = results(one), results(two)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in found)
