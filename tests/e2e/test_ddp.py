"""Two processes, as torchrun starts them: one run, one table, the numbers of one process."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gan3d_bench.checkpoints import read_checkpoint
from gan3d_bench.runs import Run

QUICK = ("trainer.accelerator=cpu", "trainer.preview_every=-1")
FIT = ("fit", "--method", "toy", "--preset", "check", *QUICK)


def weights(run: Run) -> dict[str, torch.Tensor]:
    return read_checkpoint(run.checkpoint)["state_dict"]


def test_two_processes_train_and_measure_as_one(
    child: Callable[..., Any], pair: Callable[..., Any], toy: Path
) -> None:
    alone = child(*FIT)
    assert alone.code == 0, alone.text
    (one,) = Run.find("toy")
    first, second = pair(*FIT)
    assert (first.code, second.code) == (0, 0), first.text + second.text
    assert "next:" in first.text
    assert second.text == ""
    made = Run.find("toy")
    assert len(made) == 2
    two = made[-1]
    assert two.finished
    for key, value in weights(one).items():
        torch.testing.assert_close(weights(two)[key], value, rtol=1e-4, atol=1e-6)

    measure = ("eval", "--table", "toy-depth", "--run", two.path, "--device", "cpu")
    assert child(*measure, "--out", "alone").code == 0
    ended = pair(*measure, "--out", "together")
    assert [end.code for end in ended] == [0, 0], ended[0].text + ended[1].text
    for suffix in ("md", "csv"):
        tables = [toy / folder / f"toy-depth.{suffix}" for folder in ("alone", "together")]
        assert tables[0].read_text() == tables[1].read_text()


def test_a_signal_to_one_process_stops_both(
    child: Callable[..., Any], pair: Callable[..., Any], toy: Path
) -> None:
    ended = pair(*FIT, prepare="signal_at_step", options=(3, signal.SIGTERM), rank=1)
    assert ended[0].code == 128 + signal.SIGTERM, ended[0].text
    assert ended[1].code == 0, ended[1].text
    (run,) = Run.find("toy")
    assert read_checkpoint(run.checkpoint)["phase"] == {"index": 0, "step": 4}
    resumed = pair("fit", "--method", "toy", "--resume")
    assert [end.code for end in resumed] == [0, 0], resumed[0].text
    assert Run.open(run.path).finished


def test_a_mistake_is_told_once(pair: Callable[..., Any], toy: Path) -> None:
    ended = pair(*FIT, "sede=1")
    assert [end.code for end in ended] == [2, 2]
    assert ended[0].text.count("unknown key 'sede'") == 1
    assert ended[1].text == ""
    assert not (toy / "runs").exists()
