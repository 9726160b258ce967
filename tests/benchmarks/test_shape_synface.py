"""Table `shape-synface`: a run of GAN2Shape on a folder of Synface's layout becomes a row."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gan3d_bench.benchmarks.measure import Settings
from gan3d_bench.benchmarks.shape.synface import SynfaceShapeMeasure
from gan3d_bench.config import RunConfig, compose, to_dict
from gan3d_bench.datamodules.synface import SynfaceDataset
from gan3d_bench.errors import UserError
from gan3d_bench.files.run_folder import Run
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.base import Method
from gan3d_bench.methods.gan2shape.spec import SPEC as GAN2SHAPE
from gan3d_bench.rendering.images import frame
from gan3d_bench.rendering.shading import LambertLight
from gan3d_bench.scenes.base import Scene
from gan3d_bench.scenes.depth_map import DepthMapScene
from gan3d_bench.spec import RECONSTRUCT

ROW = "GAN2Shape, symmetric"
# a run of two images, seconds on a CPU: no stylecode is searched for long
KEYS = (
    "data=synface", "split=test", "image_size=64", "teacher=heads-teacher-64", "crop=170",
    "original_size=256", "stages=1", "inversion.steps=2", "prior.box=[0.2,0.8,0.2,0.8]",
    "supersample=1", "trainer.preview_every=-1",
)  # fmt: skip


def test_a_run_on_synface_becomes_a_row(cli, synface_folder: Path) -> None:
    fit = ("fit", "--method", "gan2shape", "--preset", "check")
    made = cli(*fit, *KEYS, f"images={synface_folder}")
    assert made.code == 0, made.err
    (run,) = Path("runs/gan2shape/check").iterdir()
    shown = cli("eval", "--table", "shape-synface", "--samples", 3, "--out", "results")
    assert shown.code == 0, shown.err
    table = json.loads(Path("results/shape-synface.json").read_text())
    assert table["items"] == [0, 1]  # it was fitted to two of the three
    rows = {row["row"]: row for row in table["rows"]}
    measured = [name for name, row in rows.items() if row["side"]["measured"]]
    assert measured == [
        "True depth",
        "Constant depth",
        "Average ground-truth depth",
        "Average ground-truth depth, subject only",
        ROW,
    ]
    assert rows[ROW]["run"] == str(run)
    for column in ("side", "mad", "lead_others", "lead_run_mean", "left_out"):
        assert rows[ROW][column]["measured"]["count"] == 2
    assert rows[ROW]["side"]["reported"] == 0.756
    assert rows["True depth"]["side"]["measured"]["mean"] == pytest.approx(0, abs=1e-3)
    # nothing moves in these pictures, so their mean is their truth
    average = rows["Average ground-truth depth"]["side"]["measured"]["mean"]
    assert average == pytest.approx(0, abs=1e-3)

    many = cli("eval", "--table", "shape-synface", "--run", run, "--samples", 4)
    assert many.code == 2
    assert "3 images; expected --samples 3 or fewer, not 4" in many.err


def run_on(folder: Path) -> Run:
    config = SimpleNamespace(images=str(folder))
    return cast(Run, SimpleNamespace(path=Path("a-run"), config=config))


class Oracle(Method):
    """Knows the depth of test images by number, in a frame that is everybody's or the picture's."""

    def __init__(self, folder: Path, canonical: bool) -> None:
        super().__init__(RunConfig(method="oracle"))
        self.known, self.canonical = SynfaceDataset(folder, "test"), canonical

    def framed(self, pictures: Tensor) -> Tensor:
        return frame(pictures, 64, 170, 256)

    def reconstruct(self, images: Tensor) -> Scene:
        close = [
            min(range(3), key=lambda n: (self.known[n]["image"] - image).abs().mean().item())
            for image in images
        ]
        depth = torch.stack([self.known[number]["depth"] for number in close])
        unlit = LambertLight.frontal(len(images), ambient=1.0, diffuse=0.0)
        scene = DepthMapScene(depth, images, unlit, fov=10.0, depth_range=(0.9, 1.1))
        scene.input_view = View.from_angles([0.0] * len(images))
        scene.canonical = self.canonical
        return scene


def measured(folder: Path) -> SynfaceShapeMeasure:
    measure = SynfaceShapeMeasure(Settings(3, 2, torch.device("cpu")))
    measure.open(run_on(folder))
    assert measure.items() == [0, 1, 2]
    return measure


@pytest.mark.parametrize("canonical", [True, False])
def test_an_oracle_is_right_and_its_faces_are_told_apart(synface_folder, canonical) -> None:
    # the second face is another one: its square lies elsewhere
    other = np.zeros((256, 256), np.uint8)
    other[80:120, 110:170] = 200
    Image.fromarray(other).save(synface_folder / "test/depth/000001_depth_1_1.png")
    measure, method = measured(synface_folder), Oracle(synface_folder, canonical)
    measure.begin(method, RECONSTRUCT, [0, 1, 2])
    values = measure.method(method, RECONSTRUCT, [0, 1])
    assert values["side"] == pytest.approx([0, 0], abs=0.6)  # at its sharp rim
    expected = {"side", "mad", "left_out"}
    if canonical:
        expected |= {"lead_others", "lead_run_mean"}
        # one of the first face's two others is the same as it, none of the second's
        assert values["lead_others"][1] > values["lead_others"][0] > 0.1
    # without true views others cannot be turned into the picture's frame
    assert set(values) == expected


def test_without_a_run_or_with_other_images(cli, synface_folder: Path) -> None:
    refused = cli("eval", "--table", "shape-synface", "--samples", 2)
    assert refused.code == 2
    assert "is measured on the folder that its runs were fitted to" in refused.err

    other = synface_folder.parent / "other"
    shutil.copytree(synface_folder, other)
    measure = measured(synface_folder)
    measure.open(run_on(synface_folder))
    next((other / "test" / "image").glob("*.png")).unlink()
    with pytest.raises(UserError, match=r"a-run: .*expected the images of the other runs"):
        measure.open(run_on(other))


def test_presets_of_the_paper_have_the_row_and_joint_runs_none(tmp_path: Path) -> None:
    file = tmp_path / "file.safetensors"
    file.touch()
    given = [f"images={tmp_path}", "view.statistics=heads", "light.statistics=heads"]
    given += [f"{key}={file}" for key in ("teacher", "start")]
    fine = to_dict(compose(GAN2SHAPE, "paper-synface", overrides=given))
    assert GAN2SHAPE.rows("shape-synface", fine) == {ROW: RECONSTRUCT}
    assert GAN2SHAPE.rows("shape", fine) == {}
    assert GAN2SHAPE.rows("shape-synface", {**fine, "joint": True}) == {}
    assert GAN2SHAPE.rows("shape-synface", {**fine, "crop": 0}) == {}
