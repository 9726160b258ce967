"""``gan3d-bench eval``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from gan3d_bench.config import to_dict
from gan3d_bench.errors import UserError, one_line
from gan3d_bench.files.atomic import require_folder
from gan3d_bench.files.run_folder import Run, runs_root
from gan3d_bench.machine.device import require_device
from gan3d_bench.registry import registry
from gan3d_bench.terminal import say


def evaluate(
    table: str,
    paths: Sequence[Path],
    methods: Sequence[str],
    samples: int | None,
    out: Path | None,
    results: Sequence[Path],
    device: str,
    latest: bool = False,
    fresh: bool = False,
    networks: Sequence[str] = (),
    seeds: int = 1,
    rows: Sequence[str] = (),
) -> int:
    """Measure runs for a table, print it and write it to `out`; return the exit code.

    Without `samples` the table's standard number of items; with `rows` these rows of the runs
    only. With `seeds`, of each of the latest runs also those before it that differ in the seed
    alone, until there are so many.

    Raises:
        UserError: unknown table or method, no finished run, a run that is not of this table.
    """
    spec = registry("tables").get(table)
    count: int = spec.samples if samples is None else samples
    for text in networks:
        if not all(text.partition("=")):
            raise UserError(f"--network {text!r}: expected METRIC=NAME, such as identity=FILE")
    metrics = [text.partition("=")[0] for text in networks]
    for metric in metrics:
        if (times := metrics.count(metric)) > 1:
            raise UserError(f"--network {metric}=...: given {times} times; expected once")
    runs = choose_runs(table, paths, methods, latest, seeds)
    for path in results:
        if not os.path.isfile(path):
            raise UserError(f"--results {path}: no such file; expected a table's JSON file")
    folder = out or (runs[-1].tables if runs else runs_root() / "tables")
    require_folder("--out", folder)

    from lightning.pytorch.utilities.rank_zero import rank_zero_only
    from rich.console import Console

    from gan3d_bench.benchmarks import runner
    from gan3d_bench.benchmarks.formats import render
    from gan3d_bench.report.wandb_tables import log_table

    measured = runner.evaluate(
        spec,
        runs,
        samples=count,
        out=folder,
        runs_root=runs_root(),
        results=list(results),
        device=require_device(device),
        fresh=fresh,
        networks=dict(text.split("=", 1) for text in networks),
        only=rows,
    )
    if rank_zero_only.rank == 0:
        Console().print(render(measured, "rich"))
        say(f"tables: {folder}")
        for run in runs:
            say(f"pictures: {run.pictures}")
            log_table(measured, run)
    return 0


def choose_runs(
    table: str,
    paths: Sequence[Path] = (),
    methods: Sequence[str] = (),
    latest: bool = False,
    seeds: int = 1,
) -> list[Run]:
    """Return the runs of a table: those named, and the latest finished one of each row.

    The latest are those of `methods`; of every method if `latest`, or if nothing is named. With
    them come earlier ones that differ in the seed alone, up to `seeds` of a row.

    Raises:
        UserError: a run has no place in the table, or a method has no finished run.
    """
    runs = [Run.open(path) for path in paths]
    for run in runs:
        if not run.spec.rows(table, to_dict(run.config)):
            raise UserError(
                f"--run {run}: a run of '{run.spec.name}' has no row in table '{table}'"
            )
    for method in methods:
        registry("methods").get(method)
        found = _latest_by_row(table, method, seeds)
        if not found:
            raise UserError(
                f"--method {method}: no finished run with a row in table '{table}' under "
                f"{runs_root()}; expected one made by: gan3d-bench fit --method {method}"
            )
        runs += found
    if latest or not (paths or methods):
        for method in registry("methods").names():
            runs += _latest_by_row(table, method, seeds)
    return list({run.path.resolve(): run for run in runs}.values())


def _latest_by_row(table: str, method: str, seeds: int) -> list[Run]:
    rows: dict[str, list[Run]] = {}  # oldest first
    for run in Run.find(method):
        if not run.finished:
            continue
        try:
            filled = run.spec.rows(table, to_dict(run.config))
        except UserError as error:  # a run of an older version must not hide the others
            say(one_line(f"left out: {error}"), file=sys.stderr)
            continue
        for row in filled:
            rows.setdefault(row, []).append(run)
    chosen = []
    for row, runs in rows.items():
        alike = {run.config.seed: run for run in runs if run.setup == runs[-1].setup}
        newest = sorted(alike.values(), key=runs.index)[-seeds:]
        if len(newest) < seeds:
            say(f"{row}: {len(newest)} of {seeds} seeds have a finished run", file=sys.stderr)
        chosen += newest
    return chosen
