"""Rows that `eval` stored: where they lie, and the tables they make. Imports no torch."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan3d_bench.benchmarks.results import Result, load_results
from gan3d_bench.benchmarks.table import Table, merge, require_current
from gan3d_bench.errors import UserError
from gan3d_bench.files.run_folder import Run
from gan3d_bench.registry import registry
from gan3d_bench.spec import Reported, TableSpec
from gan3d_bench.terminal import say


def row_path(folder: Path, table: str, row: str) -> Path:
    """Return where a measured row of a table is stored in a ``tables`` folder."""
    return folder / f"{table}.{row_slug(row)}.row.json"


def row_slug(row: str) -> str:
    """Return a row's name for files and keys, such as ``gan2shape-weak-prior``."""
    return "-".join(re.findall(r"\w+", row.lower()))


def rows_in(folder: Path, table: str) -> list[Result]:
    """Read the rows of a table stored in a ``tables`` folder, by file name.

    Raises:
        UserError: a file is damaged.
    """
    return [
        row for path in sorted(folder.glob(f"{table}.*.row.json")) for row in load_results(path)
    ]


@dataclass(frozen=True)
class Stored:
    """Which stored rows to put together.

    Attributes:
        files: JSON files of rows or tables.
        runs: runs whose rows to use. With neither files nor runs: of each method and row, what is
            stored with its latest finished run.
        root: folder of all runs; baselines lie in its ``tables``. They join the rows of runs where
            no row of their name is given; files alone are taken as they are.
    """

    files: Sequence[Path]
    runs: Sequence[Run]
    root: Path

    @functools.cached_property
    def of_files(self) -> list[Result]:
        """The rows of all files.

        Raises:
            UserError: a file is missing or damaged.
        """
        return [row for path in self.files for row in load_results(path)]

    def rows(self, table: str) -> list[Result]:
        """Return the rows of a table.

        Raises:
            UserError: a file is missing or damaged.
        """
        rows = [row for row in self.of_files if row.table == table]
        held = {(row.row, row.run) for row in rows}  # a file may hold a run's rows too
        for run in self.runs:
            own = rows_in(run.tables, table)
            rows += [row for row in own if (row.row, row.run) not in held]
        if self.files and not self.runs:
            return rows
        if not self.runs:
            rows = _current(table, self._latest(table))
        given = {row.row for row in rows}
        baselines = _current(table, rows_in(self.root / "tables", table))
        return rows + [row for row in baselines if row.row not in given]

    def _latest(self, table: str) -> list[Result]:
        latest: dict[tuple[str, str], dict[Any, Result]] = {}  # by method and row, then seed
        for run in Run.find(root=self.root):  # oldest first
            for row in rows_in(run.tables, table) if run.finished else ():
                key, seed = (run.path.parts[-3], row.row), row.provenance.get("seed")
                held = latest.get(key, {})
                same = all(_setup(other) == _setup(row) is not None for other in held.values())
                latest[key] = {**(held if same else {}), seed: row}
        return [row for rows in latest.values() for row in rows.values()]


def _current(table: str, rows: Sequence[Result]) -> list[Result]:
    """Return the rows of the table's present protocol, and say which were left out and why."""
    kept = []
    for row in rows:
        try:
            require_current(registry("tables").get(table), row)
            kept.append(row)
        except UserError as error:
            say(f"left out: {error}", file=sys.stderr)
    return kept


def _setup(row: Result) -> Any:
    return row.provenance.get("setup_sha256")


def assemble(table: TableSpec, results: Sequence[Result]) -> Table:
    """Put results beside the papers' numbers.

    Raises:
        UserError: as `merge`.
    """
    numbers, reasons = _papers(table)
    return merge(table, results, numbers, reasons)


def _papers(table: TableSpec) -> tuple[list[Reported], dict[str, str]]:
    """Return the methods' own reported numbers, and why rows without a run are not measured."""
    numbers: list[Reported] = []
    reasons = {reported.row: "reported only" for reported in table.reported}
    for spec in registry("methods").specs.values():
        own = [reported for reported in spec.reported if reported.table == table.name]
        numbers += own
        reasons |= {reported.row: f"no run of '{spec.name}' given" for reported in own}
    if not table.measure:
        reasons = dict.fromkeys((*table.rows, *reasons), "not measured yet")
    return numbers, reasons
