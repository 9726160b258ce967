"""Table `shape` on a few tiny heads."""

import pytest
import torch

from gan3d_bench.benchmarks.baseline_shapes import MEAN_HEAD, TRUE_DEPTH
from gan3d_bench.benchmarks.measure import Settings
from gan3d_bench.benchmarks.shape.errors import AVERAGE, AVERAGE_SUBJECT, CONSTANT
from gan3d_bench.benchmarks.shape.measure import ShapeMeasure
from gan3d_bench.config import RunConfig
from gan3d_bench.errors import UserError
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.base import Method
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.scenes.base import Scene
from gan3d_bench.spec import RECONSTRUCT

SIZE = 32


class Flat(Scene):
    """Given depth maps, seen from the front only."""

    capabilities = frozenset({"depth"})

    def __init__(self, depth, input_view=True):
        self.depth = depth
        self.camera = PinholeCamera(depth.shape[-1])
        self.input_view = View.from_angles([0.0] * len(depth)) if input_view else None

    @property
    def batch_size(self):
        return len(self.depth)

    def _render(self, view, light, camera):
        ones = torch.ones_like(self.depth)
        return Rendering(rgb=ones.expand(-1, 3, -1, -1), mask=ones, depth=self.depth)


class Oracle(Method):
    """Knows the truth of each image, and may distort it."""

    def __init__(self, measure, distort=lambda depth: depth, input_view=True):
        super().__init__(RunConfig(method="oracle"))
        data = measure.source.dataset("test")
        self.known = [data[index] for index in range(len(data))]
        self.distort, self.input_view = distort, input_view

    def reconstruct(self, images):
        depth = [
            next(item["depth"] for item in self.known if torch.equal(item["image"], image))
            for image in images
        ]
        return Flat(self.distort(torch.stack(depth)), self.input_view)


@pytest.fixture(scope="module")
def measure(tmp_path_factory):
    settings = Settings(samples=4, batch_size=2, device=torch.device("cpu"))
    measure = ShapeMeasure(
        settings, average_over=8, image_size=SIZE, root=tmp_path_factory.mktemp("cache")
    )
    assert measure.items() == [0, 1, 2, 3]
    return measure


def test_averages_are_better_than_a_constant(measure):
    rows = {row: measure.baseline(row, [0, 1, 2, 3]) for row in measure.baselines}
    constant, average, subject = (rows[row] for row in (CONSTANT, AVERAGE, AVERAGE_SUBJECT))
    assert sum(rows[MEAN_HEAD]["side"]) < 0.7 * sum(subject["side"])  # it is told the view
    assert rows[TRUE_DEPTH]["side"] == pytest.approx([0] * 4, abs=1e-3)
    assert rows[TRUE_DEPTH]["left_out"] == [0] * 4
    assert sum(average["mad"]) < 0.8 * sum(constant["mad"])
    for metric in ("side", "mad"):
        assert sum(subject[metric]) < 0.9 * sum(constant[metric])
    assert 0.5 < sum(constant["side"]) / 4 < 10
    assert 10 < sum(constant["mad"]) / 4 < 80


def test_averages_are_means_of_the_train_splits_maps(measure):
    data = measure.source.dataset("train")
    assert len(data) == 8
    maps = torch.stack([data[index]["depth"] for index in range(8)])
    expected = maps.mean(0)
    torch.testing.assert_close(measure.average_depth[AVERAGE], expected)
    heads = (maps < 1.1).sum(0)
    subject = measure.average_depth[AVERAGE_SUBJECT]
    torch.testing.assert_close(subject[heads == 8], expected[heads == 8])
    row, column = next(iter((heads[0] == 3).nonzero().tolist()))
    pixel = maps[:, 0, row, column]
    assert subject[0, row, column].item() == pytest.approx(pixel[pixel < 1.1].mean().item())
    assert subject[0, 0, 0].item() == pytest.approx(1.1)


def test_the_truth_has_no_error_but_the_floor_of_the_released_normals(measure):
    values = measure.method(Oracle(measure), RECONSTRUCT, [1, 3])
    assert values["side"] == pytest.approx([0, 0], abs=1e-4)
    assert max(values["mad"]) < 3  # the floor: about 2.6 degrees for a frontal plane at 32 pixels


def test_scale_does_not_matter_but_shape_does(measure):
    (truth, scaled, bent) = (
        measure.method(Oracle(measure, distort), RECONSTRUCT, [0, 1, 2, 3])
        for distort in (lambda d: d, lambda d: 1.1 * d, lambda d: d**2)
    )
    assert scaled["side"] == pytest.approx(truth["side"], abs=1e-3)
    assert min(bent["side"]) > 0.3


def test_values_do_not_depend_on_the_batch(measure):
    oracle = Oracle(measure, lambda depth: depth**2)
    together = measure.method(oracle, RECONSTRUCT, [0, 1, 2, 3])
    alone = [measure.method(oracle, RECONSTRUCT, [item]) for item in range(4)]
    for metric, values in together.items():
        assert values == pytest.approx([part[metric][0] for part in alone], rel=1e-5)


def test_a_scene_without_an_input_view_is_refused(measure):
    with pytest.raises(UserError, match="without an input view"):
        measure.method(Oracle(measure, input_view=False), RECONSTRUCT, [0])


def test_the_protocol_says_what_was_measured_on(measure):
    protocol = measure.protocol()
    assert protocol["data"] == "heads, test"
    assert protocol["image_size"] == SIZE
    assert protocol["data_id"].startswith(f"{SIZE}px-")
