"""`reconstruct`: photographs of faces to 3D, as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import trimesh
from PIL import Image

from gan3d_bench.assets.fetch import fetch

Cli = Callable[..., Any]
WRITTEN = {
    *("aligned.png", "face.json", "overview.png", "overview.mp4"),
    *("depth.png", "depth16.png", "normal.png", "mesh.glb"),
}
TINY = ("--method", "gan2shape", "--preset", "check", "--out", "out")
FEW = ("--set", "inversion.steps=2", "--set", "prior.steps=2", "--set", "stages=1")
AUTO = ("--set", "trainer.precision=auto")  # the run's config states what that was


@pytest.fixture(scope="module")
def detector() -> None:
    fetch("scrfd-500m")


@pytest.fixture
def astronaut() -> Path:
    return Path(str(files("skimage") / "data" / "astronaut.png"))


@pytest.fixture
def six_faces() -> Path:
    return Path(str(files("insightface") / "data" / "images" / "t1.jpg"))


@pytest.mark.network
def test_photographs_of_seven_people(cli: Cli, toy: Path, detector, astronaut, six_faces):
    """All faces of two photographs in one run; the same command again trains nothing."""
    command = ("reconstruct", astronaut, six_faces, *TINY, *FEW, *AUTO, "--faces", "all")
    found = cli(*command)
    assert found.code == 0, found.err
    names = {"astronaut", *(f"t1-{i}" for i in range(1, 7))}
    folders = {path.name for path in (toy / "out").iterdir()}
    assert folders == names | {"aligned"}
    for name in names:
        folder = toy / "out" / name
        assert {path.name for path in folder.iterdir()} == WRITTEN
        assert Image.open(folder / "aligned.png").size == (512, 512)
        assert len(trimesh.load(folder / "mesh.glb", force="mesh").faces) > 100
        assert 0.5 < json.loads((folder / "face.json").read_text())["score"] <= 1
    aligned = {(toy / "out" / name / "aligned.png").read_bytes() for name in names}
    assert len(aligned) == 7
    runs = list((toy / "runs").glob("gan2shape/check/*"))
    assert len(runs) == 1

    again = cli(*command)
    assert again.code == 0, again.err
    assert list((toy / "runs").glob("gan2shape/check/*")) == runs
    assert "step" not in again.err


@pytest.mark.network
def test_a_trained_run_takes_photographs_as_they_are(cli: Cli, toy: Path, detector, astronaut):
    assert cli("fit", "--method", "supervised", "--preset", "check").code == 0
    run = next((toy / "runs").glob("supervised/check/*"))
    found = cli("reconstruct", astronaut, "--method", "supervised", "--run", run, "--out", "out")
    assert found.code == 0, found.err
    assert (toy / "out" / "astronaut" / "depth.png").is_file()
    assert not (toy / "out" / "aligned").exists()


@pytest.mark.network
def test_a_picture_without_a_face(cli: Cli, toy: Path, detector):
    Image.new("RGB", (200, 100), "grey").save(toy / "wall.png")
    found = cli("reconstruct", "wall.png", *TINY)
    assert found.code == 2
    assert "wall.png" in found.err and "no face found" in found.err
    assert not (toy / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--method", "gan2shap"), ("gan2shap", "gan2shape")),
        (("--method", "supervised"), ("supervised", "--run", "gan2shape")),
        (("--method", "gan2shape", "--preset", "chek"), ("chek", "check")),
        (("--method", "gan2shape", "--faces", "some"), ("--faces some", "largest or all")),
        (("--method", "gan2shape", "--set", "stags=1"), ("stags", "stages")),
        (("--method", "gan2shape", "--set", "data=heads"), ("data=heads", "another key")),
        (("--method", "gan2shape", "--run", "nowhere"), ("nowhere", "run folder")),
    ],
)
def test_mistakes_are_said_before_any_work(
    cli: Cli, toy: Path, astronaut: Path, arguments: tuple[str, ...], words: tuple[str, ...]
):
    found = cli("reconstruct", astronaut, "--out", "out", *arguments)
    assert found.code == 2
    assert len(found.err.strip().splitlines()) == 1
    for word in words:
        assert word in found.err
    assert not (toy / "out").exists()


def test_out_in_the_way(cli: Cli, toy: Path, astronaut: Path):
    (toy / "out").write_text("")
    found = cli("reconstruct", astronaut, *TINY)
    assert found.code == 2
    assert "--out out: expected a folder" in found.err


def test_no_such_photograph(cli: Cli, toy: Path):
    found = cli("reconstruct", "nobody.jpg", *TINY)
    assert found.code == 2
    assert "nobody.jpg" in found.err
