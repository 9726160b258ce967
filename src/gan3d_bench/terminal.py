"""What the commands say. Imports nothing slow."""

from __future__ import annotations

from typing import TextIO

from gan3d_bench.errors import printable


def say(text: object = "", *, end: str = "\n", file: TextIO | None = None) -> None:
    """Print `text`, at once, with everything that a terminal would obey as visible escapes.

    Names of files and runs are other people's text. Line breaks remain.

    Args:
        text: what to say.
        end: printed after it.
        file: None for standard output.
    """
    lines = str(text).split("\n")
    print("\n".join(map(printable, lines)), end=end, file=file, flush=True)
