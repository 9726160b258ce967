"""Photographs as EG3D takes them: crops and cameras of heads whose truth is known."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from gan3d_bench.datamodules.heads import head_latents, render_heads, sample_heads
from gan3d_bench.faces import landmark_sources
from gan3d_bench.faces.ffhq import transform
from gan3d_bench.faces.head_landmarks import HeadLandmarks
from gan3d_bench.faces.landmark_sources import KnownLandmarks
from gan3d_bench.faces.morphable_fit import FaceFit, open_space
from gan3d_bench.generators.eg3d.cameras import CameraOrbit
from gan3d_bench.generators.eg3d.photographs import (
    FACE_ORIGIN,
    SIDES_PER_DECIMETRE,
    WORLD_PER_DECIMETRE,
    PhotographCameras,
    decimetre,
    face_origin,
)
from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.rendering.cameras import PinholeCamera

SIZE = 128
ORBIT = CameraOrbit()


@pytest.fixture(scope="module")
def finder() -> PhotographCameras:
    known = HeadLandmarks(MorphableModel.load_heads()).vertex
    return PhotographCameras(source=KnownLandmarks(known, 2e-4))


def world(finder: PhotographCameras) -> Tensor:
    """The mean head's landmarks and last its origin, in EG3D's world: (L + 1, 3)."""
    source = finder.fit.source
    assert isinstance(source, KnownLandmarks)
    points = torch.cat((finder.fit.whole.mean[source.vertex], finder.origin[None]))
    points = (points - finder.origin) / finder.decimetre
    return WORLD_PER_DECIMETRE * points * torch.tensor([1.0, -1, -1]) + torch.tensor(FACE_ORIGIN)


def seen(points: Tensor, labels: Tensor) -> Tensor:
    """World points (N, 3) in the cameras' planes at depth 1, and their depths: (B, N, 3)."""
    pose = labels[:, :16].unflatten(1, (4, 4))
    apart = (points - pose[:, None, :3, 3]) @ pose[:, :3, :3]
    return torch.cat((apart[..., :2] / apart[..., 2:], apart[..., 2:]), -1)


def test_labels_are_the_true_cameras(finder: PhotographCameras) -> None:
    labels = ORBIT.sample(12, torch.Generator().manual_seed(0), (0.5, 0.3), "uniform")
    plane = seen(world(finder), labels)[:, :-1, :2]
    pose = finder.fit.landmarks(plane, 20)[:, :6]
    found = finder.labels(fit_of(finder, pose))
    torch.testing.assert_close(found, labels, atol=2e-3, rtol=0)
    turned = finder.orbit.view(found)
    torch.testing.assert_close(turned.yaw, ORBIT.view(labels).yaw, atol=0.1, rtol=0)


def fit_of(finder: PhotographCameras, pose: Tensor) -> FaceFit:
    unknown = FaceFit.nowhere(len(pose), finder.fit.whole).tensors()
    return FaceFit(**{**unknown, "found": unknown["found"] | True, "pose": pose})


def test_the_crop_has_the_head_where_the_released_one_has_it(finder: PhotographCameras) -> None:
    """The origin in the middle; a decimetre there is 300 of 700 pixels."""
    labels = ORBIT.look_at(torch.tensor([0.3]), torch.tensor([-0.2]))
    places = seen(world(finder), labels)[0]
    focal, middle = 1500.0, torch.tensor([700.0, 400.0])
    pixels = middle + focal * places[:, :2]
    matrix = finder.frame(pixels[:-1], 512)
    torch.testing.assert_close(
        transform(matrix, pixels[-1]), torch.tensor([255.5, 255.5]), atol=2.0, rtol=0
    )
    decimetre_pixels = float(matrix[0, 0]) * focal * WORLD_PER_DECIMETRE / float(places[-1, 2])
    assert decimetre_pixels == pytest.approx(512 * SIDES_PER_DECIMETRE, rel=0.03)
    assert matrix[0, 1] == matrix[1, 0] == 0


def test_models_of_other_units() -> None:
    heads = open_space()
    assert decimetre(heads) == pytest.approx(0.0625)
    # a face: some 2 decimetres from chin to hairline; its origin is behind the nose, in its middle
    face = heads.mean[heads.faces[heads.in_region].unique()]
    assert 1.4 < float(face[:, 1].max() - face[:, 1].min()) / decimetre(heads) < 2.6
    assert abs(float(face_origin(heads)[0])) < 1e-3


class Truth(KnownLandmarks):
    """Landmarks of the heads of pictures by their brightness, scaled with the picture's crop."""

    def __init__(self, images: Tensor, points: Tensor) -> None:
        super().__init__(HeadLandmarks(MorphableModel.load_heads()).vertex, 2e-4)
        self.images, self.points = images, points
        self.matrix: Tensor | None = None

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        nothing = torch.full((1, *self.points.shape[1:]), torch.nan)
        if images.max() <= -0.99:
            return nothing, torch.tensor([False])
        if images.shape[-1] == SIZE:
            self.row = int((self.images - images).abs().mean((1, 2, 3)).argmin())
            return self.points[self.row][None], torch.tensor([True])
        assert self.matrix is not None
        return transform(self.matrix, self.points[self.row])[None], torch.tensor([True])


@pytest.fixture
def photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two heads and a black picture, whose landmarks are known."""
    heads = sample_heads(head_latents("val", range(2)))
    images = render_heads(heads, SIZE)["image"]
    folder = tmp_path / "faces"
    folder.mkdir()
    for i, image in enumerate(images):
        pixels = ((image.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
        Image.fromarray(pixels).save(folder / f"={i}.png")
    Image.new("RGB", (SIZE, SIZE)).save(folder / "nobody.png")
    camera = PinholeCamera(SIZE)
    model = MorphableModel.load_heads()
    points = HeadLandmarks(model).plane(heads) * camera.focal + torch.tensor(camera.centre)
    truth = Truth(images, points)
    monkeypatch.setitem(landmark_sources.SOURCES, "landmarks-106", lambda: truth)
    framed = PhotographCameras.frame

    def frame(self: PhotographCameras, found: Tensor, size: int) -> Tensor:
        truth.matrix = framed(self, found, size)
        return truth.matrix

    monkeypatch.setattr(PhotographCameras, "frame", frame)
    return folder


def test_photographs_become_crops_and_cameras(
    cli: Callable[..., Any], photographs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    given = ("camera", photographs, "--out", out, "--image-size", 64, "--on-bad", "skip")
    end = cli(*map(str, given))
    assert end.code == 0, end.err
    labels = dict(json.loads((out / "dataset.json").read_text())["labels"])
    assert set(labels) == {"=0.png", "=1.png"}
    for name, label in labels.items():
        assert Image.open(out / name).size == (64, 64)
        assert math.dist(label[3:12:4], (0, 0, 0)) == pytest.approx(2.7, abs=1e-3)
        assert label[16] == pytest.approx(4.2647, abs=1e-4)
    with (out / "cameras.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["'=0", "'=1"]  # no formulas
    true = sample_heads(head_latents("val", range(2))).angles[:, 0]
    for row, yaw in zip(rows, true.tolist(), strict=True):
        assert float(row["yaw"]) == pytest.approx(yaw, abs=3)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--landmarks", "68"), "unknown landmarks '68'"),
        (("--model", "nowhere.mat"), "nowhere.mat: no such file"),
        (("--on-bad", "maybe"), "--on-bad maybe: expected refuse or skip"),
        ((), "no face in it that landmarks-106 finds"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    cli: Callable[..., Any], photographs: Path, tmp_path: Path, given: tuple[str, ...], says: str
) -> None:
    out = tmp_path / "out"
    end = cli("camera", str(photographs / "nobody.png"), "--out", str(out), *given)
    assert end.code == 2
    assert says in end.err
    assert not out.exists()
