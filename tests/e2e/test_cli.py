"""The command line as a user meets it."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gan3d_bench.files.run_folder import Run
from gan3d_bench.machine.environment import installed_version
from gan3d_bench.machine.process_settings import ALLOCATOR, SPIN

FIT = ("fit", "--method", "toy", "--preset", "check", "trainer.accelerator=cpu")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--help"], "fit"),
        (["fit", "--help"], "--resume"),
        (["list", "methods"], "gan2shape"),
        (["list", "presets"], "heads-64 (default)"),
        (["list", "tables"], "shape"),
        (["list", "datamodules"], "heads"),
        (["list", "generators"], "stylegan2"),
        (["list", "assets"], "inception-fid"),
        (["assets", "list"], "inception-fid"),
        (["version"], "0."),
    ],
)
def test_light_commands_import_no_torch(arguments: list[str], expected: str) -> None:
    code = (
        "import sys\n"
        "from gan3d_bench.cli import run\n"
        f"assert run({arguments!r}) == 0\n"
        "print([n for n in ('torch', 'lightning', 'numpy', 'wandb') if n in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert expected in found.stdout
    assert found.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("given", "added"),
    [
        ({}, [*ALLOCATOR, *SPIN]),
        ({"GOMP_SPINCOUNT": "7"}, list(ALLOCATOR)),
        ({"MALLOC_TRIM_THRESHOLD_": "9", "OMP_WAIT_POLICY": "active"}, []),
    ],
)
def test_a_process_is_set_up_once_and_arguments_survive(
    toy: Path, given: dict[str, str], added: list[str]
) -> None:
    """What the user has set stays, and nothing of the same kind is added."""
    names = [*ALLOCATOR, *SPIN]
    environment = {k: v for k, v in os.environ.items() if k not in names} | given
    code = (
        "import sys, os\n"
        "import gan3d_bench.cli as cli\n"
        f"cli.run = lambda a: print(a, [k for k in {names} if k in os.environ]) or 3\n"
        "cli.main()"
    )
    command = [sys.executable, "-c", code, "fit", "--method", "a b", "x='$y'"]
    found = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert found.returncode == 3, found.stderr
    expected = [*given, *(added if sys.platform == "linux" else [])]
    assert (
        found.stdout.strip() == f"{['fit', '--method', 'a b', chr(120) + chr(61) + repr('$y')]} "
        f"{[name for name in names if name in expected]}"
    )


def test_print_config_makes_no_run(cli: Callable[..., Any], toy: Path) -> None:
    shown = cli(*FIT, "seed=4", "--print-config")
    assert shown.code == 0
    config = yaml.safe_load(shown.out)
    assert config["seed"] == 4
    assert config["colour_steps"] == 5
    assert list(toy.iterdir()) == []


def test_fit_eval_render(cli: Callable[..., Any], toy: Path) -> None:
    fitted = cli(*FIT, "trainer.log_every=1", "trainer.preview_every=3")
    assert fitted.code == 0, fitted.err
    (run,) = Run.find("toy", "check")
    for line in ("run:", "checkpoint:", "pictures:", "eval --table toy-depth --run"):
        assert line in fitted.out
    assert "step 9/9" in fitted.err
    assert run.finished
    assert {path.name for path in run.path.iterdir()} == {
        "config.yaml", "environment.json", "metrics.csv", "checkpoints", "pictures", "tables",
        "finished.json", ".lock",
    }  # fmt: skip
    steps = {path.name for path in run.pictures.iterdir()}
    assert steps == {"000003", "000005", "000006", "000009"}  # every third, and ends of phases
    assert (run.pictures / "000009" / "scene.png").stat().st_size > 0
    with open(run.metrics, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(9))
    assert float(rows[0]["train/colour"]) > 0
    assert run.environment["packages"]["lightning"]

    measured = cli("eval", "--table", "toy-depth", "--samples", 3, "--out", "tables")
    assert measured.code == 0, measured.err
    assert "Toy" in measured.out
    assert {path.suffix for path in (toy / "tables").iterdir()} == {".md", ".tex", ".csv", ".json"}
    assert "Toy" in (toy / "tables" / "toy-depth.md").read_text()
    row = json.loads((run.tables / "toy-depth.toy.row.json").read_text())
    assert len(row["values"]["error"]) == 3
    chosen = cli("eval", "--table", "toy-depth", "--samples", 3, "--row", "Toi", "--out", "other")
    assert chosen.code == 2 and "row of these runs 'Toi' (did you mean 'Toy'?)" in chosen.err

    rendered = cli("render", "--run", run.path, "--yaw", -20, "--yaw", 20, "--out", "pictures")
    assert rendered.code == 0, rendered.err
    written = {path.name for path in (toy / "pictures").iterdir()}
    assert {"overview.png", "overview.mp4", "yaw_-20.png", "yaw_+20.png"} <= written
    for line in rendered.out.splitlines():
        assert Path(line).is_file()


def test_seeds_are_a_dimension_of_a_table(cli: Callable[..., Any], toy: Path) -> None:
    for seed in (0, 1):
        assert cli(*FIT, f"seed={seed}").code == 0
    assert cli(*FIT, "seed=2", "colour_steps=3").code == 0  # another setup, and the latest run
    assert cli(*FIT, "seed=0").code == 0
    shown = cli("eval", "--table", "toy-depth", "--samples", 2, "--seeds", 3, "--out", "tables")
    assert shown.code == 0, shown.err
    assert "Toy: 2 of 3 seeds have a finished run" in shown.err
    table = json.loads((toy / "tables" / "toy-depth.json").read_text())
    (row,) = (row for row in table["rows"] if row["row"] == "Toy")
    assert len(row["run"].split("; ")) == 2
    assert row["error"]["between_seeds"] > 0
    seeds = [r["provenance"]["seed"] for r in table["results"] if r["row"] == "Toy"]
    assert sorted(seeds) == [0, 1]
    assert "2 runs with different seeds" in (toy / "tables" / "toy-depth.md").read_text()


def test_a_loss_that_is_not_finite_stops_with_its_name(cli: Callable[..., Any]) -> None:
    found = cli(*FIT, "losses.depth=1e39")
    assert found.code == 1
    last = found.err.splitlines()[-1]
    assert "loss term 'depth' is inf in phase 'depth' at step 0" in last
    assert "Traceback" not in found.err


def test_previews_at_the_end_only(cli: Callable[..., Any]) -> None:
    assert cli(*FIT, "trainer.preview_every=-1").code == 0
    (run,) = Run.find("toy")
    assert [path.name for path in run.pictures.iterdir()] == ["000009"]


def test_doctor_names_everything(cli: Callable[..., Any]) -> None:
    found = cli("doctor")
    for part in ("precision", "instruction sets", "GOMP_SPINCOUNT"):
        assert part in found.out
    for part in ("torch", "cpu", "pytorch3d", "ffmpeg", "inception-fid", "toy", "cache", "free"):
        assert part in found.out
    assert found.code == 0, found.out


def test_doctor_without_pytorch3d(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named with what it would unlock and how to get it, and is no fault."""
    monkeypatch.setitem(sys.modules, "pytorch3d", None)  # what `import` then calls not found
    monkeypatch.setattr(
        "gan3d_bench.commands.doctor.installed_version",
        lambda name: None if name == "easypytorch3d" else installed_version(name),
    )
    found = cli("doctor")
    assert found.code == 0, found.out
    line = next(line for line in found.out.splitlines() if line.split()[0] == "pytorch3d")
    assert "not installed; would unlock engine 'pytorch3d'" in line
    assert "pip install" in line


def test_check_passes_for_a_plugin(
    cli: Callable[..., Any], toy_site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(toy_site))
    found = cli("check", "toy")
    assert found.code == 0, found.out
    lines = found.out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok"] * 9 + ["toy:"]
    for what in (
        "SIGKILL",
        "two processes",
        "reloads",
        "capabilities",
        "depends on its input",
        "fills table toy-depth",
    ):
        assert any(what in line for line in lines)
