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


class Interrupted(Exception):
    """Training was told to stop, by SIGINT or SIGTERM: exit code 128 + signal.

    Attributes:
        run: folder of the run to resume; None on processes other than rank zero.
        signal: its number.
        at_once: whether a step was left unfinished, so that what was done since the last checkpoint
            is lost; otherwise the state is saved.
    """

    def __init__(self, run: Path | None, signal: int, at_once: bool = False) -> None:
        kept = "at once; what was saved before is kept" if at_once else "the state is saved"
        super().__init__(f"interrupted{' ' if at_once else '; '}{kept}")
        self.run = run
        self.signal = signal
        self.at_once = at_once


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


LONGEST_LINE = 1000
"""Characters of a message; a longer one loses its middle, since what was expected stands last."""


@contextmanager
def named(where: str) -> Iterator[None]:
    """Put what the user called it, such as a key and its value, before the `UserError`s within."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def one_line(message: object) -> str:
    """Return a message as the one line that the command line shows, whatever is quoted in it."""
    line = printable(" ".join(str(message).split()))
    if len(line) <= LONGEST_LINE:
        return line
    head, tail = LONGEST_LINE * 2 // 3, LONGEST_LINE // 3 - 3
    return f"{line[:head]} … {line[-tail:]}"


def printable(text: str) -> str:
    """Return `text` with escapes such as ``\\x1b`` for what a terminal obeys or shows as nothing.

    These are all characters but letters, marks, numbers, punctuation, symbols and the space.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def reason(error: BaseException) -> str:
    """Return an error's type and text in one line, of code that is not ours and may do anything."""
    try:
        text = str(error)
    except BaseException as another:  # its text may raise, too
        text = f"its text raises {type(another).__name__}"
    return one_line(f"{type(error).__name__}: {text}".removesuffix(": "))


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
