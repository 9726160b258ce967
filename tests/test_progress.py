"""Progress lines, as the documentation quotes them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from gan3d_bench import progress
from gan3d_bench.progress import StepProgress, clock, tracked
from gan3d_bench.training import callbacks
from gan3d_bench.training.callbacks import LatestScalars, ProgressLine


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that the test sets."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now.seconds)
    return now


def test_durations() -> None:
    assert [clock(x) for x in (0, 59.6, 3725)] == ["0:00:00", "0:01:00", "1:02:05"]


def test_a_line_now_and_then_and_at_the_end(
    now: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    with StepProgress(4) as bar:
        for step, seconds in ((1, 105), (2, 112), (3, 115), (4, 116)):
            now.seconds = seconds
            bar.update("inversion", step)
    assert capsys.readouterr().err == (
        "inversion: step 2/4, elapsed 0:00:12, left 0:00:12\n"
        "inversion: step 4/4, elapsed 0:00:16, left 0:00:00\n"
    )


def test_remaining_time_follows_the_recent_pace(
    now: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fast steps, then slow ones: soon not the mean of all steps any more, but the slow ones'."""
    with StepProgress(20) as bar:
        for seconds in range(1, 11):
            now.seconds = 100 + seconds
            bar.update("fast", seconds)
        for step in (11, 12, 13):
            now.seconds += 20
            bar.update("slow", step)
        now.seconds += 100  # one step alone is longer than what counts as recent
        bar.update("slower", 14)
        for step in range(15, 20):  # fast again, and in half a minute the slow step is forgotten
            now.seconds += 10
            bar.update("fast", step)
        now.seconds += 10
        bar.update("fast", 19)  # nothing done since the last time
    left = [line.rpartition(" ")[2] for line in capsys.readouterr().err.splitlines()]
    assert left == [
        *("0:00:10",),
        *("0:00:25", "0:02:40", "0:02:20"),
        *("0:10:00",),
        *("0:04:35", "0:02:40", "0:00:30", "0:00:20", "0:00:10"),
        *("0:00:15",),
    ]


def test_items_that_are_worked_on(now: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    """A line if they take long, with the last one at the end; none, and no blank one, if not."""
    for item in tracked(iter("ab"), "looking", 2):
        now.seconds += 4
        assert item in "ab"
    assert capsys.readouterr().err == ""
    for _ in tracked(range(3), "rendering", 3):
        now.seconds += 8
    assert capsys.readouterr().err == (
        "rendering: step 2/3, elapsed 0:00:16, left 0:00:08\n"
        "rendering: step 3/3, elapsed 0:00:24, left 0:00:00\n"
    )


def test_a_resumed_training_counts_its_own_steps(
    now: SimpleNamespace,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(callbacks, "_phased", lambda module: module)
    scalars = LatestScalars()
    line: Any = ProgressLine(scalars)
    phase = SimpleNamespace(name="depth")
    method = SimpleNamespace(step=6, total_steps=10, finished=False, phase=phase)
    line.on_exception(None, method, ValueError())  # before the start: nothing to stop
    line.on_train_start(None, method)
    scalars.log_metrics({"train/depth": 0.012345, "train/phase": 1.0, "train/edge": 2.0})
    method.step, now.seconds = 8, 120.0
    line.on_train_batch_end(None, method)
    method.step, method.finished, now.seconds = 10, True, 121.0
    line.on_train_batch_end(None, method)
    line.on_train_end(None, method)
    assert capsys.readouterr().err == (
        "depth: step 8/10, depth 0.01235 edge 2, elapsed 0:00:20, left 0:00:20\n"
        "done: step 10/10, depth 0.01235 edge 2, elapsed 0:00:21, left 0:00:00\n"
    )


def test_a_bar_on_a_terminal(
    now: SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Console(stderr=True, force_terminal=True, width=120)
    monkeypatch.setattr(progress, "Console", lambda stderr: terminal)
    bar = StepProgress(4, done=1)
    bar.start("first")
    now.seconds += 20
    bar.update("second", 3, lambda: "depth 0.1")
    bar.stop()
    shown = capsys.readouterr().err
    assert "second" in shown and "3/4" in shown and "depth 0.1" in shown
    assert "left 0:00:10" in shown
