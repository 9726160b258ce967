"""`figures`: the papers' figures of a run by one command, as a user runs it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gan3d_bench.assets.fetch import fetch
from gan3d_bench.files.run_folder import Run

Cli = Callable[..., Any]
TILE, GUTTER = 128, 4
LIFTEDGAN = {"yaw", "pitch", "relight", "manipulation", "interpolation", "style"}


@pytest.fixture
def run(untrained: Callable[..., Run]) -> Run:
    return untrained("liftedgan")


@pytest.fixture
def pictures(toy: Path) -> list[Path]:
    paths = [toy / "a.png", toy / "b.png"]
    for path in paths:
        Image.effect_noise((32, 32), 80).convert("RGB").save(path)
    return paths


def drawn(found: Any, folder: Path) -> dict[str, Image.Image]:
    """What the command wrote, having checked that it says so."""
    assert found.code == 0, found.out + found.err
    printed = [Path(line) for line in found.out.splitlines()]
    assert set(printed) == set(folder.iterdir())
    return {path.stem: Image.open(path) for path in printed}


def rows(sheet: Image.Image) -> int:
    return sheet.height // (TILE + GUTTER)


def test_a_trained_liftedgan(cli: Cli, toy: Path) -> None:
    fit = ("fit", "--method", "liftedgan", "--preset", "check", "steps=2")
    assert cli(*fit, "trainer.accelerator=cpu", "trainer.preview_every=-1").code == 0
    (run,) = Run.find("liftedgan")
    sheets = drawn(
        cli("figures", "--run", run.path, "--count", 2), run.path / "pictures" / "figures"
    )
    assert set(sheets) == LIFTEDGAN | {"faces"}
    assert {name: rows(sheet) for name, sheet in sheets.items()} == {
        "faces": 2, "yaw": 4, "pitch": 4, "relight": 4, "manipulation": 4, "interpolation": 2,
        "style": 3,
    }  # fmt: skip
    assert sheets["yaw"].width - sheets["pitch"].width == 2 * (TILE + GUTTER)


def test_the_seed_chooses_the_subjects(cli: Cli, run: Run, toy: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        command = ("figures", "--run", run.path, "--count", 1, "--seed", seed, "--out", name)
        assert cli(*command).code == 0
    for sheet in ("faces", "yaw", "interpolation", "style"):
        one, again, other = (
            (toy / x / f"{sheet}.png").read_bytes() for x in ("one", "again", "other")
        )
        assert one == again != other


def test_own_subjects_and_styles(cli: Cli, run: Run, pictures: list[Path], toy: Path) -> None:
    first, second = pictures
    given = ("--image", first, "--style", second, "--style", first, "--align", "none")
    sheets = drawn(cli("figures", "--run", run.path, *given, "--out", "out"), Path("out"))
    assert set(sheets) == LIFTEDGAN
    assert rows(sheets["yaw"]) == 2
    assert rows(sheets["style"]) == 3


@pytest.mark.network
def test_photographs_are_aligned(cli: Cli, run: Run, toy: Path) -> None:
    fetch("scrfd-500m")
    astronaut = files("skimage") / "data" / "astronaut.png"
    sheets = drawn(
        cli("figures", "--run", run.path, "--image", astronaut, "--out", "out"), Path("out")
    )
    assert rows(sheets["pitch"]) == 2


@pytest.mark.parametrize(
    ("method", "overrides", "expected"),
    [
        ("toy", (), {"faces", "yaw", "pitch", "relight"}),
        ("supervised", (), {"yaw", "pitch"}),
        ("stylegan2", (), {"faces", "yaw", "pitch", "interpolation", "style"}),
        ("stylegan2", ("network.z_dim=16",), {"faces", "interpolation", "style"}),
    ],
)
def test_other_methods_draw_what_they_can(
    cli: Cli,
    untrained: Callable[..., Run],
    method: str,
    overrides: tuple[str, ...],
    expected: set[str],
) -> None:
    run = untrained(method, *overrides)
    sheets = drawn(cli("figures", "--run", run.path, "--count", 1, "--out", "out"), Path("out"))
    assert set(sheets) == expected


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--count", "0"), ["--count 0", "1 to 64"]),
        (("--count", "65"), ["--count 65", "1 to 64"]),
        (("--seed", "-1"), ["--seed -1"]),
        (("--align", "celeba"), ["--align celeba", "ffhq or none"]),
        (("--out", "a.png"), ["--out a.png", "is a file"]),
        (("--device", "cdua"), ["--device 'cdua'"]),
        (("--image", "nobody.png", "--align", "none"), ["nobody.png", "no such file"]),
        (("--style", "b.txt", "--align", "none"), ["nobody.png", "no such image"]),
        (("--seed", "1", "--seed", "2"), ["--seed is given 2 times"]),
    ],
)
def test_mistakes(
    refused: Callable[..., str], run: Run, pictures: list[Path], toy: Path, options, parts
) -> None:
    (toy / "b.txt").write_text("nobody.png\n")
    message = refused("figures", "--run", run.path, *options)
    for part in parts:
        assert part in message


def test_what_a_method_cannot_do(
    refused: Callable[..., str], pictures: list[Path], untrained: Callable[..., Run]
) -> None:
    given = (pictures[0], "--align", "none")
    samples, lifts, none = (untrained(x) for x in ("stylegan2", "supervised", "idnet"))
    assert "only samples" in refused("figures", "--run", samples.path, "--image", *given)
    assert "transfers no style" in refused("figures", "--run", lifts.path, "--style", *given)
    assert "has no scene" in refused("figures", "--run", none.path)
    assert "not a run folder" in refused("figures", "--run", "nowhere")
