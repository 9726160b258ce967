"""The one exception for a user's mistake, and the wording all of them share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake the user can mend: one clear line, shown without a traceback, exit code 2.

    The message names the key, the value given and what was expected.
    """


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
