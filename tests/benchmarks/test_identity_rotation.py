"""Table `identity-rotation`: comparing the embeddings of turned faces."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gan3d_bench.assets.fetch import fetch
from gan3d_bench.benchmarks.heads import before_grey, turned, with_own_light
from gan3d_bench.benchmarks.identity_rotation import faces, identity
from gan3d_bench.benchmarks.identity_rotation import measure as module
from gan3d_bench.benchmarks.identity_rotation.faces import FaceRotationMeasure
from gan3d_bench.benchmarks.identity_rotation.identity import CURVE, VIEWS, from_front
from gan3d_bench.benchmarks.identity_rotation.measure import (
    GANSPACE,
    SEFA,
    TRUTH,
    IdentityRotationMeasure,
)
from gan3d_bench.benchmarks.identity_rotation.spec import FACES, SPEC
from gan3d_bench.benchmarks.measure import Settings
from gan3d_bench.benchmarks.results import Result
from gan3d_bench.benchmarks.table import merge
from gan3d_bench.config import RunConfig, compose, to_dict
from gan3d_bench.generators import base
from gan3d_bench.generators.base import Teacher
from gan3d_bench.generators.latents import numbered_z
from gan3d_bench.methods.base import Method
from gan3d_bench.methods.gan2shape.spec import SPEC as GAN2SHAPE
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.scenes.base import Scene
from gan3d_bench.spec import RECONSTRUCT

HEADS = 4

# -- comparing embeddings ----------------------------------------------------------------------


def test_the_view_nearest_to_the_front_with_a_face_is_the_reference():
    yaws = torch.tensor([0.0, -10.0, 5.0, 20.0])
    at = torch.tensor([[0.0, 10, 20, 50], [math.nan, 10, 30, math.nan], [math.nan] * 4]).deg2rad()
    angles, reference = from_front(torch.stack([at.cos(), at.sin()], 2), yaws)
    assert reference[:2].tolist() == [0, 2]
    expected = torch.tensor([[0, 10, 20, 50], [math.nan, 20, 0, math.nan], [math.nan] * 4])
    torch.testing.assert_close(angles, expected, atol=1e-3, rtol=0, equal_nan=True)


class Finder:
    """Finds a face in every picture that is not grey."""

    label = "finder"

    def __call__(self, images):
        found = images.abs().amax((1, 2, 3)) > 0
        return SimpleNamespace(images=images[found], found=found, points=None)


class Embedder(torch.nn.Module):
    """Embeds a picture at the angle (degrees) that its brightness is a hundredth of."""

    label = "embedder"

    def __init__(self, weights="arcface-mbf"):
        super().__init__()

    def forward(self, images):
        at = (100 * images.mean((1, 2, 3))).deg2rad()
        return torch.stack([at.cos(), at.sin()], 1)


class Faded(Scene):
    """Brightens by 0.01 a degree of yaw, from 0.5 at the front; grey beyond a limit."""

    def __init__(self, count, limit):
        self.count, self.limit = count, limit
        self.camera = PinholeCamera(8)

    @property
    def batch_size(self):
        return self.count

    def _render(self, view, light, camera):
        rgb = (0.5 + 0.01 * view.yaw)[:, None, None, None].expand(-1, 3, 8, 8)
        return Rendering(rgb, (view.yaw.abs() <= self.limit).float()[:, None, None, None])


class Turner(Method):
    """Reconstructs what `scene` makes of images."""

    def __init__(self, scene):
        super().__init__(RunConfig(method="turner"))
        self.scene = scene

    def framed(self, pictures):
        return pictures

    def reconstruct(self, images):
        return self.scene(images)


def settings(samples):
    return Settings(samples=samples, batch_size=2, device=torch.device("cpu"))


@pytest.fixture
def stubbed(monkeypatch, tmp_path):
    monkeypatch.setattr(identity, "FaceAligner", Finder)
    monkeypatch.setattr(identity, "ArcFace", Embedder)
    measure = IdentityRotationMeasure(settings(1), image_size=16, train_size=1, root=tmp_path)

    def yaw(images):
        """Of `Faded`; no face is found where there is nothing."""
        degrees = 100 * (images.mean((1, 2, 3)) - 0.5)
        return degrees.where(images.flatten(1).any(1), torch.nan)

    measure.yaw = yaw
    return measure


def test_mean_and_largest_angle_are_over_the_views_with_a_face(stubbed):
    items = stubbed.items()
    values = stubbed.method(Turner(lambda images: Faded(len(images), 60)), RECONSTRUCT, items)
    assert values["error_mean"] == pytest.approx([np.abs(VIEWS).mean()], abs=1e-2)
    assert values["error_max"] == pytest.approx([20], abs=1e-2)
    assert values["faces"] == [100]
    for yaw in CURVE:
        cosine = math.cos(math.radians(yaw))
        assert values[f"similarity@yaw={yaw}"] == pytest.approx([cosine], abs=1e-4)

    values = stubbed.method(Turner(lambda images: Faded(len(images), 10)), RECONSTRUCT, items)
    seen = [abs(yaw) for yaw in VIEWS if abs(yaw) <= 10]
    assert values["error_mean"] == pytest.approx([np.mean(seen)], abs=1e-2)
    assert values["error_max"] == pytest.approx([max(seen)], abs=1e-2)
    assert values["faces"] == pytest.approx([100 * len(seen) / 20])
    assert math.isnan(values["similarity@yaw=15"][0])

    values = stubbed.method(Turner(lambda images: Faded(len(images), -1)), RECONSTRUCT, items)
    assert math.isnan(values["error_mean"][0])
    assert math.isnan(values["error_max"][0])
    assert values["faces"] == [0]
    assert math.isnan(values["matched"][0])


def test_who_turns_less_than_asked_is_compared_where_he_has_turned(stubbed):
    class Lazy(Faded):
        def _render(self, view, light, camera):
            return super()._render(replace(view, yaw=view.yaw / 2), light, camera)

    items = stubbed.items()
    eager, lazy = (
        stubbed.method(Turner(lambda images, kind=kind: kind(1, 60)), RECONSTRUCT, items)
        for kind in (Faded, Lazy)
    )
    assert eager["turned"] == pytest.approx([40], abs=0.05)
    assert lazy["turned"] == pytest.approx([20], abs=0.05)
    assert lazy["error_mean"] == pytest.approx([eager["error_mean"][0] / 2], abs=0.05)
    assert lazy["matched"] == pytest.approx(eager["matched"], abs=0.1)
    assert eager["matched"] == pytest.approx(eager["error_mean"], abs=0.1)
    half = stubbed.method(Turner(lambda images: Lazy(1, 15)), RECONSTRUCT, items)
    assert math.isnan(half["matched"][0])  # it never turns by 20 degrees


def test_the_protocol_states_the_networks(stubbed):
    networks = stubbed.protocol()["networks"]
    assert networks["error_mean"] == networks["error_max"] == "embedder, finder"
    assert networks["faces"] == "finder"


# -- on samples of a teacher -------------------------------------------------------------------


class Turning(base.Generator):
    """Pictures as bright as the sum of their stylecode is degrees turned."""

    num_ws, image_size = 1, 8

    def __init__(self):
        super().__init__(z_dim=4, w_dim=4)
        self.mapping = torch.nn.Identity()

    def style_weights(self):
        return []

    def synthesis(self, w):
        return (0.5 + 0.01 * w.sum(1))[:, None, None, None].expand(-1, 3, 8, 8)


@pytest.fixture
def on_samples(monkeypatch):
    monkeypatch.setattr(identity, "FaceAligner", Finder)
    monkeypatch.setattr(identity, "ArcFace", Embedder)
    teacher = Teacher("turning", Turning())
    monkeypatch.setattr(faces, "load_teacher", lambda name, size: teacher)
    steps = {kind: torch.full((4,), 0.25) for kind in faces.BASELINES.values()}
    known = SimpleNamespace(of_teacher=lambda name: SimpleNamespace(steps=steps))
    monkeypatch.setattr(faces, "Directions", known)
    measure = FaceRotationMeasure(settings(3))
    measure.yaw = lambda images: 100 * (images.mean((1, 2, 3)) - 0.5)
    return measure


def test_baselines_move_samples_to_where_they_measure_the_yaw(on_samples):
    """Whatever its stylecode, a sample shows each view where its picture says so."""
    assert on_samples.baselines
    for row in on_samples.baselines:
        values = on_samples.baseline(row, [0, 2])
        assert values["turned"] == pytest.approx([40] * 2, abs=0.05)
        assert values["error_mean"] == pytest.approx([np.abs(VIEWS).mean()] * 2, abs=0.05)
        assert values["error_max"] == pytest.approx([20] * 2, abs=0.05)
        assert values["faces"] == [100, 100]


def test_methods_see_the_samples_of_their_items(on_samples):
    seen = []

    def scene(images):
        seen.append(images)
        return Faded(len(images), 90)

    values = on_samples.method(Turner(scene), RECONSTRUCT, [1, 2])
    assert values["turned"] == pytest.approx([40] * 2, abs=0.05)
    assert values["error_mean"] == pytest.approx([np.abs(VIEWS).mean()] * 2, abs=0.05)
    w = numbered_z("test", [1, 2], 4) * 0.7
    assert torch.equal(seen[0], Turning().synthesis(w))
    assert on_samples.items() == [0, 1, 2]


def test_runs_on_faces_have_rows_where_they_were_measured():
    config = to_dict(compose(GAN2SHAPE, "ffhq-128", None, []))
    assert GAN2SHAPE.rows(FACES.name, config) == {
        "GAN2Shape (3D)": RECONSTRUCT,
        "GAN2Shape (GAN)": "gan",
    }
    assert GAN2SHAPE.rows(SPEC.name, config) == {}
    for other in ({"split": "train"}, {"truncation": 1.0}, {"teacher": "x"}, {"image_size": 64}):
        assert GAN2SHAPE.rows(FACES.name, {**config, **other}) == {}


# -- on real networks ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    for asset in ("arcface-mbf", "scrfd-500m"):
        fetch(asset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "STEPS", (-2.0, -1.0, 0.0, 1.0, 2.0))
        patch.setattr(module, "SAMPLES", 4)
        patch.setattr(module, "DIRECTIONS", 3)
        patch.setattr(module, "GANSPACE_SAMPLES", 2000)
        patch.setattr(identity, "VIEWS", (-19.0, -7.0, 7.0, 19.0))
        patch.setattr(identity, "CURVE", ())
        root = tmp_path_factory.mktemp("heads")
        yield IdentityRotationMeasure(settings(HEADS), train_size=32, root=root)


class True3D(Scene):
    """The true heads; each view shows the person `shift` places on per degree turned."""

    def __init__(self, measure, items, shift):
        self.measure, self.items, self.shift = measure, items, shift
        self.camera = PinholeCamera(64)

    @property
    def batch_size(self):
        return len(self.items)

    def _render(self, view, light, camera):
        yaw = float(view.yaw[0])
        moved = [(item + self.shift * round(yaw)) % HEADS for item in self.items]
        heads = before_grey(self.measure.parameters(moved))
        maps = self.measure.truth(with_own_light(turned(heads, yaw), heads))
        return Rendering(maps["image"], torch.ones_like(maps["mask"]))


@pytest.mark.network
def test_true_heads_keep_their_identity_and_exchanged_ones_do_not(real):
    items = real.items()
    truth = real.baseline(TRUTH, items)
    assert truth["faces"] == [100] * HEADS
    own = real.method(Turner(lambda images: True3D(real, items, 0)), RECONSTRUCT, items)
    assert own == {key: pytest.approx(values, nan_ok=True) for key, values in truth.items()}
    other = real.method(Turner(lambda images: True3D(real, items, 1)), RECONSTRUCT, items)
    assert np.mean(truth["error_mean"]) < 30
    assert np.mean(other["error_mean"]) > 50
    images = real.batch(items)["image"]

    class Still(True3D):
        def _render(self, view, light, camera):
            return Rendering(images, torch.ones_like(images[:, :1]))

    still = real.method(Turner(lambda images: Still(real, items, 0)), RECONSTRUCT, items)
    assert still["error_max"] == pytest.approx([0] * HEADS, abs=1e-3)


@pytest.mark.network
def test_generator_rotation_turns_heads_and_changes_them_more_than_the_truth(real):
    items = real.items()
    truth = real.baseline(TRUTH, items)
    rows = {row: real.baseline(row, items) for row in (SEFA, GANSPACE)}
    for values in rows.values():
        assert np.mean(values["faces"]) > 50
        assert np.mean(values["error_mean"]) > np.mean(truth["error_mean"])
    protocol = {"version": SPEC.version, **real.protocol()}
    results = [
        Result(SPEC.name, row, "baseline", real.data, protocol, items, values)
        for row, values in {TRUTH: truth, **rows}.items()
    ]
    lines = {line.row: line for line in merge(SPEC, results).lines}
    assert lines[SEFA].cells["error_mean"].reported.value == 41.79
    assert not lines[TRUTH].cells["error_mean"].marked  # a bound
