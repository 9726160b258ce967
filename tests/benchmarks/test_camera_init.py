"""Table `camera-init`: learnt cameras of a run against the exact ones."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gan3d_bench.benchmarks.camera_init.measure import CameraInitMeasure
from gan3d_bench.benchmarks.measure import Settings
from gan3d_bench.errors import UserError

AZIMUTHS = [12.0 + 29 * number for number in range(12)]


def cameras(turned: float = 0.0, wrong: float = 0.0) -> list[dict[str, float]]:
    """True cameras, the world turned by as much, and every second one wrong by as much."""
    return [
        {
            "bin_azimuth": 30.0 * round(azimuth / 30),
            "azimuth": azimuth + turned + (wrong if number % 2 else 0.0),
            "elevation": 5.0 + number,
            "distance": 1.0,
            "true_azimuth": azimuth,
            "true_elevation": 5.0 + number,
        }
        for number, azimuth in enumerate(AZIMUTHS)
    ]


def measured(folder: Path, content: object, samples: int = 100):
    (folder / "results").mkdir(exist_ok=True)
    (folder / "results" / "cameras.json").write_text(json.dumps(content))
    measure = CameraInitMeasure(Settings(samples, 8, torch.device("cpu")))
    measure.open(SimpleNamespace(path=folder))  # type: ignore[arg-type]
    items = measure.items()
    measure.begin(None, "", items)  # type: ignore[arg-type]
    return measure.method(None, "", items), measure.sets()  # type: ignore[arg-type]


def test_the_true_cameras_are_perfect_however_the_world_is_turned(tmp_path):
    values, sets = measured(tmp_path, cameras(turned=70.0))
    assert len(values["axis"]) == 12
    for name in ("axis", "angle", "rotation"):
        assert max(values[name]) < 1e-4
        assert sets[f"{name}_max"].mean == pytest.approx(max(values[name]))
    # the bins are off by up to half a bin, and by the elevation
    assert min(values["rotation_bins"]) > 0.5 and max(values["rotation_bins"]) < 20
    assert values["gain"] == pytest.approx(values["rotation_bins"], abs=1e-4)


def test_wrong_cameras_are_told_by_how_much(tmp_path):
    values, sets = measured(tmp_path, cameras(wrong=4.0), samples=10)
    assert len(values["rotation"]) == 10
    assert values["rotation"] == pytest.approx([2.0] * 10, abs=0.05)  # half is the world's turn
    assert sets["rotation_max"].count == 12


def broken(**changes: object) -> list[object]:
    found = cameras()
    found[3] = {**found[3], **changes}
    return found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "expected a list of two cameras"),
        (cameras()[:1], "expected a list of two cameras"),
        ([1, 2], "camera 0: 1; expected a mapping"),
        (broken(elevation=91), "camera 3: elevation=91; expected a number from -90 to 90"),
        (broken(azimuth="1"), "camera 3: azimuth='1'"),
        (broken(distance=True), "camera 3: distance=True"),
        (broken(azimuth=float("nan")), "camera 3: azimuth=nan"),
        (broken(true_azimuth=None), "camera 3: true_azimuth=None"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        measured(tmp_path, content)


def test_a_run_without_cameras_is_refused(tmp_path):
    measure = CameraInitMeasure(Settings(4, 8, torch.device("cpu")))
    with pytest.raises(UserError, match=r"results/cameras.json: no such file; expected the cam"):
        measure.open(SimpleNamespace(path=tmp_path))  # type: ignore[arg-type]
    (tmp_path / "results" / "cameras.json").mkdir(parents=True)
    with pytest.raises(UserError, match="is a folder"):
        measure.open(SimpleNamespace(path=tmp_path))  # type: ignore[arg-type]
