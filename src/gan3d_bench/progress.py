"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from gan3d_bench.terminal import say

RECENT = 30.0  # seconds that the pace is measured over

T = TypeVar("T")


class StepProgress:
    """Steps done, elapsed and remaining time on standard error.

    The remaining time is that of the recent pace: phases differ, and so does what else the machine
    has to do. Used in a ``with`` block, or between `start` and `stop`.

    Args:
        total: steps in all.
        seconds: between two lines where there is no terminal.
        done: steps done before.
        passing: the bar vanishes when all is done, and where there is no terminal work that takes
            less than `seconds` is not worth a line.
    """

    def __init__(
        self, total: int, seconds: float = 10.0, done: int = 0, *, passing: bool = False
    ) -> None:
        self.total = total
        self.seconds = seconds
        self.before = done
        self.passing = passing
        self._bar: Progress | None = None

    def start(self, what: str = "") -> None:
        """Count the time from now on; `what` is being done first."""
        self._began = self._printed = time.monotonic()
        self._marks = deque([(self._began, self.before)])
        console = Console(stderr=True)
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[details]}"),
                TimeElapsedColumn(),
                TextColumn("left {task.fields[left]}"),
                console=console,
                transient=self.passing,
            )
            self._bar.start()
            self._task = self._bar.add_task(
                what, total=self.total, completed=self.before, details="", left="-:--:--"
            )

    def stop(self) -> None:
        """Leave the terminal as it is."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __enter__(self) -> StepProgress:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def update(self, what: str, done: int, details: Callable[[], str] = str) -> None:
        """Show that `done` steps are done and that `what` is being done.

        Args:
            details: makes the text after the number of steps; called only if it is shown.
        """
        now = time.monotonic()
        left = self._left(now, done)
        if self._bar is not None:
            self._bar.update(
                self._task, completed=done, description=what, details=details(), left=left
            )
        elif now - self._printed >= self.seconds or (
            done >= self.total and not (self.passing and self._printed == self._began)
        ):
            self._printed = now
            parts = [f"step {done}/{self.total}", details()]
            parts += [f"elapsed {clock(now - self._began)}", f"left {left}"]
            say(f"{what}: {', '.join(filter(None, parts))}", file=sys.stderr)

    def _left(self, now: float, done: int) -> str:
        """Return the remaining time at the pace of the last `RECENT` seconds, or step."""
        self._marks.append((now, done))
        # the first mark is the latest one that is as old as that and has a step after it
        while self._marks[1][0] <= now - RECENT and self._marks[1][1] < done:
            self._marks.popleft()
        since, before = self._marks[0]
        if done <= before:
            return "-:--:--"
        return clock((self.total - done) * (now - since) / (done - before))


def tracked(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """Yield the items, and show on standard error how many of them have been worked on.

    Args:
        what: is being done with them, such as "rendering heads".
        total: number of items.
    """
    with StepProgress(total, passing=True) as bar:
        bar.update(what, 0)
        for done, item in enumerate(items, 1):
            yield item
            bar.update(what, done)


def clock(seconds: float) -> str:
    """Return a duration as ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
