"""Print the tables of README.md and docs/ from the stored results.

    python tools/readme_tables.py            # rewrite what is stale
    python tools/readme_tables.py --check    # exit 1 and say what is stale

A page holds a table between ``<!-- table: shape -->`` and ``<!-- /table -->``; the numbers come
from ``results/shape.json``, whose ``.md``, ``.tex`` and ``.csv`` are printed from it too. So it is
with ``<!-- table: FOLDER/shape -->`` and ``results/FOLDER/shape.json``.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from gan3d_bench.benchmarks.formats import FORMATS, brief
from gan3d_bench.benchmarks.results import load_results
from gan3d_bench.benchmarks.stored import assemble
from gan3d_bench.benchmarks.table import Table
from gan3d_bench.errors import UserError
from gan3d_bench.registry import registry

ROOT = Path(__file__).parents[1]
NO_TABLES = "measurements"
"""Folder of ``results`` whose files are other things than tables."""
BLOCK = re.compile(r"(<!-- table: ([\w/-]+) -->\n).*?(<!-- /table -->)", re.DOTALL)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Rewrite or check; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 when stale")
    check = parser.parse_args(arguments).check
    try:
        stale = [(path, text) for path, text in printed(root) if _read(path) != text]
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for path, text in stale:
        print(f"{'stale' if check else 'printed'}: {path.relative_to(root)}")
        if not check:
            path.write_text(text, encoding="utf-8")
    if check and stale:
        print("expected what `python tools/readme_tables.py` prints", file=sys.stderr)
    return 1 if check and stale else 0


def printed(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield every file that holds printed tables, and what it should be.

    Raises:
        UserError: results are missing, damaged or of two protocols, or a page names an unknown
            table.
    """
    results = root / "results"
    for path in sorted([*results.glob("*.json"), *results.glob("*/*.json")]):
        if path.parent.name == NO_TABLES:
            continue
        table = stored_table(root, path.relative_to(results).with_suffix("").as_posix())
        for suffix, render in FORMATS.values():
            yield path.with_suffix(f".{suffix}"), render(table)
    for path in (root / "README.md", *sorted((root / "docs").glob("*.md"))):
        text = path.read_text(encoding="utf-8")
        if text.count("<!-- table: ") != len(BLOCK.findall(text)):
            raise UserError(
                f"{path.relative_to(root)}: expected each <!-- table: NAME --> to be closed by "
                "<!-- /table -->"
            )
        yield path, BLOCK.sub(lambda m: f"{m[1]}{_block(root, m[2])}{m[3]}", text)


def _block(root: Path, name: str) -> str:
    return brief(stored_table(root, name), f"results/{name}.json")


def stored_table(root: Path, name: str) -> Table:
    """Return the table of ``results/<name>.json``; `name` may have a folder before it."""
    path = root / "results" / f"{name}.json"
    return assemble(registry("tables").get(path.stem), load_results(path))


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
