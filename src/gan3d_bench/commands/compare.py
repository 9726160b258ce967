"""``gan3d-bench compare``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from gan3d_bench.benchmarks.formats import FORMATS, render, write_table
from gan3d_bench.benchmarks.stored import Stored, assemble, rows_in
from gan3d_bench.commands.evaluate import choose_runs
from gan3d_bench.errors import UserError, unknown_name
from gan3d_bench.files.atomic import require_folder
from gan3d_bench.files.run_folder import Run, runs_root
from gan3d_bench.registry import registry
from gan3d_bench.terminal import say

RESULTS = Path("results")


def compare(
    table: str, files: Sequence[Path], paths: Sequence[Path], out: Path | None, form: str
) -> int:
    """Print stored rows of a table side by side and write them to `out`; return the exit code.

    Raises:
        UserError: unknown table or format, nothing stored, damaged files, or rows that were
            measured under different protocols.
    """
    spec = registry("tables").get(table)
    if form not in ("rich", *FORMATS):
        raise unknown_name("format", form, ("rich", *FORMATS))
    stored = choose_stored(files, paths, [table])
    for run in stored.runs:
        if not rows_in(run.tables, table):
            raise UserError(
                f"--run {run}: no stored rows of table '{table}'; expected those made by: "
                f"gan3d-bench eval --table {table} --run {run}"
            )
    for row in stored.of_files:
        if row.table != table:
            raise UserError(f"--results: holds rows of table '{row.table}'; expected '{table}'")
    folder = out or runs_root() / "tables"
    require_folder("--out", folder)
    rows = stored.rows(table)
    if not rows and spec.measure:
        raise UserError(
            f"table '{table}': no stored rows under {runs_root()} or in {RESULTS}; expected those "
            f"made by: gan3d-bench eval --table {table}"
        )
    merged = assemble(spec, rows)
    if not (files or paths):
        _name_unmeasured(table)
    write_table(merged, folder)
    shown = render(merged, form)
    if form == "rich":
        from rich.console import Console

        Console().print(shown)
    else:
        sys.stdout.write(shown)
    # what another program reads from standard output is the table alone
    say(f"tables: {folder}", file=sys.stdout if form == "rich" else sys.stderr)
    return 0


def choose_stored(files: Sequence[Path], paths: Sequence[Path], tables: Iterable[str]) -> Stored:
    """Return the stored rows of the files and runs that a user named.

    Without any, and where no run has stored rows, of the `tables` that ``eval --out results`` left.

    Raises:
        UserError: a file is missing, or a folder is no run.
    """
    for file in files:
        if not os.path.isfile(file):
            raise UserError(f"--results {file}: no such file; expected a table's JSON file")
    root = runs_root()
    places = ("tables", "*/*/*/tables")
    if not (files or paths or any(any(root.glob(f"{place}/*.row.json")) for place in places)):
        kept = [RESULTS / f"{table}.json" for table in tables]
        files = [file for file in kept if file.is_file()]
    return Stored(files, [Run.open(path) for path in paths], root)


def _name_unmeasured(table: str) -> None:
    """Say which of the latest finished runs the table lacks."""
    for run in choose_runs(table):
        if not rows_in(run.tables, table):
            command = f"gan3d-bench eval --table {table} --run {run}"
            say(f"not measured: {run}; {command}", file=sys.stderr)
