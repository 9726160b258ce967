"""``gan3d-bench fit --method METHOD --keys``: what can be set, to what, and what it means."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from gan3d_bench.config import key_rows
from gan3d_bench.config.describe import COLUMNS
from gan3d_bench.spec import MethodSpec
from gan3d_bench.terminal import say

WIDE = 10_000  # characters: as wide as the text is


def show_keys(spec: MethodSpec, preset: str | None) -> None:
    """Print a method's keys, with the defaults of a preset (None: the default one).

    Cells are wrapped to the width of a terminal; a file or a pipe gets one line a key.

    Raises:
        UserError: the method has no such preset.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=None)
    for column in COLUMNS:
        table.add_column(column, no_wrap=column == "key", overflow="fold")
    for row in key_rows(spec, preset):
        table.add_row(*row)
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else WIDE, markup=False, highlight=False)
    with console.capture() as printed:
        console.print(table)
    for line in printed.get().splitlines():
        say(line.rstrip())
