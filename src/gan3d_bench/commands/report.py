"""``gan3d-bench report``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from gan3d_bench.benchmarks.results import write_text
from gan3d_bench.benchmarks.stored import Stored, assemble
from gan3d_bench.commands.compare import RESULTS, choose_stored
from gan3d_bench.errors import UserError
from gan3d_bench.files.atomic import require_folder, require_name
from gan3d_bench.files.run_folder import Run, runs_root
from gan3d_bench.registry import registry
from gan3d_bench.report.page import Section, page
from gan3d_bench.report.showcase import figures, groups
from gan3d_bench.terminal import say


def report(files: Sequence[Path], paths: Sequence[Path], out: Path | None) -> int:
    """Write stored rows of every table and what their runs look like as one HTML file.

    Raises:
        UserError: nothing stored, damaged files, rows of an unknown table, rows that were measured
            under different protocols, or `out` cannot be written.
    """
    target = out or runs_root() / "report.html"
    require_name("--out", target)
    if target.is_dir():
        raise UserError(f"--out {target}: is a folder; expected an HTML file")
    require_folder("--out", target.parent)
    stored = choose_stored(files, paths, registry("tables").names())
    for row in stored.of_files:
        registry("tables").get(row.table)
    sections = [_section(stored, name) for name in registry("tables").names()]
    runs = _runs(stored, sections)
    shown = groups(runs)
    measured = [section for section in sections if section.table.results]
    if not measured and not shown:
        raise UserError(
            f"no stored rows of any table under {runs_root()} or in {RESULTS}; expected those "
            f"made by: gan3d-bench eval --table {registry('tables').names()[0]}"
        )
    unmeasured = [s for s in sections if not s.table.results and not s.table.spec.measure]
    write_text(target, page([*measured, *unmeasured], shown))
    say(target)
    return 0


def _section(stored: Stored, name: str) -> Section:
    table = assemble(registry("tables").get(name), stored.rows(name))
    if not table.results:
        return Section(table)
    folders = [file.parent for file in stored.files]
    if not stored.files:
        folders = [stored.root / "tables", *(Path(row.run) / "tables" for row in table.results)]
    return Section(table, *figures(name, folders))


def _runs(stored: Stored, sections: Sequence[Section]) -> list[Run]:
    """Return the runs named, and those of the rows as far as their folders are here."""
    named = [Path(row.run) for section in sections for row in section.table.results]
    # os.path.isfile: False for names that cannot be, too
    here = [Run(path) for path in named if os.path.isfile(path / "config.yaml")]
    return list({run.path.resolve(): run for run in (*stored.runs, *here)}.values())
