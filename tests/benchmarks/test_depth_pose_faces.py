"""Table `depth-pose-ffhq`: the reference has no error, in whatever frame a method works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import fmean
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from gan3d_bench.benchmarks.depth_pose import faces
from gan3d_bench.benchmarks.depth_pose.faces import FaceDepthPoseMeasure
from gan3d_bench.benchmarks.depth_pose.references import References
from gan3d_bench.benchmarks.depth_pose.spec import FACES, REFERENCE, SPEC
from gan3d_bench.benchmarks.measure import Settings
from gan3d_bench.benchmarks.stored import assemble
from gan3d_bench.config import RunConfig, compose, to_dict
from gan3d_bench.errors import UserError
from gan3d_bench.faces.morphable_fit import FaceFit
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.base import Method
from gan3d_bench.methods.gan2shape.spec import SPEC as GAN2SHAPE
from gan3d_bench.metrics.angles import without_mean
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.images import frame
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.scenes.base import Scene
from gan3d_bench.spec import RECONSTRUCT

SIZE = 40  # of whole pictures; the method takes the middle 32
FACELESS = 1


def bowl(number: Tensor) -> Tensor:
    """Relief (B, 1, 40, 40) of each face, and nothing like a plane."""
    line = torch.linspace(-1, 1, SIZE)
    x, y = line, line[:, None]
    return 1 - 0.05 * torch.exp(-4 * (x - 0.1 * number.view(-1, 1, 1, 1)) ** 2 - 2 * y**2)


class Fit:
    """Knows the face of a picture by its brightness."""

    label, fingerprint = REFERENCE, "known"
    calls = 0

    def source(self, images: Tensor) -> tuple[Tensor, Tensor]:
        found = (images.mean((1, 2, 3)) * 100).round() != FACELESS
        return images.new_zeros(len(images), 106, 2), found

    def __call__(self, images: Tensor) -> FaceFit:
        self.calls += 1
        number = (images.mean((1, 2, 3)) * 100).round()
        pose = torch.zeros(len(images), 6)
        pose[:, 0], pose[:, 1] = (10 * number).deg2rad(), (3 * number**2).deg2rad()
        zeros = torch.zeros(len(images))
        return FaceFit(
            self.source(images)[1], pose, number[:, None], number[:, None],
            torch.zeros(len(images), 3, 9), zeros, zeros,
        )  # fmt: skip

    def render(self, fit: FaceFit, size: int) -> SimpleNamespace:
        assert size == SIZE
        mask = torch.zeros(len(fit), 1, size, size)
        mask[..., 10:30, 12:28] = 1
        return SimpleNamespace(depth=bowl(fit.shape) * mask, mask=mask)


class Seen(Scene):
    capabilities = frozenset({"depth"})

    def __init__(self, depth: Tensor, view: View | None) -> None:
        self.depth, self.input_view = depth, view
        self.camera = PinholeCamera(depth.shape[-1])

    @property
    def batch_size(self) -> int:
        return len(self.depth)

    def _render(self, view: View, light, camera) -> Rendering:
        assert view is self.input_view
        assert camera.width == self.depth.shape[-1]
        ones = torch.ones_like(self.depth)
        return Rendering(rgb=ones.expand(-1, 3, -1, -1), mask=ones, depth=self.depth)


class Oracle(Method):
    """Takes the middle of pictures, and knows their faces."""

    def __init__(
        self,
        depth: Callable[[Tensor], Tensor] = lambda depth: depth,
        view: Callable[[View], View | None] = lambda view: view,
    ) -> None:
        super().__init__(RunConfig(method="oracle"))
        self.depth, self.view = depth, view

    def framed(self, pictures: Tensor) -> Tensor:
        return frame(pictures, 32, 32, SIZE)

    def reconstruct(self, images: Tensor) -> Seen:
        assert images.shape[1:] == (3, 32, 32)
        fit = Fit()(images)
        return Seen(self.depth(bowl(fit.shape)[..., 4:36, 4:36]), self.view(fit.view))


@pytest.fixture
def measure(tmp_path, monkeypatch) -> FaceDepthPoseMeasure:
    monkeypatch.setattr(faces, "WHOLE", SIZE)
    monkeypatch.setattr(faces, "teacher_hash", lambda name: "hash")
    settings = Settings(samples=5, batch_size=2, device=torch.device("cpu"))
    built = FaceDepthPoseMeasure(settings, fit=Fit(), root=tmp_path)  # type: ignore[arg-type]

    def pictures(items):
        return (torch.tensor(list(items)) / 100).view(-1, 1, 1, 1).expand(-1, 3, SIZE, SIZE)

    monkeypatch.setattr(built.references, "pictures", pictures)
    monkeypatch.setattr(built, "pictures", pictures)
    return built


def errors(measure: FaceDepthPoseMeasure, method: Method) -> dict[str, float]:
    one, two = (measure.method(method, RECONSTRUCT, items) for items in ([0, 2], [3, 4]))
    angles = {key: fmean(without_mean(one[key] + two[key])) for key in measure.signed}
    return {"depth": max(one["depth"] + two["depth"]), **angles}


def test_the_reference_has_no_error_in_a_methods_frame(measure) -> None:
    assert measure.items() == [0, 2, 3, 4]  # no face is found in one picture

    def shifted(view: View) -> View:
        return replace(view, yaw=view.yaw + 7, pitch=view.pitch - 3, roll=view.roll + 1)

    for method in (Oracle(), Oracle(lambda depth: 3 * depth - 1, shifted)):
        found = errors(measure, method)
        assert set(found) == {"depth", "yaw", "pitch", "roll"}
        assert found == pytest.approx(dict.fromkeys(found, 0), abs=1e-3)


def test_other_reliefs_and_views_are_bad(measure) -> None:
    found = errors(measure, Oracle(lambda d: 2 - d, lambda view: replace(view, yaw=-view.yaw)))
    yaw = 10 * torch.tensor([0.0, 2, 3, 4])
    assert found["depth"] == pytest.approx(2, abs=1e-3)
    assert found["yaw"] == pytest.approx(2 * (yaw - yaw.mean()).abs().mean().item(), rel=1e-3)
    assert found["pitch"] == pytest.approx(0, abs=1e-3)
    assert 0.1 < errors(measure, Oracle(lambda d: d.roll(3, 3)))["depth"] < 2
    with pytest.raises(UserError, match="'oracle' reconstructs a scene without an input view"):
        errors(measure, Oracle(view=lambda view: None))


def test_the_truth_leads_other_faces_and_baselines_are_told_the_pose(measure) -> None:
    class Turned(Seen):
        def _render(self, view: View, light, camera) -> Rendering:
            return super()._render(self.input_view, light, camera)

    class Shapes(Oracle):
        def reconstruct(self, images: Tensor) -> Seen:
            found = super().reconstruct(images)
            return Turned(found.depth, found.input_view)

    items = measure.items()
    method = Shapes()
    measure.begin(method, RECONSTRUCT, items)
    values = measure.method(method, RECONSTRUCT, items)
    assert set(values) == {c.metric for c in FACES.columns}
    assert min(values["lead_others"]) > 0.01
    assert max(values["depth"]) < 1e-3
    for row in FACES.rows[1:3]:
        known = measure.baseline(row, items)
        assert 0.1 < max(known["depth"]) < 2
        assert not set(known) & set(measure.signed)


def test_the_constant_has_the_spread_of_the_faces(measure) -> None:
    values = measure.baseline(FACES.rows[0], [0, 2, 3, 4])
    assert values["depth"] == [pytest.approx(1, abs=1e-5)] * 4
    yaw = 10 * torch.tensor([0.0, 2, 3, 4])
    spread = (yaw - yaw.mean()).abs().mean().item()
    assert fmean(without_mean(values["yaw"])) == pytest.approx(spread, rel=1e-4)


def test_a_face_is_fitted_once(measure, tmp_path) -> None:
    fit = measure.fit
    first = measure.references([0, 3])
    again = measure.references([3, 0])
    assert fit.calls == 1
    torch.testing.assert_close(again.pose, first.pose.flip(0))
    (path,) = tmp_path.rglob("000003.safetensors")
    path.write_bytes(b"damaged")
    torch.testing.assert_close(measure.references([0, 3]).pose, first.pose)
    assert fit.calls == 2
    other = References(fit, measure.references.pictures, "other pictures", tmp_path)
    other([0])
    assert fit.calls == 3


def test_both_tables_carry_the_papers_numbers() -> None:
    cells, others = (
        {
            (line.row, metric): cell.reported.value
            for line in assemble(spec, []).lines
            for metric, cell in line.cells.items()
            if cell.reported
        }
        for spec in (SPEC, FACES)
    )
    assert cells == others
    assert len(others) == 6 * 4
    assert others["LiftedGAN", "depth"] == 0.435
    assert others["Unsup3D", "yaw"] == 2.78
    assert SPEC.rows[3:] == FACES.rows[3:]


def test_the_standard_reference_heads_no_column(measure) -> None:
    networks = measure.protocol()["networks"]
    assert {c.metric: c.network for c in FACES.columns if c.network} == networks


def test_runs_fitted_to_the_samples_have_a_row() -> None:
    config = to_dict(compose(GAN2SHAPE, "ffhq-128", None, []))
    assert GAN2SHAPE.rows(FACES.name, config) == {"GAN2Shape (3D)": RECONSTRUCT}
    assert GAN2SHAPE.rows(SPEC.name, config) == {}
    assert GAN2SHAPE.rows(FACES.name, {**config, "split": "train"}) == {}
