"""A loss that becomes NaN ends a run with one line and leaves what is needed to look into it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from gan3d_bench.files.checkpoints import read_checkpoint
from gan3d_bench.files.run_folder import Run

QUICK = ("trainer.accelerator=cpu", "trainer.preview_every=-1")
FIT = ("fit", "--method", "toy", "--preset", "check", *QUICK)
EVERY_STEP = "trainer.checkpoint_minutes=1e-9"
RESUME = ("fit", "--method", "toy", "--resume")


def test_the_batch_is_saved_and_the_run_resumes(
    child: Callable[..., Any], toy: Any, tmp_path: Any
) -> None:
    ended = child(*FIT, EVERY_STEP, prepare="lose_at_step", options=(3,))
    assert ended.code == 1, ended.text
    (run,) = Run.find("toy")
    said = [line for line in ended.text.splitlines() if line.startswith("gan3d-bench:")]
    assert said == [
        "gan3d-bench: training stopped: loss term 'colour' is nan in phase 'colour' at step 3; "
        f"what it came from is in {run.path / 'nonfinite.pt'}"
    ]
    assert "Traceback" not in ended.text
    found = torch.load(run.path / "nonfinite.pt", weights_only=True)
    assert (found["phase"], found["step"]) == ("colour", 3)
    assert list(found["terms"]) == ["colour"] and math.isnan(found["terms"]["colour"])
    assert found["batch"]["step"] == 3

    kept = read_checkpoint(run.checkpoint)
    assert kept["phase"] == {"index": 0, "step": 3}
    first = next(value for key, value in kept["state_dict"].items() if key.endswith("weight"))
    assert torch.equal(found["batch"]["nested"][0], first[:1])  # not moved by the broken step
    assert child(*RESUME).code == 0
    assert run.finished


def test_both_processes_stop_and_keep_their_parts(
    child: Callable[..., Any], pair: Callable[..., Any], toy: Any
) -> None:
    ended = pair(*FIT, EVERY_STEP, prepare="lose_at_step", options=(2, float("inf")), rank=1)
    assert [end.code for end in ended] == [1, 1], ended[0].text + ended[1].text
    (run,) = Run.find("toy")
    assert (
        "loss term 'colour' is inf in phase 'colour' at step 2 on process 1; what it came from is "
        f"in {run.path / 'nonfinite-rank1.pt'}"
    ) in ended[0].text
    assert ended[1].text == ""
    mine, other = (
        torch.load(run.path / f"nonfinite{name}.pt", weights_only=True) for name in ("", "-rank1")
    )
    assert mine["terms"]["colour"] < other["terms"]["colour"] == float("inf")
    assert read_checkpoint(run.checkpoint)["phase"] == {"index": 0, "step": 2}
    assert child(*RESUME).code == 0


def test_an_infinite_gradient_of_finite_losses(child: Callable[..., Any], toy: Any) -> None:
    ended = child(*FIT, EVERY_STEP, prepare="lose_gradient_at_step", options=(1,))
    assert ended.code == 1, ended.text
    (run,) = Run.find("toy")
    assert "the gradient of weight 'encoder.2.weight' is NaN or infinite" in ended.text
    found = torch.load(run.path / "nonfinite.pt", weights_only=True)
    assert found["step"] == 1 and math.isfinite(found["terms"]["colour"])
    assert read_checkpoint(run.checkpoint)["phase"] == {"index": 0, "step": 1}
