"""Killed at any moment or stopped by a signal, a run goes on to the very same end."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gan3d_bench.files.checkpoints import read_checkpoint
from gan3d_bench.files.run_folder import Run

QUICK = ("trainer.accelerator=cpu", "trainer.preview_every=-1")
FIT = ("fit", "--method", "toy", "--preset", "check", *QUICK)
EVERY_STEP = ("trainer.checkpoint_minutes=1e-9", "trainer.log_every=1")


def only_run(folder: Path) -> Run:
    (run,) = Run.find("toy", root=folder / "runs")
    return run


def assert_same_end(run: Run, other: Run) -> None:
    """Weights, optimisers, progress and scalars agree to the bit."""
    ends = [read_checkpoint(r.checkpoint) for r in (run, other)]
    assert_equal(*({key: end[key] for key in ("state_dict", "optimizer_states", "phase")}
                   for end in ends))  # fmt: skip
    assert run.metrics.read_text() == other.metrics.read_text()


def assert_equal(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_equal(one, other)
    else:
        assert a == b


@pytest.fixture(scope="module")
def whole(toy_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1]))
        import children

        process = children.start([*FIT, *EVERY_STEP], folder, path=[toy_site])
        process.join(300)
    assert process.exitcode == 0, (folder / "output").read_text()
    run = only_run(folder)
    assert run.finished
    return run


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("die_before_step", 0),  # before the first checkpoint
        ("die_before_step", 3),  # in the middle of a phase
        ("die_inside_step", 5),  # first step of the second phase
        ("die_while_saving", 2),
        ("die_after_saving", 5),  # the checkpoint at the end of the first phase
        ("die_after_saving", 9),  # the last one; the run is not marked as finished
    ],
)
def test_killed_run_resumes_to_the_same_end(
    child: Callable[..., Any], toy: Path, whole: Run, moment: str, number: int
) -> None:
    killed = child(*FIT, *EVERY_STEP, prepare=moment, options=(number,))
    assert killed.code == -signal.SIGKILL, killed.text
    assert not only_run(toy).finished
    resumed = child("fit", "--method", "toy", "--resume")
    assert resumed.code == 0, resumed.text
    assert only_run(toy).finished
    assert_same_end(only_run(toy), whole)
    assert list(only_run(toy).checkpoint.parent.iterdir()) == [only_run(toy).checkpoint]


def test_killed_twice(child: Callable[..., Any], toy: Path, whole: Run) -> None:
    assert child(*FIT, *EVERY_STEP, prepare="die_before_step", options=(2,)).code < 0
    again = child("fit", "--method", "toy", "--resume", prepare="die_inside_step", options=(6,))
    assert again.code == -signal.SIGKILL
    assert child("fit", "--method", "toy", "--resume").code == 0
    assert_same_end(only_run(toy), whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_and_says_how_to_go_on(
    child: Callable[..., Any], toy: Path, whole: Run, number: signal.Signals
) -> None:
    stopped = child(*FIT, "trainer.log_every=1", prepare="signal_at_step", options=(3, number))
    assert stopped.code == 128 + number, stopped.text
    run = only_run(toy)
    assert read_checkpoint(run.checkpoint)["phase"] == {"index": 0, "step": 4}
    command = f"gan3d-bench fit --method toy --resume --run {run.path.relative_to(toy)}"
    assert command in stopped.text
    assert "Traceback" not in stopped.text
    assert child(*command.split()[1:]).code == 0
    assert_same_end(only_run(toy), whole)


@pytest.mark.parametrize("moment", ["step", "preparation"])
def test_a_second_ctrl_c_does_not_wait(
    child: Callable[..., Any], toy: Path, whole: Run, moment: str
) -> None:
    """Nor does one before the first step: 130 and a line that says how to go on."""
    stopped = child(*FIT, *EVERY_STEP, prepare="interrupt_at_step", options=(3, moment))
    assert stopped.code == 128 + signal.SIGINT, stopped.text
    command = f"gan3d-bench fit --method toy --resume --run {only_run(toy).path.relative_to(toy)}"
    said = "interrupted at once; what was saved before is kept. Go on with: " + command
    assert said in stopped.text.splitlines()
    assert "Traceback" not in stopped.text
    assert child(*command.split()[1:]).code == 0
    assert_same_end(only_run(toy), whole)


def test_killed_during_the_last_pictures(child: Callable[..., Any], toy: Path, whole: Run) -> None:
    assert child(*FIT, *EVERY_STEP, prepare="die_in_last_preview").code == -signal.SIGKILL
    run = only_run(toy)
    assert list(run.pictures.rglob(".draft-*"))
    assert child("fit", "--method", "toy", "--resume").code == 0
    shown, others = ({str(p.relative_to(r.path)) for p in r.path.rglob("*")} for r in (run, whole))
    assert shown == others
    assert_same_end(run, whole)
