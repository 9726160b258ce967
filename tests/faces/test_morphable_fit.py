"""A morphable model fitted to pictures whose truth is known."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from gan3d_bench.assets.fetch import fetch
from gan3d_bench.datamodules.heads import head_latents, render_heads, sample_heads
from gan3d_bench.errors import UserError
from gan3d_bench.faces import landmark_correspondences as landmark_map
from gan3d_bench.faces import landmark_fit
from gan3d_bench.faces.face_model import REGION_WIDTH, FaceModel
from gan3d_bench.faces.landmark_correspondences import LandmarkCorrespondences
from gan3d_bench.faces.landmark_fit import POSE, place, projection_slope
from gan3d_bench.faces.landmark_sources import (
    FaceMeshSource,
    KnownLandmarks,
    Landmarks106Source,
    open_landmarks,
)
from gan3d_bench.faces.morphable_fit import FaceFit, FitConfig, MorphableFit
from gan3d_bench.geometry.meshes import vertex_normals
from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.metrics.depth import NormalisedDepthError
from gan3d_bench.rendering.cameras import PinholeCamera

SIZE = 64
HEADS = 4


@pytest.fixture(scope="module")
def heads() -> MorphableModel:
    return MorphableModel.load_heads()


@pytest.fixture(scope="module")
def space(heads) -> FaceModel:
    return FaceModel.of(heads)


@pytest.fixture(scope="module")
def truth() -> SimpleNamespace:
    """Heads turned far enough for their views to be told apart, and their maps."""
    chosen = sample_heads(head_latents("val", range(HEADS)))
    chosen.angles[:, 0] = torch.tensor([-30.0, -10.0, 15.0, 40.0])
    return SimpleNamespace(heads=chosen, **render_heads(chosen, SIZE))


@pytest.fixture(scope="module")
def exact(space) -> KnownLandmarks:
    """106 vertices of the face, at which a finder that knows the truth finds the landmarks."""
    region = space.faces[space.in_region].unique()
    return KnownLandmarks(region[torch.linspace(0, len(region) - 1, 106).long()], 1e-3)


class Finder:
    """Finds where the truth has its landmarks; no face in black pictures."""

    label = name = "truth"
    scale_deviation = math.inf

    def __init__(
        self, model: MorphableModel, truth: SimpleNamespace, known: KnownLandmarks
    ) -> None:
        self.on = known.on
        vertices = model.vertices(truth.heads.identity, truth.heads.expression)
        posed = truth.heads.view.transform(vertices + torch.tensor([0.0, 0.0, 1.0]))
        self.points = PinholeCamera(SIZE).project(posed[:, known.vertex])
        self.images = truth.image

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        found = images.amax((1, 2, 3)) > -1
        which = (images[:, None] - self.images).abs().mean((2, 3, 4)).argmin(1)
        return self.points[which].where(found[:, None, None], torch.nan), found


@pytest.fixture(scope="module")
def finder(heads, truth, exact) -> Finder:
    return Finder(heads, truth, exact)


def build(finder: Finder, model: MorphableModel | None = None, **config):
    config = FitConfig(**{"image_size": SIZE, "steps": 15, "looseness": 1.0, **config})
    return MorphableFit(model, config, source=finder)


def depth_error(fit: MorphableFit, found: FaceFit, truth: SimpleNamespace) -> float:
    drawn = fit.render(found, SIZE)
    return NormalisedDepthError().instances(drawn.depth, truth.depth, drawn.mask).mean().item()


@pytest.fixture(scope="module")
def fitted(finder, truth) -> tuple[MorphableFit, FaceFit]:
    fit = build(finder)
    return fit, fit(truth.image)


def test_pose_and_depth_of_heads_are_recovered(fitted, truth) -> None:
    fit, found = fitted
    assert found.found.all()
    view = found.view
    angles = torch.stack((view.yaw, view.pitch, view.roll), 1)
    torch.testing.assert_close(angles, truth.heads.angles, atol=5, rtol=0)
    assert (angles[:, 0] - truth.heads.angles[:, 0]).abs().mean() < 2.5
    assert found.landmark_error.max() < 1.5
    assert found.scale.log().abs().max() < 0.1
    assert depth_error(fit, found, truth) < 0.25
    front = replace(found, shape=torch.zeros_like(found.shape))
    assert depth_error(fit, found, truth) < 0.8 * depth_error(fit, front, truth)


def test_pixels_explain_the_picture(finder, truth, fitted) -> None:
    _, coloured = fitted
    without = build(finder, steps=0)(truth.image)
    assert (coloured.colour_error < 0.6 * without.colour_error).all()
    assert (without.colour == 0).all()


def test_faces_are_fitted_independently_and_missing_ones_are_nan(finder, truth, fitted) -> None:
    _, together = fitted
    black = torch.full((1, 3, SIZE, SIZE), -1.0)
    fit = build(finder)
    found = fit(torch.cat((black, truth.image[1:2])))
    assert found.found.tolist() == [False, True]
    assert found.pose[0].isnan().all() and found.landmark_error[0].isnan()
    torch.testing.assert_close(found.pose[1], together.pose[1], atol=1e-3, rtol=0)
    nobody = fit(black)
    assert nobody.found.tolist() == [False] and nobody.shape.isnan().all()
    joined = FaceFit.join([nobody, together[2:]])
    assert joined.found.tolist() == [False, True, True]


@pytest.mark.pytorch3d
def test_engines_agree(finder, truth) -> None:
    ours, theirs = (
        build(finder, steps=2, engine=engine)(truth.image[:1])
        for engine in ("scatter", "pytorch3d")
    )
    torch.testing.assert_close(ours.pose, theirs.pose, atol=2e-3, rtol=0)


def test_wild_landmarks_hardly_count(finder, truth) -> None:
    fit = build(finder, steps=0)
    camera = PinholeCamera(SIZE)
    plane = (finder.points - torch.tensor(camera.centre)) / camera.focal
    clean = fit.landmarks(plane, 12)
    plane[:, ::10] += 0.02  # more than an eye's width
    torch.testing.assert_close(fit.landmarks(plane, 12)[:, 0], clean[:, 0], atol=0.06, rtol=0)


def test_weights_are_standard_normal(heads, space) -> None:
    """Expressions of the prior have weights of deviation 1, and come back."""
    assert heads.prior is not None
    rng = torch.Generator().manual_seed(1)
    known = heads.prior.expression(torch.randn(512, heads.prior.expression_latents, generator=rng))
    shown = heads.vertices(torch.zeros(512, 80), known) - space.mean
    basis = space.shape_basis[80:].flatten(1)
    weights = torch.linalg.lstsq(basis.T, shown.flatten(1).T).solution.T
    assert weights.mean(0).abs().max() < 0.25
    torch.testing.assert_close(weights.std(0), torch.ones(len(basis)), atol=0.25, rtol=0)
    rest = shown - (weights @ basis).view_as(shown)
    assert rest.norm(dim=2).max() < 0.3 * shown.norm(dim=2).max()


@pytest.fixture(scope="module")
def basel(heads, space) -> MorphableModel:
    """The heads as a Basel Face Model has its faces: decimetres, y up, z to the viewer."""
    turn = torch.tensor([16.0, -16.0, -16.0])
    return MorphableModel(
        name="basel",
        mean=space.mean * turn,
        identity_basis=space.shape_basis[:80] * turn,
        expression_basis=space.shape_basis[80:] * turn,
        faces=heads.faces.flip(1),
        albedo_mean=space.colour_mean,
        albedo_basis=space.colour_basis,
        landmarks=heads.landmarks,
        face_region=heads.face_region,
    )


def test_a_basel_model_is_brought_to_camera_axes(basel, space, finder, truth) -> None:
    other = FaceModel.of(basel)
    size = (other.mean / space.mean).median()
    torch.testing.assert_close(other.mean, size * space.mean, atol=1e-5, rtol=0)
    across = other.mean[basel.face_region, 0]
    across = across.max() - across.min()
    assert across.item() == pytest.approx(REGION_WIDTH, rel=1e-3)
    normals = vertex_normals(other.mean[None], other.faces)[0]
    assert normals[basel.landmarks, 2].max() < 0  # towards the viewer
    found = build(finder, basel, steps=1)(truth.image[:2])
    torch.testing.assert_close(found.view.yaw, truth.heads.angles[:2, 0], atol=5, rtol=0)


def test_a_missing_basel_model_is_said(tmp_path, finder) -> None:
    with pytest.raises(UserError, match=r"nowhere\.mat: no such file"):
        MorphableFit(tmp_path / "nowhere.mat", source=finder)


@pytest.mark.network
def test_landmarks_are_found_on_the_models_own_pictures(
    space, heads, tmp_path, monkeypatch
) -> None:
    for asset in ("scrfd-500m", "landmarks-106"):
        fetch(asset)
    monkeypatch.setattr(landmark_map, "YAWS", (-20.0, 20.0))
    monkeypatch.setattr(landmark_map, "PICTURES", 16)
    finder = Landmarks106Source()
    built = LandmarkCorrespondences.of(space, finder, tmp_path)
    assert built.vertex.shape == (2, 106)
    points = (space.mean[built.vertex] + built.offset).mean(0)
    eyes = torch.stack([points[33:43].mean(0), points[87:97].mean(0)])
    own = heads.mean[heads.landmarks]
    assert (eyes - own[:2]).norm(dim=1).max() < 0.008  # of a face 0.1 wide
    assert (points[52:72].mean(0) - own[3:].mean(0)).norm() < 0.01
    assert 2e-4 < built.deviation.median() < 2e-3
    (kept,) = tmp_path.rglob("*.safetensors")
    assert torch.equal(LandmarkCorrespondences.of(space, finder, tmp_path).vertex, built.vertex)
    kept.write_bytes(b"damaged")
    assert torch.equal(LandmarkCorrespondences.of(space, finder, tmp_path).vertex, built.vertex)


def test_between_two_sides_the_map_is_blended(space, exact) -> None:
    (low, first), (high, second) = exact.on(space).at(torch.tensor([-90.0, -60.0, 10.0, 90.0]))
    assert low.tolist() == [0, 0, 3, 5]
    assert (high - low == 1).all()
    torch.testing.assert_close(second, torch.tensor([0, 0, 0.5, 1.0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(first, 1 - second)
    assert POSE == 6


def test_landmarks_given_several_times_count_as_once(
    space, finder, exact, truth, monkeypatch
) -> None:
    """Not as errors of their own: the prior keeps its weight."""
    config = FitConfig(image_size=SIZE, steps=0, looseness=1.0)
    plane = MorphableFit(space, config, source=exact).plane(finder.points, SIZE)
    noise = torch.randn(plane.shape, generator=torch.Generator().manual_seed(0))
    plane = plane + 2e-4 * noise  # where the cost is quadratic

    def shape(times: int) -> Tensor:
        known = KnownLandmarks(exact.vertex.repeat(times), 1e-3)
        fit = MorphableFit(space, config, source=known)
        return fit.landmarks(plane.repeat(1, times, 1), 12)[:, POSE:]

    once = shape(1)
    away = (shape(4) - once).abs().mean()
    assert away < 0.05 * once.abs().mean()
    monkeypatch.setattr(landmark_fit, "INDEPENDENT", 1000)
    assert (shape(4) - once).abs().mean() > 4 * away


def test_slopes_are_those_of_forward_differentiation() -> None:
    """Of projected landmarks by pose and shape."""
    rng = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    points, directions = 0.05 * normal(3, 11, 3), 0.002 * normal(3, 11, 7, 3)
    pose = torch.tensor([0.4, 0.2, 0.2, 0.01, 0.01, 0.2], dtype=torch.float64)
    state = torch.cat((pose * normal(3, POSE), normal(3, 7)), 1)

    def projected(state: Tensor) -> Tensor:
        shaped = points + torch.einsum("bk,blkc->blc", state[:, POSE:], directions)
        placed = place(state[:, :POSE], shaped)
        return placed[..., :2] / placed[..., 2:]

    jacobian = torch.func.jacfwd(projected)(state)  # of every face by every face
    own = torch.stack([jacobian[i, :, :, i] for i in range(3)])
    seen, slope = projection_slope(state, points, directions)
    torch.testing.assert_close(seen, projected(state), rtol=1e-12, atol=0)
    torch.testing.assert_close(slope, own, rtol=1e-9, atol=1e-12)
    _, rigid = projection_slope(state, points, directions, rigid=True)
    torch.testing.assert_close(rigid, own[..., :POSE], rtol=1e-9, atol=1e-12)


def test_known_landmarks_need_no_asset(space, heads, truth, exact, tmp_path, monkeypatch) -> None:
    """They give the shape, not the mean of all; any number of them."""
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(tmp_path / "empty"))
    known = KnownLandmarks(exact.vertex[::2], 2e-4)
    fit = MorphableFit(config=FitConfig(image_size=SIZE, steps=0, looseness=1.0), source=known)
    assert not (tmp_path / "empty").exists()
    points = Finder(heads, truth, known).points
    found = fit.fit(truth.image, fit.plane(points, SIZE))
    vertices = heads.vertices(truth.heads.identity, truth.heads.expression)
    here = space.in_region[:, None] & torch.ones_like(space.faces, dtype=torch.bool)
    region = space.faces[here].unique()

    def error(shape: Tensor) -> Tensor:
        return (space.vertices(shape) - vertices)[:, region].norm(dim=2).mean()

    assert error(found.shape) < 0.6 * error(torch.zeros_like(found.shape))
    with pytest.raises(UserError, match="expected landmarks=landmarks-106 or face-mesh-468"):
        fit(truth.image)
    other = KnownLandmarks(exact.vertex[::2], 3e-4)
    assert other.label != known.label
    assert MorphableFit(config=fit.config, source=other).fingerprint != fit.fingerprint


def test_an_unknown_source_gets_the_nearest_name() -> None:
    with pytest.raises(UserError, match="did you mean 'face-mesh-468'"):
        open_landmarks("face-mesh")


def test_a_face_mesh_without_its_package_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr("gan3d_bench.faces.face_mesh.asset_path", lambda name: Path(name))
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(UserError, match=r"landmarks=face-mesh-468: .*pip install ai-edge-litert"):
        FaceMeshSource()


@pytest.mark.network
def test_the_face_mesh_is_found_wherever_the_face_is(truth) -> None:
    """Moved, in a picture that is no square; no face in a black one."""
    pytest.importorskip("ai_edge_litert")
    fetch("face-mesh-468")
    source = FaceMeshSource()
    image = render_heads(truth.heads[1:2], 192)["image"]
    black = torch.full_like(image, -1.0)
    points, found = source(torch.cat((image, black)))
    assert found.tolist() == [True, False] and points[1].isnan().all()
    wide = torch.cat((black, image), 3)
    torch.testing.assert_close(
        source(wide)[0][0] - torch.tensor([192.0, 0.0]), points[0], atol=4, rtol=0
    )
    corners = points[0][[33, 263]]
    assert corners[0, 0] < corners[1, 0] and (corners[1] - corners[0]).norm() > 40
