"""Table `depth-pose`: the truth has no error, whatever a method calls frontal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import fmean

import pytest
import torch
from torch import Tensor

from gan3d_bench.benchmarks.depth_pose.measure import DepthPoseMeasure
from gan3d_bench.benchmarks.depth_pose.spec import SPEC
from gan3d_bench.benchmarks.measure import Settings
from gan3d_bench.config import RunConfig
from gan3d_bench.geometry.views import View
from gan3d_bench.heads.scene import heads_scene
from gan3d_bench.methods.base import Method
from gan3d_bench.metrics.angles import without_mean
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.scenes.base import Scene
from gan3d_bench.spec import RECONSTRUCT

ITEMS = [0, 1, 2, 3]


class Seen(Scene):
    """Depth maps at the views they belong to."""

    capabilities = frozenset({"depth"})

    def __init__(self, depth: Tensor, view: View) -> None:
        self.depth, self.input_view = depth, view
        self.camera = PinholeCamera(depth.shape[-1])

    @property
    def batch_size(self) -> int:
        return len(self.depth)

    def _render(self, view: View, light, camera) -> Rendering:
        assert view is self.input_view
        ones = torch.ones_like(self.depth)
        return Rendering(rgb=ones.expand(-1, 3, -1, -1), mask=ones, depth=self.depth)


class Oracle(Method):
    """Knows depth and view of each image, and may distort them."""

    def __init__(
        self,
        measure: DepthPoseMeasure,
        depth: Callable[[Tensor], Tensor] = lambda depth: depth,
        view: Callable[[View], View] = lambda view: view,
    ) -> None:
        super().__init__(RunConfig(method="oracle"))
        data = measure.split("test")
        self.known = [data[index] for index in range(len(data))]
        self.views = data.parameters.view
        self.depth, self.view = depth, view

    def reconstruct(self, images: Tensor) -> Seen:
        found = [next(i for i, item in enumerate(self.known) if torch.equal(item["image"], image))
                 for image in images]  # fmt: skip
        depth = torch.stack([self.known[index]["depth"] for index in found])
        return Seen(self.depth(depth), self.view(self.views[torch.tensor(found)]))


@pytest.fixture(scope="module")
def measure(tmp_path_factory: pytest.TempPathFactory) -> DepthPoseMeasure:
    settings = Settings(samples=4, batch_size=2, device=torch.device("cpu"))
    built = DepthPoseMeasure(settings, image_size=32, root=tmp_path_factory.mktemp("heads"))
    assert built.items() == ITEMS
    return built


def errors(measure: DepthPoseMeasure, method: Method) -> dict[str, float]:
    one, two = (measure.method(method, RECONSTRUCT, items) for items in (ITEMS[:2], ITEMS[2:]))
    assert {*one} == {"depth", "left_out", *measure.signed}
    angles = {key: fmean(without_mean(one[key] + two[key])) for key in measure.signed}
    return {"depth": max(one["depth"] + two["depth"]), **angles}


def test_scale_of_depth_and_frontal_view_do_not_matter(measure: DepthPoseMeasure) -> None:
    def shifted(view: View) -> View:
        return replace(view, yaw=view.yaw + 7, pitch=view.pitch - 3, roll=view.roll + 1)

    for found in (
        errors(measure, Oracle(measure)),
        errors(measure, Oracle(measure, depth=lambda depth: 3 * depth - 1, view=shifted)),
    ):
        assert found == pytest.approx(dict.fromkeys(found, 0), abs=1e-3)


def test_relief_inside_out_and_mirrored_views_are_bad(measure: DepthPoseMeasure) -> None:
    found = errors(
        measure,
        Oracle(measure, lambda depth: 2 - depth, lambda view: replace(view, yaw=-view.yaw)),
    )
    yaw = measure.parameters(ITEMS).view.yaw.double()
    assert found["depth"] == pytest.approx(2, abs=1e-3)
    assert found["yaw"] == pytest.approx(2 * (yaw - yaw.mean()).abs().mean().item(), rel=1e-4)
    assert found["pitch"] == pytest.approx(0, abs=1e-4)


def test_the_constant_has_the_spread_of_the_heads(measure: DepthPoseMeasure) -> None:
    values = measure.baseline(SPEC.rows[0], ITEMS)
    assert values["depth"] == [pytest.approx(1, abs=1e-5)] * 4
    assert values["left_out"] == [0] * 4
    views = measure.parameters(ITEMS).view
    for name in measure.signed:
        angles = getattr(views, name).double()
        spread = (angles - angles.mean()).abs().mean().item()
        assert fmean(without_mean(values[name])) == pytest.approx(spread, rel=1e-4)


def test_shapes_that_are_told_the_view_have_no_angles(measure: DepthPoseMeasure) -> None:
    ellipsoid, mean = (measure.baseline(row, ITEMS) for row in SPEC.rows[1:3])
    assert {*mean} == {*ellipsoid} == {"depth", "left_out"}
    assert sum(mean["depth"]) < sum(ellipsoid["depth"]) < 4


def test_the_truth_leads_other_heads(measure: DepthPoseMeasure) -> None:
    class Turned(Oracle):
        """Another head at the view of the first: its true depth there."""

        def reconstruct(self, images: Tensor):
            found = super().reconstruct(images)
            stored = torch.stack([item["image"] for item in self.known])
            items = [int((stored - one).abs().flatten(1).sum(1).argmin()) for one in images]
            return heads_scene(measure.parameters(items), found.camera.width)

    method = Turned(measure)
    with torch.no_grad():
        measure.begin(method, RECONSTRUCT, ITEMS)
        values = measure.method(method, RECONSTRUCT, ITEMS)
    assert set(values) == {column.metric for column in SPEC.columns}
    assert min(values["lead_others"]) > 0.1
    assert max(values["depth"]) < 0.05
