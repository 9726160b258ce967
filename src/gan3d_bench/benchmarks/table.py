"""Measured rows and the papers' numbers, put together as one table. Imports no torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gan3d_bench.benchmarks.parts import join_parts
from gan3d_bench.benchmarks.results import Estimate, Result
from gan3d_bench.errors import UserError
from gan3d_bench.spec import Column, Reported, TableSpec

AHEAD = 2.0
"""Standard errors of a difference from which it counts."""


@dataclass(frozen=True)
class Cell:
    """One metric of one row: measured, reported, both or neither.

    Attributes:
        measured: mean over items (and runs), with its standard error over items.
        reported: the paper's number.
        marked: whether it is printed bold, see `merge`.
        between: standard deviation between the means of runs with different seeds; NaN for one run.
    """

    measured: Estimate | None = None
    reported: Reported | None = None
    marked: bool = False
    between: float = math.nan


@dataclass(frozen=True)
class Line:
    """One printed row.

    Attributes:
        row: its name.
        cells: by metric.
        data, run: of its results.
        count: number of test items, 0 where nothing was measured.
        reported_count: of the paper, 0 where it does not say.
        note: why a measured number is missing.
        results: the runs behind it, which differ in their seeds alone; empty if not measured.
    """

    row: str
    cells: Mapping[str, Cell]
    data: str = ""
    count: int = 0
    reported_count: int = 0
    run: str = ""
    note: str = ""
    results: Sequence[Result] = field(default=(), repr=False)


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
    def sources(self) -> dict[str, int]:
        """Where the reported numbers stand, each once, in order, and the paper's N, 0 if unsaid."""
        cells = [cell for line in self.lines for cell in line.cells.values()]
        return {cell.reported.source: cell.reported.count for cell in cells if cell.reported}


def merge(
    spec: TableSpec,
    results: Sequence[Result],
    reported: Iterable[Reported] = (),
    reasons: Mapping[str, str] | None = None,
) -> Table:
    """Make one table of results measured under the same protocol, on their common items.

    Parts of one row are joined first (`benchmarks.parts`). Results of one row whose runs differ in
    nothing but the seed become one line; others of one row are printed one below the other. Marked
    is the best measured mean of a column if it is ahead of every other row's by two standard errors
    of the difference on the same items (spread between seeds included), and each
    `Column.difference` that is above zero by as much.

    Args:
        spec: the table.
        results: its measured rows.
        reported: the papers' numbers, besides those in `spec`.
        reasons: row -> why it has no measured number.

    Raises:
        UserError: a result of another table or of an older protocol, two protocols, or no common
            item.
    """
    for result in results:
        require_current(spec, result)
    parts, results = results, join_parts(results)
    items = _common_items(results)
    known = {(r.row, r.metric): r for r in (*spec.reported, *reported) if r.table == spec.name}
    extra = [r.row for r in results] + [row for row, _ in known]
    lines: list[Line] = []
    for row in dict.fromkeys((*spec.rows, *extra)):
        papers = {c.metric: known.get((row, c.metric)) for c in spec.columns}
        groups = _by_setup([result for result in results if result.row == row])
        lines += [_measured_line(spec, row, group, items, papers) for group in groups]
        if not groups:
            cells = {metric: Cell(reported=number) for metric, number in papers.items()}
            note = (reasons or {}).get(row, "no run given")
            lines.append(Line(row, cells, reported_count=_papers_count(papers), note=note))
    protocol = results[0].protocol if results else {}
    return Table(spec, _marked(spec, lines, items), items, protocol, list(parts))


def require_current(spec: TableSpec, result: Result) -> None:
    """Check that a result is of this table, and of the protocol that it has now.

    Raises:
        UserError: it is not; says what has changed since.
    """
    if result.table != spec.name:
        raise UserError(f"{result.run}: a result of table '{result.table}'; expected '{spec.name}'")
    version = result.protocol.get("version", 1)
    if version != spec.version:
        since = spec.versions[version:] if isinstance(version, int) and version > 0 else ()
        changed = f" ({'; '.join(since)})" if since else ""
        raise UserError(
            f"row '{result.row}' ({result.run}) was measured by protocol {version!r} of table "
            f"'{spec.name}'; expected protocol {spec.version}{changed}: measure it again"
        )


def _common_items(results: Sequence[Result]) -> list[int]:
    if not results:
        return []
    first = results[0]
    for result in results:
        known, other = ({"version": 1, **r.protocol} for r in (first, result))
        for key in sorted({*known, *other}):
            ours, theirs = known.get(key), other.get(key)
            if ours != theirs:
                raise UserError(
                    f"row '{result.row}' ({result.run}) was measured with {key}={theirs!r}, row "
                    f"'{first.row}' ({first.run}) with {key}={ours!r}; expected one protocol: "
                    f"measure both again"
                )
    common = set(first.items).intersection(*(result.items for result in results))
    if not common:
        held = "; ".join(f"{r.row} ({r.run}): {_ranges(r.items)}" for r in results)
        raise UserError(f"no test item is common to all rows of table '{first.table}': {held}")
    return sorted(common)


def _by_setup(results: Sequence[Result]) -> list[list[Result]]:
    """Group results whose runs differ in their seeds alone."""
    groups: list[list[Result]] = []
    for result in results:
        setup, seed = (result.provenance.get(key) for key in ("setup_sha256", "seed"))
        for group in groups:
            same = setup is not None and group[0].provenance.get("setup_sha256") == setup
            if same and seed not in [other.provenance.get("seed") for other in group]:
                group.append(result)
                break
        else:
            groups.append([result])
    return groups


def _papers_count(papers: Mapping[str, Reported | None]) -> int:
    return max((number.count for number in papers.values() if number), default=0)


def _measured_line(
    spec: TableSpec,
    row: str,
    group: Sequence[Result],
    items: Sequence[int],
    papers: Mapping[str, Reported | None],
) -> Line:
    cells, missing = {}, 0
    for column in spec.columns:
        metric = column.metric
        for result in group:
            if result.by_item(metric):
                values = result.at(metric, items)
                missing = max(missing, sum(math.isnan(value) for value in values))
        estimate, between = _over_runs(group, metric, items)
        cells[metric] = Cell(estimate, papers[metric], between=between)
    note = f"{missing} of {len(items)} items could not be compared" if missing else ""
    run = "; ".join(dict.fromkeys(result.run for result in group))
    return Line(
        row, cells, group[0].data, len(items), _papers_count(papers), run, note, tuple(group)
    )


def _over_runs(
    group: Sequence[Result], metric: str, items: Sequence[int]
) -> tuple[Estimate | None, float]:
    """The estimate over items of the mean over runs, and the deviation between runs' means."""
    found = [result.estimate(metric, items) for result in group]
    known = [estimate for estimate in found if estimate is not None]
    if len(known) < len(group):
        return None, math.nan
    if len(known) == 1:
        return known[0], math.nan
    means = [estimate.mean for estimate in known]
    between = statistics.stdev(means)
    if all(result.by_item(metric) for result in group):
        return Estimate.over(_item_means(group, metric, items)), between
    # all runs were measured against the same items: their errors do not average out
    error = statistics.fmean(estimate.standard_error for estimate in known)
    return Estimate(statistics.fmean(means), error, known[0].count), between


def _item_means(group: Sequence[Result], metric: str, items: Sequence[int]) -> list[float]:
    columns = zip(*(result.at(metric, items) for result in group), strict=True)
    return [statistics.fmean(column) for column in columns]


def _marked(spec: TableSpec, lines: Sequence[Line], items: Sequence[int]) -> list[Line]:
    marked: dict[int, set[str]] = {index: set() for index in range(len(lines))}
    for column in spec.columns:
        racing = {
            index: line
            for index, line in enumerate(lines)
            if line.row not in spec.bounds and line.cells[column.metric].measured
        }
        # a rival whose number is of other items than these: nobody can say who leads
        unknown = any(
            line.row not in spec.bounds and line.cells[column.metric].measured is None
            for line in lines
            if any(column.metric in result.sets for result in line.results)
        )
        for index, line in racing.items():
            others = [other for place, other in racing.items() if place != index]
            if column.difference:
                ahead = _above_zero(line, column)
            else:
                ahead = bool(others) and all(_ahead(line, o, column, items) for o in others)
                ahead = ahead and not unknown
            if ahead:
                marked[index].add(column.metric)
    return [
        replace(
            line,
            cells={m: replace(c, marked=m in marked[index]) for m, c in line.cells.items()},
        )
        for index, line in enumerate(lines)
    ]


def _above_zero(line: Line, column: Column) -> bool:
    cell = line.cells[column.metric]
    assert cell.measured is not None
    error = math.hypot(cell.measured.standard_error, _of_seeds(line, cell))
    return cell.measured.mean > AHEAD * error  # false where the error is not known


def _ahead(line: Line, other: Line, column: Column, items: Sequence[int]) -> bool:
    """Whether a line is better than another by two standard errors of their difference."""
    metric = column.metric
    own, theirs = line.cells[metric], other.cells[metric]
    assert own.measured is not None
    assert theirs.measured is not None
    if all(result.by_item(metric) for result in (*line.results, *other.results)):
        pairs = zip(
            _item_means(line.results, metric, items),
            _item_means(other.results, metric, items),
            strict=True,
        )
        difference = Estimate.over([a - b for a, b in pairs])
    else:
        error = math.hypot(own.measured.standard_error, theirs.measured.standard_error)
        difference = Estimate(own.measured.mean - theirs.measured.mean, error, len(items))
    lead = difference.mean if column.higher_is_better else -difference.mean
    error = math.hypot(difference.standard_error, _of_seeds(line, own), _of_seeds(other, theirs))
    return lead > 0 and lead >= AHEAD * error  # false where the error is not known


def _of_seeds(line: Line, cell: Cell) -> float:
    """Standard error of a line's mean over runs; 0 where there is one run, which cannot say."""
    return 0.0 if math.isnan(cell.between) else cell.between / math.sqrt(len(line.results))


def _ranges(items: Sequence[int]) -> str:
    """Write ascending integers as ``0-3, 7``."""
    parts: list[list[int]] = []
    for item in items:
        if parts and item == parts[-1][1] + 1:
            parts[-1][1] = item
        else:
            parts.append([item, item])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
