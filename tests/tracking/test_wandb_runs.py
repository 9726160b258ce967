"""What W&B has of runs that were trained and measured offline, read back from its own files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import pytest

from gan3d_bench.benchmarks.results import Result
from gan3d_bench.benchmarks.stored import assemble
from gan3d_bench.registry import registry
from gan3d_bench.report.wandb_tables import flat
from gan3d_bench.spec import Column, Reported, TableSpec
from gan3d_bench.tracking.loggers import read_metrics

sys.path.insert(0, str(Path(__file__).parent))
from wandb_files import Recorded, recorded

pytestmark = pytest.mark.slow

METHODS = registry("methods").names()
TRACKED = ["tracking.wandb=true", "tracking.project=testing", "tracking.tags=[heads]"]
SCRIPT = """
import sys
from functools import partial
from gan3d_bench.cli import run
from gan3d_bench.tracking import media

media.turntable = partial(media.turntable, steps=5)  # that there is a film is what counts
*methods, tracked = sys.argv[1:]
for method in methods:  # what is shown at the end of training; the toy's along the way as well
    shown = [] if method == "toy" else ["trainer.preview_every=-1"]
    assert run(["fit", "--method", method, "--preset", "check", *tracked.split(), *shown]) == 0
assert run(["fit", "--method", "toy", "--preset", "check", "seed=1"]) == 0
from gan3d_bench.files.run_folder import Run
for _ in range(2):
    runs = [text for found in Run.find("toy") for text in ("--run", str(found))]
    assert run(["eval", "--table", "toy-depth", "--samples", "3", "--out", "out", *runs]) == 0
"""


@pytest.fixture(scope="module")
def folder(toy_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every method fitted with W&B, without a login; toys, one without W&B, measured twice."""
    folder = tmp_path_factory.mktemp("tracked")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "NETRC", "GAN3D"))}
    places = {"HOME": str(folder), "GAN3D_BENCH_HOME": str(folder), "PYTHONPATH": str(toy_site)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *METHODS, "toy", " ".join(TRACKED)],
        env={**kept, **places, "OMP_NUM_THREADS": "1"},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert not (folder / "wandb").exists()
    return folder


def run_of(folder: Path, method: str, index: int = 0) -> Path:
    return sorted((folder / "runs" / method / "check").iterdir())[index]


def trained(folder: Path, method: str) -> Recorded:
    return recorded(run_of(folder, method))[0]


@pytest.mark.parametrize("method", [*METHODS, "toy"])
def test_every_method_has_the_same_kinds_of_keys(folder: Path, method: str) -> None:
    own = trained(folder, method)
    assert (own.run.run_group, own.run.project) == (f"{method}-check", "testing")
    assert list(own.run.tags) == ["heads"]
    keys = {key for row in own.history for key in row if not key.startswith("_")}
    keys.remove("trainer/global_step")
    assert all(re.fullmatch(r"(train|val)/\w+|preview/(maps/)?\w+", key) for key in keys)
    assert "train/phase" in keys
    # the same numbers at the same steps as in the run folder
    scalars = [
        {"step": row["trainer/global_step"]}
        | {key: value for key, value in row.items() if key.startswith(("train/", "val/"))}
        for row in own.history
    ]
    written = read_metrics(run_of(folder, method) / "metrics.csv")
    assert [row for row in scalars if len(row) > 1] == [pytest.approx(row) for row in written]


@pytest.mark.parametrize("method", [*METHODS, "toy"])
def test_every_method_shows_what_its_scene_can_give(folder: Path, method: str) -> None:
    media = trained(folder, method).media
    kinds = {key: detail["_type"] for key, detail in media.items()}
    spec = registry("methods").specs.get(method)
    if spec is None or spec.scenes:  # identity networks have no scenes
        assert kinds["preview/scene"] == "images/separated"
        assert kinds["preview/turntable"] == "videos"
    if spec is not None and any("mesh" in can for can in spec.scenes.values()):
        assert kinds["preview/mesh"] == "object3D"
        assert all(name.endswith(".glb") for name in media["preview/mesh"]["filenames"])
    grids = {key for key, kind in kinds.items() if kind == "images/separated"}
    assert grids - {"preview/scene"}  # the method's own images beside the scene
    for detail in media.values():
        for name in detail.get("filenames", []):
            assert list(trained(folder, method).folder.glob(f"files/media/**/{Path(name).name}"))


def test_measuring_goes_on_with_the_run(folder: Path) -> None:
    run = run_of(folder, "toy")
    parts = recorded(run)
    known = (run / "wandb.id").read_text().strip()
    assert [part.run.run_id for part in parts] == [known] * 3
    assert all(part.run.resume for part in parts)
    measured = ["heads", "table:toy-depth"]
    assert [list(part.run.tags) for part in parts] == [["heads"], measured, measured]
    assert {part.run.run_group for part in parts} == {"toy-check"}


def test_the_whole_table_and_the_runs_own_numbers(folder: Path) -> None:
    run = run_of(folder, "toy")
    stored = json.loads((folder / "out" / "toy-depth.json").read_text())
    means = [row["error"]["measured"]["mean"] for row in stored["rows"]]
    runs = [str(run_of(folder, "toy", index).relative_to(folder)) for index in range(2)]
    (mine,) = (row for row in stored["results"] if row["run"] == runs[0])
    for part in recorded(run)[1:]:
        table = part.table("table/toy-depth")
        rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
        assert [(row["row"], row["run"]) for row in rows] == [
            ("Depth one", "baseline"),
            ("Toy", "; ".join(runs)),  # they differ in the seed alone
        ]
        heading = "Mean absolute error (scene units)"
        assert [row[heading] for row in rows] == pytest.approx(means)
        assert rows[1]["error reported"] == 0.0 and rows[1]["N"] == 3
        own = {k: v for k, v in part.summary.items() if k.startswith("table/toy-depth/toy")}
        assert own == {"table/toy-depth/toy/error": pytest.approx(fmean(mine["values"]["error"]))}
        assert not any(key.startswith("table/toy-depth/depth-one") for key in part.summary)
        assert part.history[-1]["trainer/global_step"] == 9  # where training ended


def test_nothing_without_asking(folder: Path) -> None:
    run = run_of(folder, "toy", 1)
    assert list((run / "tables").glob("toy-depth.*"))
    assert not (run / "wandb").exists() and not (run / "wandb.id").exists()


def test_every_number_of_a_table_stands_on_its_own() -> None:
    column = Column("side", "SIDE", unit="×10⁻²", network="A")
    reported = (Reported("t", "Paper", "side", 0.5, "Paper, Table 1"),)
    spec = TableSpec("t", "T", (column,), ("One", "Paper"), "m:M", "how", reported)
    protocol = {"networks": {"side": "B"}}
    one = Result("t", "One", "runs/a", "heads", protocol, [0, 1], {"side": [1.0, 3.0]})
    table = assemble(spec, [one])
    headings, rows = flat(table)
    assert [dict(zip(headings, row, strict=True)) for row in rows] == [
        {
            "row": "One", "SIDE [B] (×10⁻²)": 2.0, "side standard error": 1.0,
            "side network": "B", "side reported": None, "side source": None,
            "N": 2, "data": "heads", "run": "runs/a", "note": "",
        },
        {
            "row": "Paper", "SIDE [B] (×10⁻²)": None, "side standard error": None,
            "side network": None, "side reported": 0.5, "side source": "Paper, Table 1",
            "N": None, "data": "", "run": "", "note": "reported only",
        },
    ]  # fmt: skip
