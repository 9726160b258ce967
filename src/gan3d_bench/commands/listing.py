"""``gan3d-bench list``: names and one line each, from light specs."""

from __future__ import annotations

import sys

from gan3d_bench.errors import one_line, unknown_name
from gan3d_bench.registry import BUILTIN, registry
from gan3d_bench.terminal import say

KINDS = (*BUILTIN, "presets", "assets")


def show(kind: str) -> None:
    """Print everything of a kind, and on standard error what was kept out and why.

    Raises:
        UserError: no such kind.
    """
    if kind not in KINDS:
        raise unknown_name("kind", kind, KINDS)
    if kind == "assets":
        from gan3d_bench.assets.commands import list_assets

        list_assets()
        return
    if kind == "presets":
        found = registry("methods")
        rows = [
            (name, preset + (" (default)" if preset == spec.default_preset else ""), when)
            for name, spec in sorted(found.specs.items())
            for preset, when in spec.presets.items()
        ]
    else:
        found = registry(kind)
        rows = [(name, found.specs[name].title) for name in found.names()]
    _print_columns(rows)
    for name, reason in found.broken.items():
        say(one_line(f"left out: {name}: {reason}"), file=sys.stderr)


def _print_columns(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True))
        say(line.rstrip())
