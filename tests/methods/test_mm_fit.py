"""Fits of a morphable model as a method: folders and heads, resumed and shared out, its files."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import trimesh
from PIL import Image
from safetensors.torch import load_file
from scipy.io import savemat
from torch import Tensor

from gan3d_bench.config import compose
from gan3d_bench.datamodules.heads import head_latents, render_heads, sample_heads
from gan3d_bench.errors import UserError
from gan3d_bench.faces.head_landmarks import HeadLandmarks
from gan3d_bench.faces.landmark_sources import SOURCES
from gan3d_bench.faces.morphable_fit import FitConfig
from gan3d_bench.files.run_folder import Run
from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.methods.mm_fit import method as module
from gan3d_bench.methods.mm_fit.config import LANDMARKS, FitKeys
from gan3d_bench.methods.mm_fit.spec import SPEC
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.training.fit import load_method

SIZE = 64
FIT = ("fit", "--method", "mm-fit", "--preset", "check", "trainer.preview_every=-1")
QUICK = ("trainer.accelerator=cpu", "fit.steps=2")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> None:
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(tmp_path_factory.getbasetemp() / "mm-fit"))


class Truth:
    """Landmarks of known heads, by their pictures; no face in dark ones."""

    name = label = "truth"
    scale_deviation = math.inf

    def __init__(self, images: Tensor, points: Tensor) -> None:
        self.images, self.points = images, points

    def on(self, space: Any, root: Path | None = None) -> Any:
        return HeadLandmarks(MorphableModel.load_heads(), 1e-3).on(space)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        away = (images[:, None] - self.images).abs().mean((2, 3, 4))
        found = away.amin(1) < 0.05
        return self.points[away.argmin(1)].where(found[:, None, None], torch.nan), found


@pytest.fixture
def photographs(toy: Path, monkeypatch) -> Path:
    """A folder with five heads, a picture without a face and a broken file."""
    heads = sample_heads(head_latents("val", range(5)))
    images = render_heads(heads, SIZE)["image"]
    folder = toy / "faces"
    folder.mkdir()
    for i, image in enumerate(images):
        pixels = ((image.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
        Image.fromarray(pixels).save(folder / f"{i}.png")
    Image.new("RGB", (SIZE, SIZE)).save(folder / "-5.png")
    (folder / "6.png").write_bytes(b"no picture")
    model = MorphableModel.load_heads()
    camera = PinholeCamera(SIZE)
    points = HeadLandmarks(model).plane(heads) * camera.focal + torch.tensor(camera.centre)
    monkeypatch.setattr(module, "open_landmarks", lambda name: Truth(images, points))
    return folder


def of_folder(folder: Path) -> tuple[str, ...]:
    keys = ("data=images", f"images={folder}", "split=train", "count=0", "landmarks=landmarks-106")
    return (*FIT, *QUICK, *keys, "on_bad=skip", "shard=2")


def table(run: Run) -> list[dict[str, str]]:
    with (run.path / "results" / "faces.csv").open() as file:
        return list(csv.DictReader(file))


def test_keys_are_those_of_the_fit() -> None:
    own = {field.name: field.default for field in dataclasses.fields(FitConfig)}
    assert dataclasses.asdict(FitKeys()) == {k: v for k, v in own.items() if k != "engine"}
    assert set(LANDMARKS) == {*SOURCES, "exact"}


def test_heads_are_fitted_and_written_with_their_errors(cli: Callable[..., Any]) -> None:
    found = cli(*FIT, "trainer.accelerator=cpu")
    assert found.code == 0, found.err
    (run,) = Run.find("mm-fit")
    results = run.path / "results"
    summary = json.loads((results / "summary.json").read_text())
    assert summary["pictures"] == {
        **dict(items=8, usable=8, missing=0, broken=0, far=0, turned=0, skipped=0)
    }
    means = summary["means"]
    assert means["vertex_error"] < 0.75 * means["mean_error"]
    assert means["yaw_error"] < 1.0
    assert f"vertices off by {means['vertex_error']:.2f} %" in found.out
    stored = load_file(results / "coefficients.safetensors")
    assert stored["pose"].shape == (8, 6) and stored["light"].shape == (8, 3, 9)
    lines = table(run)
    assert [line["fit"] for line in lines] == ["usable"] * 8
    truth = sample_heads(head_latents("test", range(8))).angles
    angles = torch.tensor([[float(line[k]) for k in ("yaw", "pitch", "roll")] for line in lines])
    torch.testing.assert_close(angles, truth, atol=4, rtol=0)
    (sheet,) = (results / "overlays").iterdir()
    with Image.open(sheet) as picture:
        assert picture.width > 4 * 192
    (mesh,) = (results / "meshes").iterdir()
    assert len(trimesh.load(mesh, force="mesh").vertices) > 3000

    method = load_method(run)
    images = method.preview().images["input"]
    scene = method.reconstruct(images)
    drawn = scene.render(scene.input_view)
    seen = drawn.mask > 0.9
    assert (drawn.rgb - images).abs()[seen.expand_as(images)].mean() < 0.2
    assert method.items() == list(range(8))
    with pytest.raises(UserError, match="not fitted to has no exact landmarks"):
        method.reconstruct(images.flip(3))


def test_a_folder_is_fitted_whatever_lies_in_it(cli: Callable[..., Any], photographs: Path) -> None:
    found = cli(*of_folder(photographs))
    assert found.code == 0, found.err
    assert "5 of 6 fits usable; no face in 1" in found.out
    assert "1 pictures could not be read" in found.out
    (run,) = Run.find("mm-fit")
    # what a spreadsheet would take for a formula begins with an apostrophe
    assert [line["name"] for line in table(run)] == [*(f"{i}.png" for i in range(5)), "'-5.png"]
    assert table(run)[5] | {"name": ""} == dict.fromkeys(table(run)[5], "") | {"fit": "missing"}
    summary = json.loads((run.path / "results" / "summary.json").read_text())
    assert list(summary["skipped"]) == ["6.png"]
    assert {p.name for p in (run.path / "results" / "meshes").iterdir()} == {"000000-0.glb"}
    method = load_method(run)
    assert method.items() is None and len(method.preview().images["input"]) == 4
    with pytest.raises(UserError, match="no face in image 1 of 2"):
        method.reconstruct(
            torch.cat((method.preview().images["input"][:1], -torch.ones(1, 3, 64, 64)))
        )


def test_a_run_that_was_stopped_goes_on(
    cli: Callable[..., Any], photographs: Path, monkeypatch
) -> None:
    assert cli(*of_folder(photographs)).code == 0
    (whole,) = Run.find("mm-fit")
    fit_batch, calls = module.MMFit._fit_batch, []

    def stops(self: module.MMFit, items: Any) -> Any:
        calls.append(len(items))
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return fit_batch(self, items)

    monkeypatch.setattr(module.MMFit, "_fit_batch", stops)
    stopped = cli(*of_folder(photographs))
    assert stopped.code == 128 + signal.SIGINT, stopped.err
    assert calls == [2, 2]
    assert cli("fit", "--method", "mm-fit", "--resume").code == 0
    assert calls == [2, 2, 2]
    run = Run.find("mm-fit")[-1]
    assert run.path != whole.path
    assert table(run) == table(whole)
    one, two = (load_file(r.path / "results" / "coefficients.safetensors") for r in (whole, run))
    assert all(torch.equal(one[key].nan_to_num(9), two[key].nan_to_num(9)) for key in one)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("count=0",), "count=0: data=heads needs a number of heads"),
        (("data=images", "landmarks=landmarks-106"), "images='': data=images needs the path"),
        (("data=images", "images=."), "landmarks=exact: known of data=heads and model=heads"),
        (("landmarks=landmarks-68",), "landmarks"),
        (("landmarks=landmarks-106", "model=nowhere"), "nowhere: no such file"),
        (("landmarks=landmarks-106",), "gan3d-bench assets fetch scrfd-500m"),
    ],
)
def test_mistakes_are_said_before_work(
    cli: Callable[..., Any], keys: tuple[str, ...], message: str
) -> None:
    found = cli(*FIT, *keys)
    assert found.code == 2
    assert message in found.err
    assert len(found.err.splitlines()) == 1
    assert not Run.find("mm-fit")


def test_an_incomplete_basel_model_is_named(cli: Callable[..., Any], toy: Path) -> None:
    (toy / "bfm").mkdir()
    path = toy / "bfm" / "BFM09_model_info.mat"
    savemat(path, {"meanshape": torch.zeros(1, 9).numpy()})
    found = cli(*FIT, "landmarks=landmarks-106", f"model={path.parent}")
    assert found.code == 2
    assert str(path) in found.err and "lacks meantex, idBase" in found.err
    path.unlink()
    found = cli(*FIT, "landmarks=landmarks-106", f"model={path.parent}")
    assert "no Basel model here; expected BFM09_model_info.mat" in found.err


def test_a_count_beyond_the_pictures_is_refused(cli: Callable[..., Any], photographs: Path) -> None:
    found = cli(*of_folder(photographs), "count=9")
    assert found.code == 2
    assert "count=9" in found.err and "only 6 pictures" in found.err


def test_reconstruct_fits_photographs() -> None:
    assert SPEC.photographs is not None
    keys = [text.format(folder="/x", count=3) for text in SPEC.photographs.overrides]
    config = compose(SPEC, SPEC.photographs.preset, None, keys)
    assert (config.data, config.images, config.landmarks) == ("images", "/x", "landmarks-106")
