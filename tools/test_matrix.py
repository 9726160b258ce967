"""Run the tests on the Pythons and the torch versions that the suite supports.

    python tools/test_matrix.py --folder DIR [--only NAME] [--python 3.10=FILE] [-- ARGUMENTS]

Each combination gets an environment of its own in DIR (about 5 GB each), made by uv and kept for
the next time. The summary lines go into results/measurements/test-matrix.json as each combination
ends, so a run that was stopped goes on with `--only`. With ARGUMENTS for pytest the lines are only
printed: a part of the tests is no result.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "measurements" / "test-matrix.json"
SHOWN = ("torch", "torchvision", "lightning", "easypytorch3d", "kornia", "torchmetrics", "numpy")
SUMMARY = re.compile(r"\b\d+ (passed|failed|errors?|skipped)\b.* in [\d.]+s")


@dataclass(frozen=True)
class Combination:
    """A Python and the packages that decide; the others are the newest that fit."""

    python: str
    packages: tuple[str, ...]
    extras: str


COMBINATIONS = {
    "python3.10-torch2.11": Combination("3.10", ("torch==2.11.*",), "test,pytorch3d"),
    "python3.12-torch2.12": Combination("3.12", ("torch==2.12.*",), "test,pytorch3d"),
    "newest-torch-without-pytorch3d": Combination("3.12", ("torch>=2.13",), "test"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where environments are made")
    parser.add_argument("--only", choices=COMBINATIONS, action="append", help="may be repeated")
    parser.add_argument(
        "--python", action="append", default=[], metavar="VERSION=FILE", help="an interpreter"
    )
    parser.add_argument("--uv", default=None, help="default: on the path or beside this Python")
    parser.add_argument("--workers", type=int, default=2, help="processes of pytest")
    parser.add_argument("arguments", nargs="*", help="of pytest, after --")
    args = parser.parse_args()
    uv = args.uv or shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    given = dict(text.split("=", 1) for text in args.python)

    failed = 0
    for name in args.only or COMBINATIONS:
        chosen = COMBINATIONS[name]
        python = given.get(chosen.python) or find_python(uv, chosen.python)
        environment = args.folder / name
        make(uv, environment, python, chosen)
        began = time.monotonic()
        code, summary = run_tests(environment, args.workers, args.arguments)
        print(f"{name}: {summary}", flush=True)
        failed += code != 0
        if not args.arguments and code in (0, 1):  # else stopped half way, which is no result
            store(
                name,
                {
                    "requested": asdict(chosen),
                    "versions": versions(environment),
                    "summary": summary,
                    "exit_code": code,
                    "minutes": round((time.monotonic() - began) / 60, 1),
                    "commit": commit(),
                    "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
                },
            )
    return 1 if failed else 0


def find_python(uv: str, version: str) -> str:
    """Return the interpreter of this version that uv finds, else stop with a word on --python."""
    found = subprocess.run([uv, "python", "find", version], capture_output=True, text=True)
    if found.returncode:
        sys.exit(f"no Python {version} found; expected one on the path or --python {version}=FILE")
    return found.stdout.strip()


def make(uv: str, folder: Path, python: str, chosen: Combination) -> None:
    """Make the environment, or bring one that is there up to date."""
    interpreter = folder / "bin" / "python"
    if not interpreter.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([uv, "venv", "--quiet", "--python", python, folder], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", interpreter]
    suite = f"gan3d-bench[{chosen.extras}] @ {ROOT.as_uri()}"
    subprocess.run([*install, *chosen.packages, suite], check=True)
    # the sources themselves, so that a change counts at once
    subprocess.run([*install, "--no-deps", "--editable", ROOT], check=True)


def run_tests(folder: Path, workers: int, arguments: Sequence[str]) -> tuple[int, str]:
    """Run pytest in the environment, show what it prints, return its exit code and last line."""
    command = [folder / "bin" / "python", "-m", "pytest", "-n", str(workers), "-rfE", *arguments]
    path = os.pathsep.join([str(folder / "bin"), os.environ.get("PATH", "")])
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": path}
    variables.pop("PYTHONPATH", None)  # another copy of the suite must not come in
    summary = "no summary: pytest did not start"
    with subprocess.Popen(
        [*command, "--dist", "worksteal"],
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if SUMMARY.search(line):
                summary = line.strip("= \n")
    return process.returncode, summary


def versions(folder: Path) -> dict[str, str | None]:
    """Return the versions of Python and of the packages that matter in the environment."""
    code = (
        "import json, platform, sys; from importlib.metadata import distributions\n"
        "found = {d.metadata['Name'].lower(): d.version for d in distributions()}\n"
        "shown = {name: found.get(name) for name in sys.argv[1:]}\n"
        "print(json.dumps({'python': platform.python_version(), **shown}))"
    )
    command = [folder / "bin" / "python", "-c", code, *SHOWN]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def store(name: str, result: dict[str, Any]) -> None:
    """Put one combination's result beside those that are stored."""
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    stored[name] = result
    RESULTS.write_text(json.dumps(stored, indent=1) + "\n")


def commit() -> str:
    """Return the commit of the sources, with ``+dirty`` for local changes."""
    head, changed = (
        subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()
        for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--", "src", "tests"))
    )
    return head + ("+dirty" if changed else "")


if __name__ == "__main__":
    sys.exit(main())
