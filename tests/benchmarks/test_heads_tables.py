"""Tables `novel-view`, `relight`, `intrinsics`: the truth scores perfectly, other heads badly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gan3d_bench.assets.fetch import fetch
from gan3d_bench.assets.store import asset_path
from gan3d_bench.benchmarks.heads import moved, turned
from gan3d_bench.benchmarks.intrinsics.measure import FRONTAL, INPUT, IntrinsicsMeasure
from gan3d_bench.benchmarks.inversion.measure import InversionMeasure
from gan3d_bench.benchmarks.measure import Settings
from gan3d_bench.benchmarks.novel_view.measure import VIEWS, NovelViewMeasure
from gan3d_bench.benchmarks.relight.measure import RelightMeasure, equalised, new_light
from gan3d_bench.config import RunConfig, compose, to_dict
from gan3d_bench.geometry.views import View
from gan3d_bench.heads.scene import heads_scene
from gan3d_bench.methods.base import Method
from gan3d_bench.registry import load, registry
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.scenes.base import Scene
from gan3d_bench.scenes.mesh import MeshScene
from gan3d_bench.spec import RECONSTRUCT

TABLES = ("novel-view", "relight", "intrinsics")


class Oracle(Method):
    """Knows the head of each image, or takes it for the next one."""

    def __init__(self, measure, shift: int = 0) -> None:
        super().__init__(RunConfig(method="oracle"))
        self.data, self.shift = measure.split("test"), shift

    def reconstruct(self, images: torch.Tensor) -> MeshScene:
        count = len(self.data)
        stored = torch.stack([self.data[i]["image"] for i in range(count)])
        found = [int((stored - image).abs().flatten(1).sum(1).argmin()) for image in images]
        heads = self.data.parameters[torch.tensor(found)]
        others = self.data.parameters[torch.tensor([(i + self.shift) % count for i in found])]
        placed = {"angles": heads.angles, "translation": heads.translation}
        return heads_scene(replace(others, **placed))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("heads")


def build(measure_class, cache, size=64):
    settings = Settings(samples=2, batch_size=2, device=torch.device("cpu"))
    measure = measure_class(settings, image_size=size, root=cache)
    assert measure.items() == [0, 1]
    return measure


def judged(measure_class, cache):
    """A table of pictures, and what it says of the truth, of other heads and of its baseline."""
    for name in ("alexnet-lpips", "arcface-mbf", "scrfd-500m"):
        fetch(name)
    measure = build(measure_class, cache)
    with torch.no_grad():
        true = measure.method(Oracle(measure), RECONSTRUCT, [0, 1])
        other = measure.method(Oracle(measure, shift=1), RECONSTRUCT, [0, 1])
        return measure, true, other, measure.baseline(measure.baselines[0], [0, 1])


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_declared_and_can_be_measured(name):
    """Every row is filled by exactly one method, or by the table itself."""
    spec = registry("tables").get(name)
    assert spec.measure is not None
    methods = registry("methods").specs.values()
    configs = [compose(method) for method in methods]
    filled = [
        row
        for method, config in zip(methods, configs, strict=True)
        for row in method.rows(name, to_dict(config))
    ]
    assert sorted([*load(spec.measure).baselines, *filled]) == sorted(spec.rows)


@pytest.mark.network
def test_novel_views_of_the_truth_are_perfect_and_of_others_bad(cache):
    measure, true, other, still = judged(NovelViewMeasure, cache)
    picture = measure.picture()
    assert picture is not None
    # two heads, the truth above the row's; of the first of the three measured rows
    assert picture.size == (66 * len(VIEWS) + 2, 66 * 4 + 2)
    pixels = torch.from_numpy(np.array(picture))
    assert torch.equal(pixels[2:66], pixels[68:132])
    assert measure.picture() is None
    assert true["psnr"] == [pytest.approx(100)] * 2
    assert max(true["lpips"]) < 1e-6
    assert min(true["identity"]) > 0.9999
    assert max(true["side"]) < 1e-3
    for item in range(2):
        assert other["identity"][item] < 0.6
        assert other["psnr"][item] < 25
        assert other["side"][item] > 0.2
        assert still["psnr"][item] < 25
    assert "side" not in still
    assert {f"psnr@yaw={yaw}" for yaw, pitch in VIEWS if not pitch} < set(true)


@pytest.mark.network
def test_inverting_to_the_truth_is_perfect_and_to_the_average_is_not(cache):
    measure, true, other, average = judged(InversionMeasure, cache)
    # the oracle's head has no background
    assert min(true["id"]) > 0.95 > 0.9 > max(other["id"] + average["id"])
    assert max(true["lpips"]) < min(other["lpips"]) and min(average["lpips"]) > 0.05
    assert min(true["seconds"]) > 0 and "seconds" not in average
    assert measure.picture() is not None
    assert "threads" in measure.protocol()["timed_on"]


class Repeated(Scene):
    """The images themselves; half of each is no opaque volume, as EG3D's dark backgrounds."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images
        self.camera = PinholeCamera(64, 10.0)
        self.input_view = View.from_angles([0.0] * len(images))

    @property
    def batch_size(self) -> int:
        return len(self.images)

    def _render(self, view, light, camera) -> Rendering:
        mask = torch.ones_like(self.images[:, :1])
        mask[..., :32] = 0
        return Rendering(self.images, mask, whole=True)


@pytest.mark.network
def test_an_inversion_is_compared_as_the_method_shows_it(cache):
    fetch("alexnet-lpips")
    measure = build(InversionMeasure, cache)
    method = Oracle(measure)
    method.reconstruct = Repeated
    with torch.no_grad():
        assert max(measure.method(method, RECONSTRUCT, [0, 1])["lpips"]) < 1e-6


@pytest.mark.network
def test_relighting_the_truth_is_perfect_and_doing_nothing_is_not(cache):
    fetch("alexnet-lpips")
    measure = build(RelightMeasure, cache)
    with torch.no_grad():
        true = measure.method(Oracle(measure), RECONSTRUCT, [0, 1])
        still = measure.baseline(measure.baselines[0], [0, 1])
    assert min(true["psnr"]) > 60
    assert max(true["lpips"]) < 1e-5
    assert max(still["psnr"]) < 30
    assert new_light((0.0, 0.0), 3).direction.tolist() == [[0.0, 0.0, -1.0]] * 3


def test_the_weight_and_colour_of_light_cost_nothing():
    target = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5
    dimmed = (target + 1) * torch.tensor([0.5, 0.7, 0.9])[:, None, None] - 1
    mask = torch.ones(2, 1, 8, 8)
    assert torch.allclose(equalised(dimmed, target, mask), target, atol=1e-5)


def test_intrinsics_of_the_truth_are_perfect(cache):
    measure = build(IntrinsicsMeasure, cache, size=32)
    with torch.no_grad():
        true = measure.method(Oracle(measure), RECONSTRUCT, [0, 1])
        lit = measure.baseline(INPUT, [0, 1])
        flat = measure.baseline(FRONTAL, [0, 1])
    assert max(true["albedo"]) < 0.01  # of 8-bit storage
    assert max(true["normal"]) < 1.0
    assert min(lit["albedo"]) > 0.03
    assert "normal" not in lit
    assert min(flat["normal"]) > 20


def test_scenes_are_turned_by_as_much_as_the_true_head(cache):
    measure = build(IntrinsicsMeasure, cache, size=32)
    heads = measure.parameters([0, 1])
    after = turned(heads, 30.0, -20.0)
    own = View.from_angles([5.0, -7.0])
    view = moved(own, heads, after)
    assert torch.allclose(view.yaw - own.yaw, 30.0 - heads.angles[:, 0])
    assert torch.allclose(view.pitch, -20.0 - heads.angles[:, 1])
    assert torch.equal(view.translation, own.translation)


@pytest.mark.network
def test_another_network_is_measured_with_and_named(cache, tmp_path):
    for name in ("alexnet-lpips", "arcface-mbf", "scrfd-500m"):
        fetch(name)
    mine = tmp_path / "mine.onnx"
    mine.write_bytes(asset_path("arcface-mbf").read_bytes())
    settings = Settings(1, 1, torch.device("cpu"), {"identity": str(mine)})
    measure = NovelViewMeasure(settings, root=cache)
    named = measure.protocol()["networks"]["identity"]
    assert named.startswith("ArcFace mine.onnx") and str(tmp_path) not in named
    assert measure.protocol()["networks"]["lpips"] == "LPIPS (alex)"
    assert named != build(NovelViewMeasure, cache).protocol()["networks"]["identity"]
