"""Fills a table: measures runs and baselines, stores every row, and puts them together."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from gan3d_bench import environment
from gan3d_bench.benchmarks.formats import write_table
from gan3d_bench.benchmarks.measure import Measure, Settings, Values
from gan3d_bench.benchmarks.processes import Processes
from gan3d_bench.benchmarks.results import Result, Table, load_results, merge, save_result
from gan3d_bench.config import to_dict
from gan3d_bench.errors import UserError
from gan3d_bench.registry import registry
from gan3d_bench.runs import Run
from gan3d_bench.spec import Reported, TableSpec, load
from gan3d_bench.training import load_method


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
) -> Table:
    """Measure `runs` and the table's baselines, and make one table of them.

    Items are shared out among the processes that torchrun or SLURM started; every process returns
    the same table, rank zero writes.

    Args:
        table: which table.
        runs: runs to measure. Each row is stored in ``<run>/tables/<table>.row.json``.
        samples: number of test items; a run that can be measured on some of them only brings the
            whole table down to those.
        out: folder for ``<table>.{md,tex,csv,json}``; None writes no table.
        runs_root: baselines are stored in ``<runs_root>/tables/``.
        results: JSON files of rows or tables measured before, to be put beside.
        batch_size: items measured at once.
        device: such as "cpu" or "cuda".

    Raises:
        UserError: a run has no row in this table or lacks a capability, no item is common to all
            rows, or two rows were measured under different protocols.
    """
    stored = [result for path in results for result in load_results(path)]
    measure_class: type[Measure] = load(table.measure)
    rows = [_row(table, run, measure_class.requires) for run in runs]
    processes = Processes.detect()
    place = processes.device(device)
    measure = measure_class(Settings(samples, batch_size, place))
    items, protocol = measure.items(), dict(measure.protocol())

    measured: list[Result] = []
    for run, row in zip(runs, rows, strict=True):
        started = time.monotonic()
        method = load_method(run).to(place)
        own = method.items()
        chosen = items if own is None else [item for item in items if item in set(own)]
        if not chosen:
            raise UserError(
                f"{run.path}: fitted to test items {own}, none of the first {samples} of table "
                f"'{table.name}'; expected a run that shares items with it"
            )
        values = _shared_out(
            processes, row, chosen, batch_size, lambda batch, m=method: measure.method(m, batch)
        )
        facts = _provenance(run, dict(method.extra_metadata()), time.monotonic() - started)
        result = Result(
            table.name, row, _shown(run.path), measure.data, protocol, chosen, values, facts
        )
        _store(processes, result, run.path / "tables" / f"{table.name}.row.json")
        measured.append(result)
        del method

    given = {result.row for result in stored}
    for row in (row for row in measure.baselines if row not in given):
        started = time.monotonic()
        values = _shared_out(
            processes, row, items, batch_size, lambda batch, r=row: measure.baseline(r, batch)
        )
        facts = _provenance(None, {}, time.monotonic() - started)
        result = Result(table.name, row, "baseline", measure.data, protocol, items, values, facts)
        name = "-".join(re.findall(r"\w+", row.lower()))
        _store(processes, result, runs_root / "tables" / f"{table.name}.{name}.row.json")
        measured.append(result)

    numbers, reasons = _papers(table)
    merged = merge(table, [*measured, *stored], numbers, reasons)
    if out is not None and processes.rank == 0:
        write_table(merged, out)
    return merged


def _row(table: TableSpec, run: Run, requires: frozenset[str]) -> str:
    row = run.spec.row(table.name, to_dict(run.config))
    if row is None:
        raise UserError(
            f"{run.path}: a run of '{run.spec.name}' with preset '{run.config.preset}' has no row "
            f"in table '{table.name}'"
        )
    missing = sorted(requires - run.spec.capabilities)
    if missing:
        raise UserError(
            f"{run.path}: method '{run.spec.name}' cannot {', '.join(missing)}, which table "
            f"'{table.name}' needs"
        )
    return row


def _shared_out(
    processes: Processes,
    row: str,
    items: Sequence[int],
    batch_size: int,
    measure: Callable[[Sequence[int]], Values],
) -> Values:
    """Measure whole batches in turn on each process, and put the numbers in the items' order."""
    batches = [items[start : start + batch_size] for start in range(0, len(items), batch_size)]

    def mine() -> list[tuple[int, Values]]:
        share = range(processes.rank, len(batches), processes.size)
        shown = track(
            share,
            f"measuring {row}",
            console=Console(stderr=True),
            transient=True,
            disable=processes.rank != 0,
        )
        with torch.no_grad():
            return [(index, measure(batches[index])) for index in shown]

    parts = sorted(part for share in processes.gather(mine) for part in share)
    metrics = parts[0][1]
    return {key: [value for _, values in parts for value in values[key]] for key in metrics}


def _store(processes: Processes, result: Result, path: Path) -> None:
    if processes.rank == 0:
        save_result(result, path)


def _papers(table: TableSpec) -> tuple[list[Reported], dict[str, str]]:
    """Return the methods' own reported numbers, and why rows without a run are not measured."""
    numbers: list[Reported] = []
    reasons = {reported.row: "reported only" for reported in table.reported}
    for spec in registry("methods").specs.values():
        own = [reported for reported in spec.reported if reported.table == table.name]
        numbers += own
        reasons |= {reported.row: f"no run of '{spec.name}' given" for reported in own}
    return numbers, reasons


def _provenance(run: Run | None, networks: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    facts: dict[str, Any] = {"measured": {**_environment(), "seconds": round(seconds, 2)}}
    if run is not None:
        config = to_dict(run.config)
        trained = ("time", "gan3d_bench", "commit", "machine")
        facts |= {
            "method": run.spec.name,
            "preset": run.config.preset,
            "seed": run.config.seed,
            "config_sha256": hashlib.sha256(
                json.dumps(config, sort_keys=True).encode()
            ).hexdigest(),
            "checkpoint_sha256": _sha256_of_file(run.checkpoint),
            "trained": {key: run.environment.get(key) for key in trained},
            "networks": json.loads(json.dumps(networks, default=str)),
        }
    return facts


def _environment() -> dict[str, Any]:
    facts = environment.describe()
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
