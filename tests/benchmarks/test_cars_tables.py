"""Tables over cars: the truth scores perfectly, other cars and the mean car worse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gan3d_bench.assets.fetch import fetch
from gan3d_bench.benchmarks.baseline_cars import (
    MEAN_CAR,
    TRUE_CAR,
    as_mean_car,
    gone_round,
    mean_shape,
)
from gan3d_bench.benchmarks.iou.measure import IoUMeasure
from gan3d_bench.benchmarks.measure import Settings
from gan3d_bench.benchmarks.novel_view_cars.measure import (
    INPUT,
    NovelViewCarsMeasure,
)
from gan3d_bench.benchmarks.results import load_results
from gan3d_bench.benchmarks.swap.measure import (
    NO_SWAP,
    OTHER,
    PROPERTIES,
    SwapMeasure,
    swapped,
)
from gan3d_bench.cars.pack import CarPack
from gan3d_bench.cars.sampling import HELD_OUT, CarParameters
from gan3d_bench.cars.scene import cars_scene
from gan3d_bench.config import RunConfig
from gan3d_bench.errors import UserError
from gan3d_bench.methods.base import Method
from gan3d_bench.registry import load, registry
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.scenes.base import Scene
from gan3d_bench.scenes.joined import JoinedScenes
from gan3d_bench.spec import RECONSTRUCT

TABLES = ("iou", "novel-view-cars", "swap")
ITEMS = [0, 1]
VIEWS = (0, 90, 180)


class Oracle(Method):
    """Knows the car of each picture, or takes it for the one that comes so many later."""

    def __init__(self, measure, shift: int = 0) -> None:
        super().__init__(RunConfig(method="oracle"))
        self.data, self.shift = measure.split("test"), shift
        self.stored = torch.stack([self.data[i]["image"] for i in range(len(self.data))])

    def cars(self, images: torch.Tensor) -> CarParameters:
        found = [int((self.stored - image).abs().sum((1, 2, 3)).argmin()) for image in images]
        cars = self.data.parameters[torch.tensor(found)]
        count = len(self.data)
        other = self.data.parameters[torch.tensor([(i + self.shift) % count for i in found])]
        return replace(cars, shape=other.shape, look=other.look, stretch=other.stretch)

    def reconstruct(self, images: torch.Tensor) -> JoinedScenes:
        return cars_scene(self.cars(images))


class Uniform(Oracle):
    """Takes every car for the mean car."""

    def cars(self, images: torch.Tensor) -> CarParameters:
        return as_mean_car(super().cars(images))


class Pictures(Scene):
    """A car's scene that gives whole pictures, and says nothing of where the car is."""

    def __init__(self, scene: Scene) -> None:
        self.inner, self.camera, self.input_view = scene, scene.camera, scene.input_view

    @property
    def batch_size(self) -> int:
        return self.inner.batch_size

    def _render(self, view, light, camera):
        shown = self.inner.render(view, image_size=camera.width)
        return Rendering(shown.over(0.0), torch.ones_like(shown.mask))


class Neural(Oracle):
    def row_scene(self, kind, images):
        assert kind == "neural"
        return Pictures(self.reconstruct(images))


class Swapper(Oracle):
    """Swaps truly, or by another renderer takes everything of the other."""

    def __init__(self, measure) -> None:
        super().__init__(measure)
        self.measure, self.drawn = measure, []

    def swap(self, images, others, what, renderer):
        cars, theirs = self.cars(images), self.cars(others)
        if renderer == "mixing":
            self.drawn.append(theirs)
        else:
            assert renderer == "mesh"
            self.drawn.append(swapped(cars, theirs, what))
        return self.measure.truth(self.drawn[-1])["image"]

    def reconstruct(self, images):
        return cars_scene(self.drawn.pop(0), 32)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cars")


@pytest.fixture
def few_views(monkeypatch):
    monkeypatch.setattr("gan3d_bench.benchmarks.novel_view_cars.measure.AZIMUTHS", VIEWS)


def build(measure_class, cache, **others):
    settings = Settings(samples=len(ITEMS), batch_size=2, device=torch.device("cpu"))
    measure = measure_class(settings, image_size=32, root=cache, **others)
    measure.items()
    return measure


def measured(measure, method, items=ITEMS, kind=RECONSTRUCT) -> dict[str, list[float]]:
    with torch.no_grad():
        measure.begin(method, kind, items)
        return measure.method(method, kind, items)


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_declared_and_can_be_measured(name):
    spec = registry("tables").get(name)
    measure = load(spec.measure)
    assert set(spec.bounds) <= set(measure.baselines) <= set(spec.rows)
    assert "cars" in spec.assets


def test_the_mean_car_is_one_that_training_shows():
    name = CarPack.load().names()[mean_shape()]
    assert name not in HELD_OUT


def test_the_light_turns_with_the_car(cache):
    measure = build(IoUMeasure, cache)
    cars = measure.parameters([0])
    scene = cars_scene(cars, 32)
    after = gone_round(cars, 90.0)
    shown = scene.render(cars.view.gone_round(90.0), image_size=32)
    truth = measure.truth(after)
    assert torch.allclose(shown.mask, truth["mask"], atol=1e-5)
    assert torch.allclose(shown.rgb * shown.mask, cars_scene(after, 32).render(after.view).rgb
                          * truth["mask"], atol=1e-4)  # fmt: skip


def test_iou_of_the_truth_is_one_and_of_others_less(cache):
    measure = build(IoUMeasure, cache)
    true = measured(measure, Oracle(measure))
    assert true["iou"] == true["iou_3d"] == [1.0] * 2
    assert true["chamfer"] == [0.0] * 2
    for lead in ("lead_others_2d", "lead_others_3d", "lead_mean_2d", "lead_mean_3d"):
        assert min(true[lead]) > 0.02, lead
    other = measured(measure, Oracle(measure, shift=1))
    mean = measured(measure, Uniform(measure))
    with torch.no_grad():
        baseline = measure.baseline(MEAN_CAR, ITEMS)
        bound = measure.baseline(TRUE_CAR, ITEMS)
    for worse in (other, mean):
        assert max(worse["iou"]) < 0.99 and max(worse["iou_3d"]) < 0.95
        assert min(worse["chamfer"]) > 0.5
    assert baseline == {key: mean[key] for key in baseline}
    assert bound == {key: true[key] for key in bound}
    # one shape for all is nobody's, and no better than the mean car
    for lead in ("lead_others_3d", "lead_mean_3d", "lead_mean_2d"):
        assert mean[lead] == pytest.approx([0.0] * 2, abs=1e-9)
    picture = measure.picture()
    assert picture is not None and picture.size == (34 + 2, 34 * 4 + 2)


def test_a_single_car_has_no_others(cache):
    measure = build(IoUMeasure, cache)
    assert set(measured(measure, Oracle(measure), [1])) == {"iou", "iou_3d", "chamfer"}


@pytest.mark.network
def test_going_round_the_truth_is_perfect_and_round_others_is_not(cache, few_views):
    fetch("alexnet-lpips")
    measure = build(NovelViewCarsMeasure, cache)
    true = measured(measure, Oracle(measure))
    picture = measure.picture()
    assert picture is not None and picture.size == (34 * len(VIEWS) + 2, 34 * 4 + 2)
    assert min(true["psnr"]) > 80 and min(true["iou"]) == 1 and max(true["lpips"]) < 1e-4
    assert min(true["lead_others"] + true["lead_mean_car"]) > 20
    assert {f"psnr@azimuth={step}" for step in VIEWS} < set(true)
    other = measured(measure, Oracle(measure, shift=1))
    with torch.no_grad():
        still, mean = (measure.baseline(row, ITEMS) for row in (INPUT, MEAN_CAR))
    for worse in (other, still, mean):
        assert max(worse["psnr"]) < 25 and max(worse["iou"]) < 0.98
        assert min(worse["lpips"]) > 0.02
    assert still["psnr@azimuth=0"] > still["psnr@azimuth=90"]
    assert sum(other["lead_others"]) < 0  # the other one's car is the own one
    assert min(true["psnr@azimuth=180"]) > 80
    assert measure.protocol()["networks"] == {"lpips": "LPIPS (alex)"}


@pytest.mark.network
def test_whole_pictures_have_no_mask_to_be_measured(cache, few_views):
    fetch("alexnet-lpips")
    measure = build(NovelViewCarsMeasure, cache)
    found = measured(measure, Neural(measure), kind="neural")
    assert min(found["psnr"]) > 80
    assert torch.tensor(found["iou"]).isnan().all()


@pytest.mark.network
def test_true_swaps_are_perfect_and_no_others_are(cache):
    fetch("alexnet-lpips")
    measure = build(SwapMeasure, cache)
    items = measure.items()
    cars = measure.split("test").parameters
    for item in items:
        other = measure.other(item)
        assert cars.look[item] and cars.look[other]
        assert cars.look[item] != cars.look[other] and cars.shape[item] != cars.shape[other]
    true = measured(measure, Swapper(measure), items)
    mixed = measured(measure, Swapper(measure), items, kind="mixing")
    with torch.no_grad():
        still, other = (measure.baseline(row, items) for row in (NO_SWAP, OTHER))
    for what in PROPERTIES:
        assert min(true[f"psnr_{what}"]) > 45  # pictures of the data are stored in 8 bits
        assert max(true[f"lpips_{what}"]) < 1e-3 and min(true[f"iou_{what}"]) == 1
        for worse in (still, other, mixed):
            assert max(worse[f"psnr_{what}"]) < 40
        assert other[f"psnr_{what}"] == pytest.approx(mixed[f"psnr_{what}"], abs=0.2)
    # texture and background leave the silhouette
    assert still["iou_texture"] == still["iou_background"] == [1.0] * 2
    assert max(still["iou_shape"] + other["iou_texture"]) < 0.99
    with pytest.raises(UserError, match="method 'oracle' swaps nothing"):
        measured(measure, Oracle(measure), items)


def test_the_command_fills_the_rows_of_the_table_itself(cli):
    made = cli("eval", "--table", "iou", "--samples", "1", "--device", "cpu", "--out", "out")
    assert made.code == 0, made.err
    (bound, mean) = load_results(Path("out/iou.json"))
    assert (bound.row, mean.row) == (TRUE_CAR, MEAN_CAR)
    assert bound.values["iou"] == bound.values["iou_3d"] == [1.0] != mean.values["iou_3d"]
    assert Path("runs/tables/iou.true-car.png").is_file()
