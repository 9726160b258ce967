"""Tables over cars: the truth scores perfectly, other cars and the mean car worse."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gan3d_bench.benchmarks.baseline_cars import (
    MEAN_CAR,
    TRUE_CAR,
    as_mean_car,
    go_round,
    gone_round,
    mean_shape,
)
from gan3d_bench.benchmarks.iou.measure import IoUMeasure
from gan3d_bench.benchmarks.measure import Settings
from gan3d_bench.cars.pack import CarPack
from gan3d_bench.cars.sampling import HELD_OUT, CarParameters
from gan3d_bench.cars.scene import cars_scene
from gan3d_bench.config import RunConfig
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.base import Method
from gan3d_bench.registry import load, registry
from gan3d_bench.scenes.joined import JoinedScenes
from gan3d_bench.spec import RECONSTRUCT

TABLES = ("iou",)
ITEMS = [0, 1, 2]


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


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cars")


def build(measure_class, cache, **others):
    settings = Settings(samples=len(ITEMS), batch_size=3, device=torch.device("cpu"))
    measure = measure_class(settings, image_size=32, root=cache, **others)
    measure.items()
    return measure


def measured(measure, method: Method, items=ITEMS) -> dict[str, list[float]]:
    with torch.no_grad():
        measure.begin(method, RECONSTRUCT, items)
        return measure.method(method, RECONSTRUCT, items)


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_declared_and_can_be_measured(name):
    spec = registry("tables").get(name)
    measure = load(spec.measure)
    assert set(spec.bounds) <= set(measure.baselines) <= set(spec.rows)
    assert {"cars"} <= set(spec.assets)


def test_the_mean_car_is_one_that_training_shows():
    name = CarPack.load().names()[mean_shape()]
    assert name not in HELD_OUT


@pytest.mark.parametrize("azimuth", [0.0, 75.0, 180.0, 301.0])
def test_going_round_adds_to_the_azimuth(azimuth):
    before = View.from_orbit([azimuth], [20.0], centre_depth=1.0)
    after = View.from_orbit([azimuth + 130], [20.0], centre_depth=1.0)
    moved = go_round(before, 130.0)
    assert torch.allclose(moved.rotation_matrix(), after.rotation_matrix(), atol=1e-6)


def test_the_light_turns_with_the_car(cache):
    measure = build(IoUMeasure, cache)
    cars = measure.parameters([0])
    scene = cars_scene(cars, 32)
    after = gone_round(cars, 90.0)
    shown = scene.render(go_round(cars.view, 90.0), image_size=32)
    truth = measure.truth(after)
    assert torch.allclose(shown.mask, truth["mask"], atol=1e-5)
    assert torch.allclose(shown.rgb * shown.mask, cars_scene(after, 32).render(after.view).rgb
                          * truth["mask"], atol=1e-4)  # fmt: skip


def test_iou_of_the_truth_is_one_and_of_others_less(cache):
    measure = build(IoUMeasure, cache)
    true = measured(measure, Oracle(measure))
    assert true["iou"] == true["iou_3d"] == [1.0] * 3
    assert true["chamfer"] == [0.0] * 3
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
        assert mean[lead] == pytest.approx([0.0] * 3, abs=1e-9)
    picture = measure.picture()
    assert picture is not None and picture.size == (34 + 2, 34 * 6 + 2)


def test_a_single_car_has_no_others(cache):
    measure = build(IoUMeasure, cache)
    assert set(measured(measure, Oracle(measure), [1])) == {"iou", "iou_3d", "chamfer"}
