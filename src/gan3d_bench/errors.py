"""What the command line tells in one line: a user's mistake, and a training that broke down."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class UserError(Exception):
    """A mistake the user can mend: one clear line, shown without a traceback, exit code 2.

    The message names the key, the value given and what was expected.
    """


class NonFiniteLossError(RuntimeError):
    """A loss or a gradient became NaN or infinite: training stops, exit code 1.

    The message names the loss term or the weight, the phase and the step.

    Attributes:
        phase: name of the phase.
        step: of the phase, from 0.
        terms: this process's loss terms, name -> value.
        batch: what this process's step worked on; None if it is not known.
        rank: the process whose loss it was.
        file: where that process saved all this; None if it did not.
    """

    def __init__(
        self,
        message: str,
        phase: str,
        step: int,
        terms: Mapping[str, float] | None = None,
        batch: Any = None,
        rank: int = 0,
    ) -> None:
        super().__init__(message)
        self.phase = phase
        self.step = step
        self.terms = terms or {}
        self.batch = batch
        self.rank = rank
        self.file: Path | None = None

    def __str__(self) -> str:
        kept = f"; what it came from is in {self.file}" if self.file is not None else ""
        return super().__str__() + kept


@contextmanager
def named(where: str) -> Iterator[None]:
    """Put what the user called it, such as a key and its value, before the `UserError`s within."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def nearest(name: str, options: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the closest of `options`, or an empty string."""
    close = difflib.get_close_matches(name, list(options), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def unknown_name(kind: str, name: str, options: Iterable[str]) -> UserError:
    """Return the error for a name that is not among `options`, with the nearest valid one."""
    known = sorted(options)
    return UserError(
        f"unknown {kind} '{name}'{nearest(name, known)}; known: {', '.join(known) or 'none'}"
    )
