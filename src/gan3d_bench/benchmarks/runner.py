"""Fills a table: measures runs and baselines, stores every row, and puts them together."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gan3d_bench.benchmarks.formats import write_table
from gan3d_bench.benchmarks.measure import Measure, Settings, Values
from gan3d_bench.benchmarks.parts import join_parts
from gan3d_bench.benchmarks.processes import Processes
from gan3d_bench.benchmarks.results import Estimate, Result, load_results, save_result
from gan3d_bench.benchmarks.stored import assemble, row_path
from gan3d_bench.benchmarks.table import Table
from gan3d_bench.config import to_dict
from gan3d_bench.errors import UserError, unknown_name
from gan3d_bench.files.run_folder import Run
from gan3d_bench.machine import environment
from gan3d_bench.pictures.grids import save_png
from gan3d_bench.progress import tracked
from gan3d_bench.registry import registry
from gan3d_bench.spec import TableSpec, load
from gan3d_bench.training.fit import load_method


def evaluate(
    table: TableSpec,
    runs: Sequence[Run],
    *,
    samples: int,
    out: Path | None = None,
    runs_root: Path = Path("runs"),
    results: Sequence[Path] = (),
    batch_size: int = 8,
    device: str = "cpu",
    fresh: bool = False,
    networks: Mapping[str, str] | None = None,
    only: Sequence[str] = (),
) -> Table:
    """Measure `runs` and the table's baselines, and make one table of them.

    Items are shared out among the processes that torchrun or SLURM started; every process returns
    the same table, rank zero writes. Rows are stored as soon as they are measured, and a stored
    row of the same checkpoint, items and protocol is not measured again.

    Args:
        table: which table.
        runs: runs to measure. Each row is stored in ``<run>/tables/<table>.<row>.row.json``.
        samples: number of test items; a run that can be measured on some of them only brings the
            whole table down to those.
        out: folder for ``<table>.{md,tex,csv,json}``; None writes no table.
        runs_root: baselines are stored in ``<runs_root>/tables/``.
        results: JSON files of rows or tables measured before, to be put beside.
        batch_size: items measured at once; halved as long as memory does not suffice.
        device: such as "cpu" or "cuda".
        fresh: measure stored rows again.
        networks: networks to measure with instead of the standard ones, see `Settings`.
        only: rows of the runs that are measured; empty for all that they fill.

    Raises:
        UserError: a run has no row in this table or lacks a capability, no run fills a row of
            `only`, no item is common to all rows, or two rows were measured under different
            protocols.
    """
    stored = [result for path in results for result in load_results(path)]
    if not table.measure:
        raise UserError(f"table '{table.name}' cannot be measured yet: {table.protocol}")
    measure_class: type[Measure] = load(table.measure)
    for key in networks or {}:
        if key not in measure_class.exchangeable:
            raise unknown_name(f"network of table '{table.name}'", key, measure_class.exchangeable)
    rows = _chosen([(run, _rows(table, run, measure_class.requires)) for run in runs], only)
    processes = Processes.detect()
    place = processes.device(device)
    measure = measure_class(Settings(samples, batch_size, place, networks or {}))
    for run, _ in rows:
        measure.open(run)
    items, protocol = measure.items(), {"version": table.version, **measure.protocol()}
    evaluation = _Evaluation(table, measure, protocol, processes, batch_size, fresh)

    measured: list[Result] = []
    for run, kinds in rows:
        measure.open(run)
        method = load_method(run).to(place)
        facts = _facts(run, dict(method.extra_metadata()))
        for row, kind in kinds.items():
            own = method.row_items(kind)
            chosen = items if own is None else [item for item in items if item in set(own)]
            if not chosen:
                raise UserError(
                    f"{run.path}: fitted to test items {own}, none of the first {samples} of "
                    f"table '{table.name}'; expected a run that shares items with it"
                )
            path = row_path(run.tables, table.name, row)
            result = Result(table.name, row, _shown(run.path), measure.data, protocol, chosen, {})
            begin = partial(measure.begin, method, kind, chosen)
            work = partial(measure.method, method, kind)
            measured.append(evaluation.fill(result, facts, work, path, begin))
        del method

    rows_measured = join_parts(measured)
    common = set(items).intersection(*(result.items for result in rows_measured))
    items = [item for item in items if item in common] or items
    given = {result.row for result in stored}
    for row in (row for row in measure.baselines if row not in given):
        path = row_path(runs_root / "tables", table.name, row)
        result = Result(table.name, row, "baseline", measure.data, protocol, items, {})
        measured.append(evaluation.fill(result, {}, partial(measure.baseline, row), path))

    merged = assemble(table, [*measured, *stored])
    if out is not None and processes.rank == 0:
        write_table(merged, out)
    return merged


Rows = Mapping[str, str]
"""Row of a table -> kind of scene that fills it."""


def _chosen(rows: Sequence[tuple[Run, Rows]], only: Sequence[str]) -> list[tuple[Run, Rows]]:
    """Leave the rows of `only`, and the runs that fill one of them."""
    filled = {row for _, kinds in rows for row in kinds}
    for row in only:
        if row not in filled:
            raise unknown_name("row of these runs", row, filled)
    if not only:
        return list(rows)
    left = [(run, {row: kinds[row] for row in kinds if row in only}) for run, kinds in rows]
    return [(run, kinds) for run, kinds in left if kinds]


def _rows(table: TableSpec, run: Run, requires: frozenset[str]) -> Rows:
    rows = run.spec.rows(table.name, to_dict(run.config))
    if not rows:
        others = [
            name for name in registry("tables").names() if run.spec.rows(name, to_dict(run.config))
        ]
        raise UserError(
            f"{run.path}: a run of '{run.spec.name}' with preset '{run.config.preset}' has no row "
            f"in table '{table.name}'; expected "
            + (f"--table {' or '.join(others)}" if others else "another run")
        )
    for row, kind in rows.items():
        if kind not in run.spec.scenes:
            known = ", ".join(run.spec.scenes) or "none"
            raise UserError(
                f"{run.path}: row '{row}' of table '{table.name}' needs a scene of kind '{kind}'; "
                f"method '{run.spec.name}' gives: {known}"
            )
        missing = sorted(requires - run.spec.scenes[kind])
        if missing:
            raise UserError(
                f"{run.path}: scenes of kind '{kind}' of method '{run.spec.name}' cannot give "
                f"{', '.join(missing)}, which table '{table.name}' needs"
            )
    return rows


@dataclass
class _Evaluation:
    """What the rows of one evaluation share."""

    table: TableSpec
    measure: Measure
    protocol: Mapping[str, Any]
    processes: Processes
    batch_size: int
    fresh: bool

    def fill(
        self,
        result: Result,
        facts: Mapping[str, Any],
        work: Callable[[Sequence[int]], Values],
        path: Path,
        begin: Callable[[], None] = lambda: None,
    ) -> Result:
        """Return `result` with its numbers: those stored at `path` if still true, else new ones.

        `begin` comes before the first batch of `work`.
        """
        kept = None if self.fresh else _kept(path, result, facts)
        # every process must decide alike, also where only rank zero sees the file
        kept = self.processes.gather(lambda: kept)[0]
        if kept is not None:
            return kept
        started = time.monotonic()
        with torch.no_grad():
            begin()
        values, sets = self._measure(result, work)
        seconds = round(time.monotonic() - started, 2)
        measured = {**_environment(self.table.assets), "seconds": seconds}
        signed = {key: values.pop(key) for key in self.measure.signed if key in values}
        provenance = {"measured": measured, **facts}
        filled = replace(result, values=values, sets=sets, signed=signed, provenance=provenance)
        picture = self.measure.picture()
        if self.processes.rank == 0:
            if picture is not None:
                save_png(picture, path.with_name(path.name.replace(".row.json", ".png")))
            save_result(filled, path)
        return filled

    def _measure(
        self, result: Result, work: Callable[[Sequence[int]], Values]
    ) -> tuple[Values, dict[str, Estimate]]:
        """Measure whole batches in turn on each process; numbers in the items' order."""
        items, size = result.items, self.batch_size
        batches = [items[start : start + size] for start in range(0, len(items), size)]

        def mine() -> list[tuple[int, Values]]:
            share = range(self.processes.rank, len(batches), self.processes.size)
            shown: Iterable[int] = share
            if self.processes.rank == 0:
                shown = tracked(share, f"measuring {result.row}", len(share))
            with torch.no_grad():
                return [(index, measure_within_memory(work, batches[index])) for index in shown]

        parts = sorted(part for share in self.processes.gather(mine) for part in share)
        values = {key: [value for _, part in parts for value in part[key]] for key in parts[0][1]}
        return values, self.measure.sets()


def measure_within_memory(work: Callable[[Sequence[int]], Values], items: Sequence[int]) -> Values:
    """Measure a batch of items; in halves, and these in halves, where memory does not suffice.

    Raises:
        UserError: it does not suffice for a single item.
    """
    try:
        return work(items)
    except (torch.OutOfMemoryError, MemoryError) as error:
        if len(items) == 1:
            raise UserError(f"out of memory on test item {items[0]} alone: {error}") from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = len(items) // 2
    first, second = (measure_within_memory(work, half) for half in (items[:middle], items[middle:]))
    return {key: first[key] + second[key] for key in first}


def _kept(path: Path, result: Result, facts: Mapping[str, Any]) -> Result | None:
    """Return the row stored at `path` if it is of this checkpoint, these items, this protocol."""
    if not path.is_file():
        return None
    try:
        (kept,) = load_results(path)
    except (UserError, ValueError):
        return None  # damaged, or of another version: measured again and replaced
    same = (kept.table, kept.row, kept.run, list(kept.items), dict(kept.protocol)) == (
        result.table,
        result.row,
        result.run,
        list(result.items),
        json.loads(json.dumps(result.protocol)),
    )
    keys = ("config_sha256", "checkpoint_sha256")
    unchanged = all(kept.provenance.get(key) == facts.get(key) for key in keys)
    commit = environment.commit()
    dirty = str(commit).endswith("+dirty")  # nobody knows with which changes
    code = not dirty and kept.provenance.get("measured", {}).get("commit") == commit
    return kept if same and unchanged and code else None


def _facts(run: Run, networks: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a result says of the run it was measured on."""
    content = to_dict(run.config)
    config = json.dumps(content, sort_keys=True)
    trained = ("time", "gan3d_bench", "commit", "machine")
    return {
        "method": run.spec.name,
        "preset": run.config.preset,
        "seed": run.config.seed,
        "config_sha256": hashlib.sha256(config.encode()).hexdigest(),
        "setup_sha256": run.setup,
        "whole_sha256": run.whole,
        "checkpoint_sha256": _sha256_of_file(run.checkpoint),
        "trained": {key: run.environment.get(key) for key in trained},
        "networks": json.loads(json.dumps(networks, default=str)),
    }


def _environment(assets: Sequence[str]) -> dict[str, Any]:
    facts = environment.describe(assets)
    # a result is published: the program's name, not where it lies on this machine
    facts["command"] = [Path(sys.argv[0]).name, *map(_shown, sys.argv[1:])]
    return facts


def _shown(path: str | Path) -> str:
    """Return a path relative to the working folder, or its name if it lies elsewhere."""
    if not os.path.isabs(path):
        return str(path)
    relative = os.path.relpath(path)
    return Path(path).name if relative.startswith(os.pardir) else relative


def _sha256_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
