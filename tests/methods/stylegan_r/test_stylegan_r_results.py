"""What a StyleGAN-R run leaves for the tables, and which of their rows it fills."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from gan3d_bench.benchmarks.camera_init.measure import read_cameras
from gan3d_bench.cars.sampling import NUM_LATENTS
from gan3d_bench.config import compose, to_dict
from gan3d_bench.errors import UserError
from gan3d_bench.methods.stylegan_r.cameras import ViewCameras
from gan3d_bench.methods.stylegan_r.method import StyleGANR
from gan3d_bench.methods.stylegan_r.spec import MIXING, NEURAL, SPEC
from gan3d_bench.methods.stylegan_r.subjects import shown_by
from gan3d_bench.methods.stylegan_r.views import views_of_class
from gan3d_bench.registry import registry
from gan3d_bench.spec import RECONSTRUCT

CARS = cast(Any, SimpleNamespace(z_dim=NUM_LATENTS))  # what a teacher of cars is known by


def leave(views: str, folder: Path) -> ViewCameras:
    found = views_of_class("cars", CARS, 60, 1, exact=False)
    cameras = ViewCameras(found.azimuths, found.elevations)
    with torch.no_grad():
        cameras.azimuth += 0.1
    run = SimpleNamespace(
        cameras=cameras, views=found, config=SimpleNamespace(views=views), generator=CARS
    )
    StyleGANR.write_results(cast(Any, run), folder)
    return cameras


def test_cameras_are_left_beside_the_true_ones(tmp_path: Path) -> None:
    cameras = leave("cars", tmp_path)
    read = read_cameras(tmp_path / "cameras.json")
    views = views_of_class("cars", CARS, 60, 1, exact=False)
    true = shown_by("cars", CARS, views.numbers, views.numbers)
    assert read["azimuth"].tolist() == pytest.approx(cameras.azimuth.rad2deg().tolist())
    assert read["bin_azimuth"].tolist() == pytest.approx(list(views.azimuths))
    assert read["true_azimuth"].tolist() == pytest.approx(true.azimuth.tolist())
    assert read["distance"].tolist() == pytest.approx([1.0] * len(views))


def test_of_other_teachers_nothing_is_true(tmp_path: Path) -> None:
    leave("even", tmp_path)
    with pytest.raises(UserError, match="true_azimuth=None; expected a number"):
        read_cameras(tmp_path / "cameras.json")


@pytest.mark.parametrize(
    ("overrides", "tables"),
    [
        (
            [],
            {
                "iou": {"StyleGAN-R": RECONSTRUCT},
                "novel-view-cars": {
                    "StyleGAN-R": RECONSTRUCT, "StyleGAN-R, neural renderer": NEURAL,
                    "Style mixing": MIXING,
                },
                "swap": {
                    "StyleGAN-R": RECONSTRUCT, "StyleGAN-R, neural renderer": NEURAL,
                    "Style mixing": MIXING,
                },
                "camera-init": {"12 view bins against the truth": RECONSTRUCT},
                "shape": {},
            },
        ),
        (
            ["losses.multi_view=false"],
            {
                "iou": {"StyleGAN-R without multi-view consistency": RECONSTRUCT},
                "camera-init": {},
            },
        ),
        (
            ["cameras.start=latents"],
            {"camera-init": {"Exact cameras, trained on": RECONSTRUCT}},
        ),
        (["losses.multi_view=false", "losses.perceptual=0"], {"iou": {}}),
        (["views=even"], {"iou": {}, "camera-init": {}}),
        (["image_rows=48"], {"iou": {}, "camera-init": {}}),
        (["views=heads-360", "masks=heads-360"], {"iou": {}, "camera-init": {}}),
    ],
)  # fmt: skip
def test_rows(overrides: list[str], tables: dict[str, dict[str, str]]) -> None:
    spec = registry("methods").get("stylegan-r")
    config = to_dict(compose(spec, "cars-64", overrides=overrides))
    for table, rows in tables.items():
        assert SPEC.rows(table, config) == rows


def test_runs_of_the_check_preset_fill_nothing() -> None:
    spec = registry("methods").get("stylegan-r")
    assert SPEC.rows("iou", to_dict(compose(spec, "check"))) == {}
