"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class StepProgress:
    """Steps done, elapsed and remaining time on standard error, within a ``with`` block.

    Args:
        total: steps in all.
        seconds: between two lines where there is no terminal.
    """

    def __init__(self, total: int, seconds: float = 10.0) -> None:
        self.total = total
        self.seconds = seconds
        self._bar: Progress | None = None

    def __enter__(self) -> StepProgress:
        self._began = self._printed = time.monotonic()
        console = Console(stderr=True)
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=console,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=self.total)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, what: str, done: int) -> None:
        """Show that `done` steps are done and that `what` is being done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=what)
        elif done >= self.total or time.monotonic() - self._printed >= self.seconds:
            self._printed = time.monotonic()
            elapsed = self._printed - self._began
            left = (self.total - done) * elapsed / max(done, 1)
            print(
                f"{what}: step {done}/{self.total}, elapsed {clock(elapsed)}, left {clock(left)}",
                file=sys.stderr,
                flush=True,
            )


def clock(seconds: float) -> str:
    """Return a duration as ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
