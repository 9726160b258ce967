"""The mutation campaign on fixed seeds: no traceback, no hang, nothing run; and that it notices."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def fuzz(site: Path, *options: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *sys.path])}
    return subprocess.run(
        [sys.executable, ROOT / "tools" / "fuzz.py", *map(str, options)],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip


LIGHT = ("config", "yaml", "results", "arguments")
HEAVY = ("importers", "checkpoints", "pictures", "stopped")  # seconds each: they train or read


@pytest.mark.parametrize(("count", "kinds"), [(60, LIGHT), (6, HEAVY)])
def test_tries_end_well(toy_site: Path, count: int, kinds: tuple[str, ...]) -> None:
    found = fuzz(toy_site, "--count", count, "--seed", 0, "--methods", "toy", "--kinds", *kinds)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "0 went wrong" in found.stdout
    for kind in kinds:
        assert f"\n{kind:12} " in f"\n{found.stdout}"


BAD = {
    "a traceback": "raise ValueError('oops')",
    "no end in time": "import time; time.sleep(60)",
    "memory": "held = bytearray(2 * 2**30)",
    "a file ran something": "open('canary', 'w')",
    "exit code -31": "import os; os.kill(os.getpid(), 31)",
    "exit code 3": "return 3",
    "no line of error": "return 2",
    "2 lines of error": "import sys; [print('gan3d-bench: x', file=sys.stderr) for _ in 'ab']",
    "a control character": "print('\\x1b[2J')",
    "a warning beside": "import sys; print('UserWarning: hm\\ngan3d-bench: x', file=sys.stderr);"
    " return 2",
    "invalid JSON": "import os; os.mkdir('out'); open('out/x.json', 'w').write('[NaN]')",
}


@pytest.mark.parametrize("wrong", BAD)
def test_what_goes_wrong_is_noticed(wrong: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    from fuzzing import process

    monkeypatch.setattr(process, "SECONDS", 2.0 if wrong == "no end in time" else 60.0)
    names: dict = {}
    exec(f"def work():\n    {BAD[wrong]}\n    return 0", names)
    folder = tmp_path / "here"
    folder.mkdir()
    ended = process.forked(names["work"], folder)
    found = process.fault(ended, folder, ended.peak if wrong != "memory" else 0)
    assert wrong in found or (wrong == "a traceback" and found == "ValueError: oops")


def test_a_good_end_is_one(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    from fuzzing.process import fault, forked

    from gan3d_bench import cli

    folder = tmp_path / "here"
    folder.mkdir()
    for line in (["version"], ["list", "nothing"]):
        ended = forked(lambda line=line: cli.run(line), folder)
        assert fault(ended, folder, ended.peak) == ""
