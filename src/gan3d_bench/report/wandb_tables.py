"""Tables as W&B has them: the whole as a `wandb.Table`, and what a run measured as its summary."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from gan3d_bench.benchmarks import formats
from gan3d_bench.benchmarks.stored import row_slug, rows_in
from gan3d_bench.benchmarks.table import Line, Table
from gan3d_bench.files.json_text import parse_json
from gan3d_bench.files.run_folder import Run
from gan3d_bench.spec import Column
from gan3d_bench.tracking.loggers import RunWandbLogger, measured_tables


def table_key(table: str, row: str = "", metric: str = "") -> str:
    """Return the key of a table, or of a metric of one of its rows: ``table/shape/<row>/side``."""
    return "/".join(["table", table, *([row_slug(row), metric] if row else [])])


def log_table(table: Table, run: Run) -> None:
    """Go on with the W&B run of `run` and log a table it was measured for.

    The table is a `wandb.Table` under ``table/<table>``. The means of the run's own rows are in the
    run's summary under ``table/<table>/<row>/<metric>``. Without ``tracking.wandb=true`` in the
    run's config, and on ranks other than zero, nothing happens.

    Args:
        table: measured and reported rows.
        run: a run with stored rows in `table`.
    """
    if rank_zero_only.rank != 0 or not run.config.tracking.wandb:
        return
    import wandb

    columns, rows = flat(table)
    name = table.spec.name
    logger = RunWandbLogger(run.config, run.path, measured_tables(run.path))
    logger.log_metrics(
        {table_key(name): wandb.Table(columns=columns, data=rows)},  # type: ignore[dict-item]
        step=_steps(run.path),
    )
    logger.experiment.summary.update(own_means(table, run))
    logger.finalize("success")


def flat(table: Table) -> tuple[list[str], list[list[Any]]]:
    """Return headings and rows with every number on its own: None where there is none."""
    headings = ["row"]
    for column in table.columns:
        headings += _headings(table, column)
    rows: list[list[Any]] = []
    for line in table.lines:
        numbers = [value for column in table.columns for value in _numbers(table, line, column)]
        rows.append([line.row, *numbers, line.count or None, line.data, line.run, line.note])
    return [*headings, "N", "data", "run", "note"], rows


def own_means(table: Table, run: Run) -> dict[str, float]:
    """Return the means of the rows that `run` filled, by `table_key`."""
    own = {(row.row, row.run) for row in rows_in(run.tables, table.spec.name)}
    return {
        table_key(table.spec.name, line.row, column.metric): estimate.mean
        for line in table.lines
        for result in line.results
        if (result.row, result.run) in own
        for column in table.columns
        if (estimate := result.estimate(column.metric, table.items)) is not None
    }


def _headings(table: Table, column: Column) -> list[str]:
    measured = formats.name(table, column)
    measured += f" ({column.unit})" if column.unit else ""
    parts = [measured, f"{column.metric} standard error"]
    if table.network(column.metric):
        parts.append(f"{column.metric} network")
    if formats.compared(table, column):
        parts += [f"{column.metric} reported", f"{column.metric} source"]
    return parts


def _numbers(table: Table, line: Line, column: Column) -> list[Any]:
    cell = line.cells[column.metric]
    values: list[Any] = [None, None]
    if cell.measured is not None:
        error = cell.measured.standard_error
        values = [cell.measured.mean, None if math.isnan(error) else error]
    if network := table.network(column.metric):
        values.append(network if cell.measured else None)
    if formats.compared(table, column):
        known = cell.reported
        values += [known.value, known.source] if known else [None, None]
    return values


def _steps(folder: Path) -> int | None:
    """Steps of a finished run."""
    try:
        steps = parse_json((folder / "finished.json").read_text(encoding="utf-8")).get("steps")
    except (OSError, ValueError, AttributeError):
        return None
    return steps if isinstance(steps, int) else None
