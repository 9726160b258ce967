"""Measured rows as files, and the table they make together. Imports no torch."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gan3d_bench.benchmarks.result_files import read_rows
from gan3d_bench.errors import UserError
from gan3d_bench.files.atomic import atomic_write
from gan3d_bench.spec import Column, Reported, TableSpec


@dataclass(frozen=True)
class Estimate:
    """A mean over `count` instances and its standard error (NaN below two instances)."""

    mean: float
    standard_error: float
    count: int

    @classmethod
    def over(cls, values: Sequence[float]) -> Estimate:
        """Estimate from one value per instance (at least one); to twelve digits, since those after
        them depend on the version of Python, and stored tables must not."""
        n = len(values)
        error = statistics.stdev(values) / math.sqrt(n) if n > 1 else math.nan
        return cls(float(f"{statistics.fmean(values):.12g}"), float(f"{error:.12g}"), n)


@dataclass(frozen=True)
class Result:
    """One measured row of a table, as stored.

    Attributes:
        table, row: where it belongs.
        run: run folder, or "baseline".
        data: data set and split, in words.
        protocol: everything that must agree between two rows of one table.
        items: indices of the test items, ascending.
        values: metric -> one number per item; none that is finite where an item could not be
            compared. Keys that are no column, ``metric@x``, are points of curves.
        sets: metric -> estimate for the whole set of items (FID, KID).
        provenance: method, preset, seed, config hash, commit, versions, machine, time, networks.
    """

    table: str
    row: str
    run: str
    data: str
    protocol: Mapping[str, Any]
    items: Sequence[int]
    values: Mapping[str, Sequence[float]]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    sets: Mapping[str, Estimate] = field(default_factory=dict)

    def estimate(self, metric: str, items: Sequence[int]) -> Estimate | None:
        """Return the mean over `items`, or the estimate for the set if it is of just these items.

        None where an item could not be compared, or the metric was not measured.
        """
        if metric in self.sets:
            return self.sets[metric] if list(items) == list(self.items) else None
        if metric not in self.values:
            return None
        values = self.at(metric, items)
        return None if any(math.isnan(value) for value in values) else Estimate.over(values)

    def at(self, metric: str, items: Iterable[int]) -> list[float]:
        """Return the values of `metric` for `items`; NaN where one could not be compared."""
        by_item = dict(zip(self.items, self.values[metric], strict=True))
        return [by_item[item] if math.isfinite(by_item[item]) else math.nan for item in items]

    def to_json(self) -> dict[str, Any]:
        """Return plain data; NaN and infinity become null, and means are added for the reader."""
        content = asdict(self)
        content["values"] = {
            key: [value if math.isfinite(value) else None for value in values]
            for key, values in self.values.items()
        }
        content["sets"] = {key: _finite(asdict(value)) for key, value in self.sets.items()}
        content["summary"] = {}
        for key, values in self.values.items():
            known = [value for value in values if math.isfinite(value)]
            if known:
                content["summary"][key] = _finite(asdict(Estimate.over(known)))
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Result:
        """Inverse of `to_json`. Raises KeyError, TypeError or ValueError on anything else."""
        values = {
            key: [math.nan if value is None else float(value) for value in column]
            for key, column in content["values"].items()
        }
        items = [int(item) for item in content["items"]]
        if any(len(column) != len(items) for column in values.values()):
            raise ValueError("items and values differ in number")
        sets = {
            key: Estimate(
                float(value["mean"]),
                math.nan if value["standard_error"] is None else float(value["standard_error"]),
                int(value["count"]),
            )
            for key, value in content.get("sets", {}).items()
        }
        words = {key: str(content[key]) for key in ("table", "row", "run", "data")}
        return cls(
            **words,
            protocol=dict(content["protocol"]),
            items=items,
            values=values,
            provenance=dict(content["provenance"]),
            sets=sets,
        )


def save_result(result: Result, path: Path) -> None:
    """Write `result` to `path` as JSON, in one piece."""
    write_text(path, json.dumps(result.to_json(), indent=1, ensure_ascii=False) + "\n")


def load_results(path: Path) -> list[Result]:
    """Read the rows stored in a row's JSON file or in a table's.

    Raises:
        UserError: the file is missing, or holds no results, see `read_rows`.
    """
    try:
        return [Result.from_json(row) for row in read_rows(path)]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: not stored results of a table ({type(error).__name__}: {error})"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file in one piece.

    Raises:
        UserError: it cannot be written.
    """
    try:
        with atomic_write(path) as draft:
            draft.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: not written: {error.strerror}") from error


@dataclass(frozen=True)
class Cell:
    """One metric of one row: measured, reported, both or neither."""

    measured: Estimate | None = None
    reported: Reported | None = None
    best: bool = False


@dataclass(frozen=True)
class Line:
    """One printed row. `note` says why a measured number is missing."""

    row: str
    cells: Mapping[str, Cell]
    data: str = ""
    count: int = 0
    run: str = ""
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A whole table, ready for any format."""

    spec: TableSpec
    lines: Sequence[Line]
    items: Sequence[int]
    protocol: Mapping[str, Any]
    results: Sequence[Result]

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.spec.columns

    def network(self, metric: str) -> str:
        """The network a metric was measured with, or "" for metrics without one."""
        return str(self.protocol.get("networks", {}).get(metric, ""))

    @property
    def sources(self) -> list[str]:
        """Where the reported numbers stand, each once, in order."""
        cells = [cell for line in self.lines for cell in line.cells.values()]
        return list(dict.fromkeys(cell.reported.source for cell in cells if cell.reported))


def merge(
    spec: TableSpec,
    results: Sequence[Result],
    reported: Iterable[Reported] = (),
    reasons: Mapping[str, str] | None = None,
) -> Table:
    """Make one table of results measured under the same protocol, on their common items.

    Args:
        spec: the table.
        results: its measured rows; several of one row are printed one below the other.
        reported: the papers' numbers, besides those in `spec`.
        reasons: row -> why it has no measured number.

    Raises:
        UserError: a result of another table, two protocols, or no common item.
    """
    items = _common_items(spec, results)
    known = {(r.row, r.metric): r for r in (*spec.reported, *reported) if r.table == spec.name}
    extra = [r.row for r in results] + [row for row, _ in known]
    lines: list[Line] = []
    for row in dict.fromkeys((*spec.rows, *extra)):
        measured = [result for result in results if result.row == row]
        for result in measured:
            lines.append(_measured_line(spec, result, items, known))
        if not measured:
            cells = {c.metric: Cell(reported=known.get((row, c.metric))) for c in spec.columns}
            lines.append(Line(row, cells, note=(reasons or {}).get(row, "no run given")))
    protocol = results[0].protocol if results else {}
    return Table(spec, _mark_best(spec, lines), items, protocol, list(results))


def _common_items(spec: TableSpec, results: Sequence[Result]) -> list[int]:
    if not results:
        return []
    first = results[0]
    for result in results:
        if result.table != spec.name:
            raise UserError(
                f"{result.run}: a result of table '{result.table}'; expected '{spec.name}'"
            )
        for key in sorted({*first.protocol, *result.protocol}):
            ours, theirs = first.protocol.get(key), result.protocol.get(key)
            if ours != theirs:
                raise UserError(
                    f"row '{result.row}' ({result.run}) was measured with {key}={theirs!r}, row "
                    f"'{first.row}' ({first.run}) with {key}={ours!r}; expected one protocol: "
                    f"measure both again"
                )
    common = set(first.items).intersection(*(result.items for result in results))
    if not common:
        held = "; ".join(f"{r.row} ({r.run}): {_ranges(r.items)}" for r in results)
        raise UserError(f"no test item is common to all rows of table '{spec.name}': {held}")
    return sorted(common)


def _measured_line(
    spec: TableSpec,
    result: Result,
    items: Sequence[int],
    known: Mapping[tuple[str, str], Reported],
) -> Line:
    cells, missing = {}, 0
    for column in spec.columns:
        estimate = result.estimate(column.metric, items)
        if column.metric in result.values:
            values = result.at(column.metric, items)
            missing = max(missing, sum(math.isnan(value) for value in values))
        cells[column.metric] = Cell(estimate, known.get((result.row, column.metric)))
    note = f"{missing} of {len(items)} items could not be compared" if missing else ""
    return Line(result.row, cells, result.data, len(items), result.run, note)


def _mark_best(spec: TableSpec, lines: Sequence[Line]) -> list[Line]:
    best: dict[str, float] = {}
    for column in spec.columns:
        racing = [line for line in lines if line.row not in spec.bounds]
        cells = [line.cells[column.metric].measured for line in racing]
        means = [round(cell.mean, column.digits) for cell in cells if cell]
        if means:
            best[column.metric] = (max if column.higher_is_better else min)(means)

    def marked(column: Column, cell: Cell) -> Cell:
        if cell.measured is None:
            return cell
        is_best = round(cell.measured.mean, column.digits) == best.get(column.metric)
        return Cell(cell.measured, cell.reported, is_best)

    return [
        Line(
            line.row,
            {c.metric: marked(c, line.cells[c.metric]) for c in spec.columns}
            if line.row not in spec.bounds
            else line.cells,
            line.data,
            line.count,
            line.run,
            line.note,
        )
        for line in lines
    ]


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {key: value if math.isfinite(value) else None for key, value in values.items()}


def _ranges(items: Sequence[int]) -> str:
    """Write ascending integers as ``0-3, 7``."""
    parts: list[list[int]] = []
    for item in items:
        if parts and item == parts[-1][1] + 1:
            parts[-1][1] = item
        else:
            parts.append([item, item])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
