"""One try in a process of its own: forked, bounded in time and memory, judged by how it ended."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

MEMORY = 3 * 2**30
"""Bytes of address space beyond what is there before a try."""
PEAK = 2**30
"""Bytes of memory beyond that."""
SECONDS, PROCESSOR_SECONDS = 120.0, 40
"""That a try may take on the clock, which other work may slow, and of the processor."""
PAGE = resource.getpagesize()
CRASHED = 70
TOLD = "gan3d-bench: "


@dataclass(frozen=True)
class Ended:
    """How a process ended: `code` is negative for a signal, None if it was killed for its time."""

    code: int | None
    out: str
    err: str
    peak: int


def forked(
    work: Callable[[], int], folder: Path, signals: Collection[tuple[float, int]] = ()
) -> Ended:
    """Run `work` in a forked process with `folder` as its working folder, for `SECONDS` at most.

    Args:
        work: returns the exit code.
        folder: exists; ``stdout`` and ``stderr`` are written beside it.
        signals: (seconds, signal) to send to it, in order.
    """
    files = [folder.with_name(f"{folder.name}.{name}") for name in ("stdout", "stderr")]
    sys.stdout.flush()
    gc.freeze()  # what is there is left alone by the child's collector, so that pages stay shared
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _child(work, folder, files)
    due = list(signals)
    code: int | None = None
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        now = time.monotonic() - began
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        if due and now >= due[0][0]:
            os.kill(child, due.pop(0)[1])
        if now > SECONDS:
            break
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):  # what it started goes with it
        os.killpg(child, signal.SIGKILL)
    if code is None:
        _, _, usage = os.wait4(child, 0)
    out, err = (file.read_text(encoding="utf-8", errors="backslashreplace") for file in files)
    for file in files:
        file.unlink()
    return Ended(code, out, err, usage.ru_maxrss * 1024)


def _child(work: Callable[[], int], folder: Path, files: list[Path]) -> None:
    code = CRASHED
    try:
        os.setsid()
        os.chdir(folder)
        for number, file in enumerate(files, 1):
            os.dup2(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout, sys.stderr = (  # whatever they were in the process that was forked
            os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
            for number in (1, 2)
        )
        size = int(Path("/proc/self/statm").read_text().split()[0]) * PAGE
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        used = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
        resource.setrlimit(resource.RLIMIT_CPU, (used + PROCESSOR_SECONDS,) * 2)
        code = work()
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def fault(ended: Ended, folder: Path, before: int, signals: Collection[int] = ()) -> str:
    """Say what is wrong with an end; "" if nothing is.

    Args:
        ended: the end.
        folder: the working folder.
        before: bytes of memory that the process began with.
        signals: those that were sent.
    """
    told = [line for line in ended.err.splitlines() if line.startswith(TOLD)]
    checks = {
        "a file ran something": any(folder.rglob("canary")),
        "no end in time": ended.code in (None, -signal.SIGXCPU, -signal.SIGKILL)
        and signal.SIGKILL not in signals,
        "memory": ended.peak > before + PEAK,
        _last_line(ended.err): "Traceback" in ended.err + ended.out,
        f"exit code {ended.code}": ended.code not in _codes(signals)
        and not (ended.code == 1 and told and told[-1].startswith(f"{TOLD}training stopped: ")),
        f"{len(told)} lines of error": len(told) > 1,
        "no line of error": ended.code == 2 and not told and "Usage:" not in ended.out,
        "a warning beside an error": ended.code == 2 and "Warning" in ended.err,
        "a control character": any(c < " " and c not in "\n\t\r" for c in ended.err + ended.out),
        "invalid JSON": any(_invalid(file) for file in folder.glob("out*/**/*.json")),
    }
    return next((what for what, wrong in checks.items() if wrong), "")


def _codes(signals: Collection[int]) -> set[int]:
    codes = {0, 2}
    for number in signals:
        codes |= {128 + number, -number}
    return codes


def _last_line(err: str) -> str:
    lines = [line for line in err.splitlines() if line and not line.startswith((" ", "│", "╰"))]
    return lines[-1][:300] if lines else "a traceback"


def _invalid(file: Path) -> bool:
    def refuse(text: str) -> None:
        raise ValueError(text)

    try:
        json.loads(file.read_bytes(), parse_constant=refuse)
    except ValueError:
        return True
    return False
