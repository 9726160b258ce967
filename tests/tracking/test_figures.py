"""Sheets of scenes: which picture stands where, and what light it shows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gan3d_bench.geometry.views import View
from gan3d_bench.pictures.scene_grids import GRID_LIGHTS, brightness, side_light
from gan3d_bench.pictures.scene_sheets import Sheet, scene_sheets
from gan3d_bench.rendering.shading import LambertLight

sys.path.insert(0, str(Path(__file__).parent))
from toy_scenes import HeadScene, PictureScene


def labels(sheet: Sheet) -> list[list[str]]:
    return [[column.label for column in group] for group in sheet.groups]


def column(sheet: Sheet, label: str) -> Tensor:
    (found,) = (c.pictures for group in sheet.groups for c in group if c.label == label)
    return found


def dot(pictures: Tensor) -> Tensor:
    """Column of the blue dot on the cheek, (B,)."""
    blue = (pictures[:, 2] - pictures[:, 0]).clamp(min=0.2) - 0.2
    place = torch.arange(pictures.shape[3], dtype=torch.float32)
    return (blue.sum(1) @ place) / blue.sum((1, 2)).clamp(min=1e-6)


def test_sweeps_are_those_of_the_paper() -> None:
    sheets = scene_sheets(HeadScene(2))
    (yaws,), (pitches,) = labels(sheets["yaw"]), labels(sheets["pitch"])
    assert [yaws[0], yaws[4], yaws[8], len(yaws)] == ["yaw -60°", "yaw 0°", "yaw +60°", 9]
    assert [pitches[0], pitches[3], len(pitches)] == ["pitch -30°", "pitch 0°", 7]
    assert sheets["yaw"].names == ["1", "1 shape", "2", "2 shape"]


def test_positive_yaw_turns_to_the_right() -> None:
    sheet = scene_sheets(HeadScene(2))["yaw"]
    left, front, right = (dot(column(sheet, f"yaw {x}°")[::2]) for x in ("-15", "0", "+15"))
    assert (left < front).all() and (front < right).all()


def test_each_light_brightens_its_side() -> None:
    scene = HeadScene(2)
    sheet = scene_sheets(scene)["relight"]
    assert labels(sheet) == [["own light"], [f"light {name}" for name in GRID_LIGHTS]]
    assert sheet.names == ["1", "1 shading", "2", "2 shading"]
    own = column(sheet, "own light")
    assert own[1, 2].mean() > own[1, :2].mean() + 0.2  # normals: blue to the viewer
    left, right = (column(sheet, f"light {side}")[1::2, 0] for side in ("left", "right"))
    covered = scene.render(View.from_angles([0.0] * 2)).mask[:, 0] > 0
    across = torch.where(covered, left - right, 0.0)
    half = across.shape[2] // 2
    assert (across[..., :half].sum((1, 2)) > 1).all()
    assert (across[..., half:].sum((1, 2)) < -1).all()


@pytest.mark.parametrize("strength", [0.5, 3.0])
def test_relighting_keeps_the_exposure(strength: float) -> None:
    scene = HeadScene(2)
    view = View.from_angles([0.0] * 2)
    own = scene.render(view, LambertLight.frontal(2, strength / 4, strength * 3 / 4))
    for direction in GRID_LIGHTS.values():
        lit = scene.render(view, side_light(own, direction))
        assert brightness(lit) == pytest.approx(brightness(own), rel=0.1)


def test_a_scene_without_geometry_is_only_turned() -> None:
    sheets = scene_sheets(PictureScene(3))
    assert set(sheets) == {"yaw", "pitch"}
    assert sheets["yaw"].names == ["1", "2", "3"]


def test_pictures_are_shown_large_enough_and_no_larger_than_of_use() -> None:
    widths = {}
    for size in (32, 200, 400):
        (group,) = scene_sheets(PictureScene(1, size))["pitch"].groups
        one, two = (Sheet([group[:n]]).image().width for n in (1, 2))
        widths[size] = (two - one) // 4 * 4
    assert widths == {32: 132, 200: 204, 400: 264}
