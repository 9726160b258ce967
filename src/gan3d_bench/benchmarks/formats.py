"""One table in every format: terminal, Markdown, LaTeX, CSV and JSON. Imports no torch."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.table import Table as RichTable
from rich.text import Text

from gan3d_bench.benchmarks.results import write_text
from gan3d_bench.benchmarks.table import Cell, Line, Table
from gan3d_bench.errors import unknown_name
from gan3d_bench.files import escaping
from gan3d_bench.spec import Column

MISSING = "–"
MARK = "†"


def fixed(value: float, digits: int) -> str:
    """Return `value` with `digits` digits; what rounds to zero has no sign."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def number(column: Column, cell: Cell) -> str:
    """Return ``mean ± standard error (deviation between seeds)`` as far as known, or a dash."""
    if cell.measured is None:
        return MISSING
    text = fixed(cell.measured.mean, column.digits)
    if not math.isnan(cell.measured.standard_error):
        text += f" ± {fixed(cell.measured.standard_error, column.digits)}"
    return text if math.isnan(cell.between) else f"{text} ({fixed(cell.between, column.digits)})"


def reported(column: Column, cell: Cell) -> str:
    """Return the paper's number with its mark, or nothing."""
    return f"{fixed(cell.reported.value, column.digits)}{MARK}" if cell.reported else ""


def name(table: Table, column: Column) -> str:
    """Return the heading of a metric, with the network if it is not the metric's own."""
    network = table.network(column.metric)
    other = network and network != column.network
    return f"{column.heading} [{network}]" if other else column.heading


def heading(table: Table, column: Column) -> str:
    """Return name, unit and direction of a metric, such as ``SIDE (×10⁻²) ↓``."""
    unit = f" ({column.unit})" if column.unit else ""
    return f"{name(table, column)}{unit} {'↑' if column.higher_is_better else '↓'}"


def compared(table: Table, column: Column) -> bool:
    """Whether a paper has numbers of this metric, so that they get a column of their own."""
    return any(line.cells[column.metric].reported for line in table.lines)


def caption(table: Table) -> list[str]:
    """Return what the numbers of a table are."""
    text = "Measured: mean ± standard error over N test items"
    if runs := sorted({len(line.results) for line in table.lines if len(line.results) > 1}):
        text += f", of {' or '.join(map(str, runs))} runs with different seeds where the standard "
        text += "deviation between them follows in brackets"
    lines = [
        f"{text}. Bold: the best mean, where it leads every other measured row by two standard "
        "errors of the difference on the same items."
    ]
    if any(column.difference for column in table.columns):
        lines[0] += " Bold differences are two standard errors above zero."
    if table.spec.bounds:
        lines[0] += f" Bounds, never bold: {', '.join(table.spec.bounds)}."
    if table.sources:
        sources = "; ".join(
            f"{source}, N = {count}" if count else source for source, count in table.sources.items()
        )
        lines.append(f"{MARK} reported, not measured here: {sources}.")
    return [*lines, f"{MISSING} not measured."]


def notes(table: Table, reasons: str = "the last column says why") -> list[str]:
    """Return the lines below a table: what its numbers are and how they were measured."""
    *lines, missing = caption(table)
    lines += [missing.replace(".", f"; {reasons}."), table.spec.protocol]
    if table.protocol:
        settings = "; ".join(f"{key}: {value}" for key, value in table.protocol.items())
        lines.append(f"Measured with {settings}.")
    return lines


def count(line: Line) -> str:
    """Return the number of test items, and the paper's with its mark: ``100 (500†)``."""
    papers = f"{line.reported_count}{MARK}" if line.reported_count else ""
    if not line.count:
        return papers
    return f"{line.count} ({papers})" if papers else str(line.count)


def run_or_note(line: Line) -> str:
    """Return the run a line was measured on, or why it has none."""
    return "; ".join(part for part in (line.run, line.note) if part)


def markdown(table: Table) -> str:
    """Return the table in Markdown, with its caption and notes."""
    header, rows = _numbers(table, bold="**{}**")
    rows = [
        [*row, escaping.markdown(line.data), count(line), escaping.markdown(run_or_note(line))]
        for row, line in zip(rows, table.lines, strict=True)
    ]
    align = [":--", *["--:"] * (len(header) - 1), ":--", "--:", ":--"]
    body = _pipes([[*header, "Data", "N", "Run"], align, *rows])
    title = escaping.markdown(table.spec.title)
    return "\n\n".join([f"**{title}**", body, *map(escaping.markdown, notes(table))]) + "\n"


def brief(table: Table, stored: str) -> str:
    """Return the table in Markdown as a README shows it: numbers, what they are, how made.

    Args:
        table: of results.
        stored: the file that holds them, as a reader finds it.
    """
    header, rows = _numbers(table, bold="**{}**")
    rows = [[*row, count(line)] for row, line in zip(rows, table.lines, strict=True)]
    body = _pipes([[*header, "N"], [":--", *["--:"] * len(header)], *rows])
    made = [result.provenance.get("measured", {}) for result in table.results]
    commits = dict.fromkeys(str(facts.get("commit"))[:7] for facts in made)
    stored = f"{table.spec.title}: {stored}"
    below = [*caption(table), f"{stored}, commit {', '.join(commits)}." if commits else stored]
    return "\n".join([body, "", textwrap.fill(" ".join(below), 100)]) + "\n"


def _numbers(table: Table, bold: str) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of row names, measured numbers and, where there are any, the papers'.

    `bold` is the format of the best numbers.
    """
    header = ["Row"]
    for column in table.columns:
        reports = [f"{column.heading} reported"] if compared(table, column) else []
        header += map(escaping.markdown, [heading(table, column), *reports])
    rows = []
    for line in table.lines:
        row = [escaping.markdown(line.row)]
        for column in table.columns:
            cell = line.cells[column.metric]
            value = number(column, cell)
            row.append(bold.format(value) if cell.marked else value)
            if compared(table, column):
                row.append(reported(column, cell))
        rows.append(row)
    return header, rows


def _pipes(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def latex(table: Table) -> str:
    """Return a LaTeX table (booktabs)."""
    header = ["Row"]
    for column in table.columns:
        arrow = r"$\uparrow$" if column.higher_is_better else r"$\downarrow$"
        unit = f" ({escaping.latex(column.unit)})" if column.unit else ""
        header.append(f"{escaping.latex(name(table, column))}{unit} {arrow}")
        if compared(table, column):
            header.append(f"{escaping.latex(column.heading)} reported")
    body = []
    for line in table.lines:
        row = [escaping.latex(line.row)]
        for column in table.columns:
            cell = line.cells[column.metric]
            value = escaping.latex(number(column, cell))
            row.append(rf"\textbf{{{value}}}" if cell.marked else value)
            if compared(table, column):
                row.append(escaping.latex(reported(column, cell)))
        body.append(" & ".join([*row, escaping.latex(count(line))]) + r" \\")
    said = f"{table.spec.title}. {' '.join(caption(table))}"
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaping.latex(said)}}}",
        rf"\label{{tab:{table.spec.name}}}",
        rf"\begin{{tabular}}{{l{'r' * len(header)}}}",
        r"\toprule",
        " & ".join([*header, "N"]) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def comma_separated(table: Table) -> str:
    """Return CSV: one line per row, full precision, sources included."""
    header = ["row", "data", "items", "run", "note"]
    for column in table.columns:
        header += [
            f"{column.metric}_{part}"
            for part in ("mean", "standard_error", "between_seeds", "reported", "source")
        ]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    for line in table.lines:
        row: list[Any] = [line.row, line.data, line.count or "", line.run, line.note]
        for column in table.columns:
            cell = line.cells[column.metric]
            error = cell.measured.standard_error if cell.measured else math.nan
            row += [
                cell.measured.mean if cell.measured else "",
                "" if math.isnan(error) else error,
                "" if math.isnan(cell.between) else cell.between,
                cell.reported.value if cell.reported else "",
                cell.reported.source if cell.reported else "",
            ]
        writer.writerow(
            [escaping.comma_separated(cell) if isinstance(cell, str) else cell for cell in row]
        )
    return stream.getvalue()


def as_json(table: Table) -> str:
    """Return everything: rows, per-item values, protocol and provenance."""
    rows = []
    for line in table.lines:
        cells = {}
        for column in table.columns:
            cell = line.cells[column.metric]
            measured = dataclasses.asdict(cell.measured) if cell.measured else None
            if measured and math.isnan(measured["standard_error"]):
                measured["standard_error"] = None
            cells[column.metric] = {
                "measured": measured,
                "between_seeds": None if math.isnan(cell.between) else cell.between,
                "reported": cell.reported.value if cell.reported else None,
                "source": cell.reported.source if cell.reported else None,
                "reported_count": (cell.reported.count or None) if cell.reported else None,
            }
        rows.append(
            {"row": line.row, **cells, "data": line.data, "run": line.run, "note": line.note}
        )
    content = {
        "table": table.spec.name,
        "title": table.spec.title,
        "columns": [dataclasses.asdict(column) for column in table.columns],
        "protocol": {"description": table.spec.protocol, **table.protocol},
        "items": list(table.items),
        "rows": rows,
        "results": [result.to_json() for result in table.results],
    }
    return escaping.json(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _block(table: Table, columns: Sequence[Column], first: bool) -> RichTable:
    """Some metrics of a table: of all rows, or with further metrics of those that have one."""
    # with many metrics a paper's number stands below the measured one, and headings wrap
    stacked = len(table.columns) > 2
    title = escaping.terminal(table.spec.title) if first else None
    shown = RichTable(title=title, title_justify="left", show_lines=stacked)
    shown.add_column("Row", min_width=16 if stacked else 24)
    for column in columns:
        named = escaping.terminal(heading(table, column))
        shown.add_column(named, justify="right", no_wrap=not stacked)
        if compared(table, column) and not stacked:
            shown.add_column("reported", justify="right", style="dim", no_wrap=True)
    shown.add_column("N", justify="right", no_wrap=True)
    for line in table.lines:
        cells = [line.cells[column.metric] for column in columns]
        if not first and not any(cell.measured or cell.reported for cell in cells):
            continue
        row = [escaping.terminal(line.row)]
        for column, cell in zip(columns, cells, strict=True):
            value = number(column, cell)
            value = value.replace(" ± ", "±").replace(" (", "\n(") if stacked else value
            text = Text(value, style="bold" if cell.marked else "")
            paper = Text(reported(column, cell), style="dim")
            if stacked and paper:
                text = Text("\n").join((text, paper))
            row.append(text)
            if compared(table, column) and not stacked:
                row.append(paper)
        shown.add_row(*row, Text(count(line).replace(" (", "\n(") if stacked else count(line)))
    return shown


SIDE_BY_SIDE = 3  # metrics that fit 80 columns


def terminal(table: Table) -> Group:
    """Return what the terminal shows: rich tables, their rows' runs or reasons, and the notes.

    Runs and reasons stand below, and of many metrics the further ones in tables of their own, so
    that all fit 80 columns.
    """
    columns = table.columns
    parts = [columns[at : at + SIDE_BY_SIDE] for at in range(0, len(columns), SIDE_BY_SIDE)]
    shown = [_block(table, part, first=part is parts[0]) for part in parts]
    remarks: dict[str, list[str]] = {}
    for line in table.lines:
        if remark := run_or_note(line):
            remarks.setdefault(remark, []).append(line.row)
    below = [f"{remark}: {'; '.join(rows)}." for remark, rows in remarks.items()]
    lines = [escaping.terminal(note) for note in [*below, *notes(table, "see above")]]
    for line in lines:
        line.stylize("dim")
    return Group(*shown, *lines)


def plain(table: Table, width: int = 120) -> str:
    """Return the terminal's table as plain text, for logs."""
    console = Console(width=width, record=True, file=io.StringIO(), color_system=None)
    console.print(terminal(table))
    return console.export_text()


def render(table: Table, form: str) -> Any:
    """Return the table in the format `form`: "rich" (a renderable) or a key of `FORMATS` (text).

    Raises:
        UserError: no such format.
    """
    if form == "rich":
        return terminal(table)
    if form not in FORMATS:
        raise unknown_name("format", form, ("rich", *FORMATS))
    return FORMATS[form][1](table)


FORMATS: Mapping[str, tuple[str, Callable[[Table], str]]] = {
    "markdown": ("md", markdown),
    "latex": ("tex", latex),
    "csv": ("csv", comma_separated),
    "json": ("json", as_json),
}
"""Format name -> (file suffix, function)."""


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write ``<folder>/<table>.{md,tex,csv,json}``; returns the paths."""
    paths = []
    for suffix, function in FORMATS.values():
        path = folder / f"{table.spec.name}.{suffix}"
        write_text(path, function(table))
        paths.append(path)
    return paths
