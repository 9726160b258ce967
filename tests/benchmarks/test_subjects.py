"""Other subjects' shapes in the place of the own: who sees the person leads."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gan3d_bench.benchmarks.baseline_shapes import MEAN_HEAD, as_average, ellipsoid_depth
from gan3d_bench.benchmarks.measure import Settings
from gan3d_bench.benchmarks.novel_view.measure import NovelViewMeasure
from gan3d_bench.benchmarks.shape.measure import ShapeMeasure
from gan3d_bench.benchmarks.subjects import Shape, individual_correlation, lead, mean_shape
from gan3d_bench.config import RunConfig
from gan3d_bench.geometry.views import View
from gan3d_bench.heads.sampling import FAR, FIELD_OF_VIEW, NEAR
from gan3d_bench.heads.scene import heads_scene
from gan3d_bench.methods.base import Method
from gan3d_bench.metrics.depth import SIDE
from gan3d_bench.scenes.input_depth import InputDepthScene
from gan3d_bench.spec import RECONSTRUCT

ITEMS = [0, 1, 2, 3, 4]
SIZE = 32


class Seer(Method):
    """Finds out which head an image shows, and how it is turned."""

    def __init__(self, measure) -> None:
        super().__init__(RunConfig(method="seer"))
        self.measure = measure
        self.images = torch.stack([measure.split("test")[item]["image"] for item in ITEMS])

    def items_of(self, images):
        return [int((self.images - image).abs().flatten(1).sum(1).argmin()) for image in images]

    def reconstruct(self, images):
        return heads_scene(self.measure.parameters(self.items_of(images)), SIZE)


class Average(Seer):
    """Sees how a head is turned, and takes everyone for the average person."""

    def reconstruct(self, images):
        heads = self.measure.parameters(self.items_of(images))
        return heads_scene(as_average(heads, self.measure.average), SIZE)


class InPlace(Seer):
    """Knows the depth map of the picture, not how the head in it is turned."""

    def reconstruct(self, images):
        depth = self.measure.batch(self.items_of(images))["depth"]
        return InputDepthScene(images, depth, (NEAR, FAR), FIELD_OF_VIEW)


@pytest.fixture(scope="module")
def measure(tmp_path_factory):
    settings = Settings(len(ITEMS), len(ITEMS), torch.device("cpu"))
    root = tmp_path_factory.mktemp("heads")
    measure = ShapeMeasure(settings, average_over=2, image_size=SIZE, root=root)
    assert measure.items() == ITEMS
    return measure


def measured(measure, method):
    with torch.no_grad():
        measure.begin(method, RECONSTRUCT, ITEMS)
        return measure.method(method, RECONSTRUCT, ITEMS)


@pytest.mark.parametrize("method", [Seer, InPlace])
def test_the_truth_leads_and_is_individual(measure, method):
    values = measured(measure, method(measure))
    for lead_over in ("lead_others", "lead_run_mean"):
        assert min(values[lead_over]) > 0.1, lead_over
    assert min(values["individual"]) > 0.6
    assert max(values["left_out"]) < 3
    assert ("lead_mean_head" in values) == (method is Seer)  # the others are turned to its view


def test_one_shape_for_all_leads_nothing(measure):
    values = measured(measure, Average(measure))
    for lead_over in ("lead_others", "lead_run_mean", "lead_mean_head"):
        assert values[lead_over] == pytest.approx([0] * 5, abs=2e-3), lead_over
    known = [value for value in values["individual"] if not math.isnan(value)]
    assert all(abs(value) < 0.6 for value in known)  # of rounding errors
    told = measure.baseline(MEAN_HEAD, ITEMS)
    assert values["side"] == pytest.approx(told["side"], abs=2e-2)


def test_a_run_of_one_subject_says_nothing(measure):
    method = Seer(measure)
    with torch.no_grad():
        measure.begin(method, RECONSTRUCT, [3])
        values = measure.method(method, RECONSTRUCT, [3])
    assert set(values) == {"side", "mad", "left_out"}


def test_leads_do_not_depend_on_the_batch(measure):
    method = Seer(measure)
    together = measured(measure, method)
    with torch.no_grad():
        alone = [measure.method(method, RECONSTRUCT, [item]) for item in ITEMS]
    for metric, values in together.items():
        assert values == pytest.approx([one[metric][0] for one in alone], abs=1e-4), metric


def test_carving_a_scene_does_not_pay(measure):
    class Carved(Seer):
        """Shows the nose's neighbourhood only, where the truth is nearly flat."""

        def reconstruct(self, images):
            scene = super().reconstruct(images)
            whole = scene.render

            def render(view, light=None, image_size=None):
                shown = whole(view, light, image_size)
                middle = torch.zeros_like(shown.mask)
                middle[:, :, 13:19, 13:19] = 1
                return replace(shown, mask=shown.mask * middle)

            scene.render = render
            return scene

    whole, carved = (measured(measure, method(measure)) for method in (Seer, Carved))
    assert max(whole["side"]) < 0.02
    assert min(carved["side"]) > 0.5
    assert min(carved["left_out"]) > 80


def test_the_ellipsoid_is_laid_over_the_outline(measure):
    outline = measure.truth(measure.average)["mask"]
    depth = ellipsoid_depth(outline, View.from_angles([0.0, 30.0]))
    assert depth.shape == (2, 1, SIZE, SIZE)
    assert depth.min() >= 0.9
    nearest = (depth[0, 0] == depth[0].min()).nonzero().float().mean(0)
    middle = (outline[0, 0] > 0.5).nonzero().float().mean(0)
    assert (nearest - middle).abs().max() < 4
    assert depth[1, 0].amin(0).argmin() > depth[0, 0].amin(0).argmin()  # turned to the right


def test_lead_is_taken_over_shared_pixels_and_the_mean_over_those_who_show_them():
    rng = torch.Generator().manual_seed(0)
    target = 1 + 0.05 * torch.rand(1, 1, 16, 16, generator=rng)
    target[:, :, :2] = 1.1
    one = torch.ones_like(target)
    own = Shape(target.clone(), one)
    half = one.clone()
    half[..., 8:] = 0
    wrong = torch.where(half > 0, target, 2 * target)  # wrong where it is not shown
    error = SIDE().instances
    assert lead(own, Shape(wrong, half), target, error) == pytest.approx(0, abs=1e-4)
    assert lead(own, Shape(wrong, one), target, error) > 1
    others = Shape(torch.cat([target, target + 0.02, target + 7]), torch.cat([one, one, half]))
    mean = mean_shape(others)
    right = slice(8, None)
    assert torch.allclose(mean.depth[..., right], target[..., right] + 0.01)
    assert mean.mask.all()
    assert not mean_shape(Shape(others.depth, torch.cat([one, half, half]))).mask[..., 8:].any()


def test_correlation_of_the_individual_part():
    rng = torch.Generator().manual_seed(0)
    mean, person, noise = (0.01 * torch.rand(1, 1, 16, 16, generator=rng) for _ in range(3))
    target = 1 + mean + person
    target[:, :, 0] = 2  # background
    average, mask = 1 + mean, torch.ones_like(mean)
    average[:, :, 0] = 2

    def found(own):
        return individual_correlation(Shape(own, mask), Shape(0.9 + mean, mask), target, average)

    assert found(3 * person + mean) == pytest.approx(1, abs=1e-4)
    assert found(1 - person + mean) == pytest.approx(-1, abs=1e-4)
    assert abs(found(noise + mean)) < 0.3
    assert math.isnan(found(1 + mean))


@pytest.mark.network
def test_novel_views_of_the_truth_lead_from_every_side(tmp_path_factory, monkeypatch):
    from gan3d_bench.assets.fetch import fetch
    from gan3d_bench.benchmarks.novel_view import measure as module

    for name in ("alexnet-lpips", "arcface-mbf", "scrfd-500m"):
        fetch(name)
    monkeypatch.setattr(module, "VIEWS", ((-30, 0), (45, 0)))
    settings = Settings(3, 3, torch.device("cpu"))
    measure = NovelViewMeasure(settings, image_size=SIZE, root=tmp_path_factory.mktemp("heads"))
    items = measure.items()
    method = Seer.__new__(Seer)
    Method.__init__(method, RunConfig(method="seer"))
    method.measure = measure
    method.images = torch.stack([measure.split("test")[item]["image"] for item in items])
    with torch.no_grad():
        measure.begin(method, RECONSTRUCT, items)
        values = measure.method(method, RECONSTRUCT, items)
        baselines = {row: measure.baseline(row, items) for row in measure.baselines}
    assert min(values["lead_others"]) > 0.1
    assert min(values["individual"]) > 0.5
    assert max(values["side"]) < 0.02
    for row, found in baselines.items():
        assert "lead_others" not in found, row
        assert ("side" in found) == (row != module.INPUT), row
    person, textured = (baselines[row] for row in (MEAN_HEAD, module.MEAN_HEAD_TEXTURED))
    assert min(textured["left_out"]) > max(values["left_out"])
    assert sum(person["side"]) < sum(textured["side"])
