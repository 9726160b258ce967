"""`directions`: which way in W a teacher's faces turn, as a user finds out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gan3d_bench.assets.fetch import fetch
from gan3d_bench.generators.directions import KINDS, Directions

Cli = Callable[..., Any]
FIND = ("directions", "--out", "out", "--device", "cpu", "--samples", "60")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetches the networks; makes everything but the samples fewer."""
    for asset in ("scrfd-500m", "arcface-mbf"):
        fetch(asset)
    monkeypatch.setattr("gan3d_bench.datamodules.head_yaw.HEADS", 32)
    for name, value in {"TRIALS": 2, "COUNT": 3, "GANSPACE_SAMPLES": 2000}.items():
        monkeypatch.setattr(f"gan3d_bench.generators.yaw_directions.{name}", value)
    monkeypatch.setattr("gan3d_bench.commands.directions.FACES", 3)


@pytest.mark.network
def test_a_teacher_of_heads_gets_its_directions(cli: Cli, toy: Path, quick: None) -> None:
    found = cli(*FIND, "--teacher", "heads-teacher-64", "--truncation", "0.9", "--seed", "3")
    assert found.code == 0, found.err
    images = 60 + 2 * 2 * 7 + 4 * 7 * 3
    assert f"turning faces: step {images}/{images}" in found.err
    for word in ("regression", "hyperplane", "SeFa", "GANSpace", "-40°", "R2", "directions.png"):
        assert word in found.out
    assert {path.name for path in (toy / "out").iterdir()} == {
        *("card.json", "directions.png", "directions.safetensors")
    }
    directions = Directions.load(toy / "out")
    card = directions.card
    assert directions.sefa.shape == (3, 256)
    assert card["teacher"]["name"] == "heads-teacher-64"
    assert card["teacher"]["same_w"] == ["heads-teacher-64"]
    assert len(card["teacher"]["sha256"]) == 3
    assert (card["samples"], card["truncation"], card["seed"]) == (60, 0.9, 3)
    assert card["regression"]["r2"] > 0.5
    assert card["pose"]["faces"] >= 55
    turned = card["turned"]["regression"]
    assert turned["mean"] == sorted(turned["mean"])
    assert turned["mean"][0] < -15 < 15 < turned["mean"][-1]
    front = card["turned"]["yaw_deg"].index(0)
    assert set(card["turned"]) == {"faces", "yaw_deg", *KINDS}
    for kind in KINDS:
        assert card["turned"][kind]["cosine"][front] == pytest.approx(1)
    assert "SCRFD" in card["networks"]["yaw"] and "ArcFace" in card["networks"]["cosine"]
    assert set(card["environment"]["assets"]) == {"heads", "scrfd-500m", "arcface-mbf"}
    with Image.open(toy / "out" / "directions.png") as sheet:
        assert sheet.width > 7 * 128 and sheet.height > 6 * 128


@pytest.mark.network
def test_a_teacher_without_faces_is_refused(cli: Cli, toy: Path, quick: None) -> None:
    found = cli(*FIND, "--teacher", "random-16")
    assert found.code == 2
    *_, last = found.err.splitlines()
    assert last.startswith("gan3d-bench: error: --teacher random-16: a face in ")
    assert not (toy / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--samples", "49"), "--samples 49: expected from 50 to 100000"),
        (("--truncation", "0"), "--truncation 0.0: expected above 0, at most 1"),
        (("--seed", "-1"), "--seed -1"),
        (("--image-size", "100"), "--image-size 100: expected a power of two"),
        (("--out", "file"), "--out file: expected a folder"),
        (("--device", "abacus"), "--device 'abacus'"),
        (("--teacher", "nobody"), "teacher='nobody': no teacher"),
    ],
)
def test_options_out_of_range(cli: Cli, toy: Path, arguments: tuple, message: str) -> None:
    (toy / "file").touch()
    options = {"--teacher": "random-16", "--out": "out", **dict([arguments])}
    found = cli("directions", *(part for option in options.items() for part in option))
    assert found.code == 2
    assert message in found.err
    assert not (toy / "out").exists()
