"""EG3D's 25 numbers and the suite's views: one camera, two ways to write it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.generators.eg3d.cameras import (
    CameraOrbit,
    camera_of,
    mirrored,
    require_cameras,
)
from gan3d_bench.geometry.views import View
from gan3d_bench.rendering.cameras import PinholeCamera

SOME = settings(max_examples=40, deadline=None)
ORBITS = st.builds(
    CameraOrbit,
    radius=st.floats(1.0, 4.0),
    pivot=st.tuples(*[st.floats(-0.3, 0.3)] * 3),
    focal=st.floats(0.5, 6.0),
)
FFHQ = CameraOrbit()


@st.composite
def views(draw) -> View:
    rows = [
        [draw(st.floats(-85, 85)) for _ in range(3)] + [draw(st.floats(-0.5, 0.5)) for _ in "xyz"]
        for _ in range(2)
    ]
    values = torch.tensor(rows, dtype=torch.float64)
    centre = draw(st.floats(0.5, 3.0))
    return View.from_angles(*values[:, :3].unbind(1), values[:, 3:], centre_depth=centre)


def seen(labels: Tensor, points: Tensor) -> Tensor:
    """World points (P, 3) in the axes of the labels' cameras, by the definition of cam2world."""
    pose = labels[:, :16].unflatten(1, (4, 4))
    whole = torch.cat((points, torch.ones_like(points[:, :1])), 1)
    return (torch.linalg.inv(pose) @ whole.T).transpose(1, 2)[..., :3]


def canonical(orbit: CameraOrbit, points: Tensor) -> Tensor:
    """World points as the frontal camera sees them: x right, y down, z forward."""
    x, y, z = points.unbind(1)
    return torch.stack((x, -y, orbit.radius - z), 1)


@SOME
@given(ORBITS, views())
def test_a_view_and_its_label_show_the_same(orbit: CameraOrbit, view: View) -> None:
    points = torch.randn(5, 3, dtype=torch.float64)
    labels = orbit.labels(view)
    require_cameras(labels, 2)
    expected = view.transform(canonical(orbit, points)[None])
    torch.testing.assert_close(seen(labels, points), expected, rtol=0, atol=1e-9)


@SOME
@given(ORBITS, views())
def test_labels_come_back_from_views(orbit: CameraOrbit, view: View) -> None:
    labels = orbit.labels(view)
    again = orbit.view(labels)
    assert again.centre_depth == orbit.centre_depth
    torch.testing.assert_close(orbit.labels(again), labels, rtol=0, atol=1e-7)
    torch.testing.assert_close(again.yaw, view.yaw, rtol=0, atol=1e-5)
    torch.testing.assert_close(again.pitch, view.pitch, rtol=0, atol=1e-5)
    torch.testing.assert_close(again.roll, view.roll, rtol=0, atol=1e-5)


@SOME
@given(ORBITS, st.floats(-1.5, 1.5), st.floats(-0.7, 0.7))
def test_cameras_of_the_sampler(orbit: CameraOrbit, a: float, b: float) -> None:
    labels = orbit.look_at(torch.tensor([a]).double(), torch.tensor([b]).double())
    require_cameras(labels, 1)
    pose = labels[0, :16].view(4, 4)
    position = pose[:3, 3]
    sine = -2 * b / math.pi
    flat = math.sqrt(1 - sine**2)
    expected = [flat * math.sin(a), sine, flat * math.cos(a)]
    torch.testing.assert_close(position / orbit.radius, torch.tensor(expected).double())
    # the pivot is straight ahead, and the horizon is level
    ahead = seen(labels, torch.tensor([orbit.pivot]).double())[0, 0]
    assert ahead[2] > 0
    torch.testing.assert_close(ahead[:2], torch.zeros(2).double(), rtol=0, atol=1e-7)
    assert abs(pose[1, 0]) < 1e-7
    assert pose[1, 1] < 0  # OpenCV: the camera's y points down
    assert labels[0, 16:].tolist() == pytest.approx(
        [orbit.focal, 0, 0.5, 0, orbit.focal, 0.5, 0, 0, 1]
    )


def test_the_frontal_camera_is_the_canonical_view() -> None:
    labels = FFHQ.frontal(2)
    pose = labels[0, :16].view(4, 4)
    expected = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    expected[2, 3] = 2.7
    torch.testing.assert_close(pose, expected, rtol=0, atol=1e-6)
    view = FFHQ.view(labels)
    zero = torch.zeros(2)
    for angle in (view.yaw, view.pitch, view.roll):
        torch.testing.assert_close(angle, zero, rtol=0, atol=1e-4)
    torch.testing.assert_close(view.translation, torch.zeros(2, 3), rtol=0, atol=1e-5)
    assert view.centre_depth == pytest.approx(2.5)


def test_signs_are_those_of_the_suite() -> None:
    """A camera to the right sees the nose turn to the left, one above sees it sink."""
    view = FFHQ.view(FFHQ.look_at(torch.tensor([0.4, 0.0]), torch.tensor([0.0, -0.3])))
    assert view.yaw[0] < -20 and abs(view.pitch[0]) < 1e-3
    assert view.pitch[1] < -8 and abs(view.yaw[1]) < 1e-3
    origin = CameraOrbit(2.7, (0.0, 0.0, 0.0))
    turned = origin.view(origin.look_at(torch.tensor([0.4]), torch.tensor([-0.3])))
    elevation = math.degrees(math.asin(0.6 / math.pi))
    orbit = View.from_orbit(math.degrees(0.4), elevation, centre_depth=2.7)
    torch.testing.assert_close(turned.yaw, orbit.yaw, rtol=0, atol=1e-3)
    torch.testing.assert_close(turned.pitch, orbit.pitch, rtol=0, atol=1e-3)
    torch.testing.assert_close(turned.roll, orbit.roll, rtol=0, atol=1e-3)


@SOME
@given(views())
def test_mirrored_cameras_see_the_mirrored_subject(view: View) -> None:
    labels = FFHQ.labels(view)
    points = torch.randn(5, 3, dtype=torch.float64)
    flip = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(seen(mirrored(labels), points * flip), seen(labels, points) * flip)
    other = FFHQ.view(mirrored(labels))
    torch.testing.assert_close(other.yaw, -view.yaw, rtol=0, atol=1e-5)
    torch.testing.assert_close(other.pitch, view.pitch, rtol=0, atol=1e-5)
    torch.testing.assert_close(other.roll, -view.roll, rtol=0, atol=1e-5)
    torch.testing.assert_close(mirrored(mirrored(labels)), labels)


@SOME
@given(st.sampled_from([32, 64, 512]), st.floats(5.0, 90.0))
def test_a_pinhole_camera_survives(size: int, fov: float) -> None:
    camera = PinholeCamera(size, fov)
    labels = FFHQ.labels(View.from_angles([0.0, 30.0]), camera)
    assert camera_of(labels, size).fov == pytest.approx(fov, rel=1e-4)
    # pixel i lies at (i + 0.5) / R of the side
    point = torch.tensor([[0.1, -0.05, 2.0]])
    pixel = camera.project(point)[0]
    own = labels[0, 16:].view(3, 3) @ (point[0] / point[0, 2])
    torch.testing.assert_close((pixel + 0.5) / size, own[:2], rtol=1e-5, atol=1e-5)


def test_field_of_view_of_the_released_faces() -> None:
    wide = 2 * math.degrees(math.atan(0.5 / FFHQ.focal))
    assert wide == pytest.approx(13.374, abs=1e-3)
    assert FFHQ.camera(512).focal == pytest.approx(4.2647 * 512)


def test_sampling_is_by_its_generator_and_spread() -> None:
    def offsets(kind, seed: int = 0) -> Tensor:
        labels = FFHQ.sample(500, torch.Generator().manual_seed(seed), (0.3, 0.1), kind)
        position = labels[:, :16].view(-1, 4, 4)[:, :3, 3]
        return torch.stack(
            (torch.atan2(position[:, 0], position[:, 2]), -position[:, 1] / 2.7 * math.pi / 2), 1
        )

    normal, even = offsets("gaussian"), offsets("uniform")
    assert torch.equal(normal, offsets("gaussian"))
    assert not torch.equal(normal, offsets("gaussian", seed=1))
    torch.testing.assert_close(normal.std(0), torch.tensor([0.3, 0.1]), rtol=0.1, atol=0)
    torch.testing.assert_close(even.abs().amax(0), torch.tensor([0.3, 0.1]), rtol=0.02, atol=0)
    assert even.abs().amax(0)[0] <= 0.3 + 1e-6


def test_trajectory_circles_the_front() -> None:
    labels = FFHQ.trajectory()
    assert labels.shape == (120, 25)
    require_cameras(labels)
    yaw = FFHQ.view(labels).yaw
    # about a pivot that is nearer than the centre of the sphere, angles are larger than the offset
    assert yaw.max() > 20 and yaw.min() < -20 and abs(float(yaw.mean())) < 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :16], r"\(1, 16\), expected \(1, 25\)"),
        (lambda x: x.repeat(2, 1), r"\(2, 25\), expected \(1, 25\)"),
        (lambda x: x * float("nan"), "all finite"),
        (lambda x: x * 2, "with a rotation"),
        (lambda x: torch.cat((-x[:, :16], x[:, 16:]), 1), "with a rotation"),
        (lambda x: torch.cat((x[:, :16], -x[:, 16:]), 1), "positive focal lengths"),
    ],
)
def test_what_is_no_camera_is_refused(change, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        require_cameras(change(FFHQ.frontal()), 1)
    assert "\n" not in str(error.value)


def test_cameras_that_are_no_pinhole_of_the_suite_are_refused() -> None:
    labels = FFHQ.frontal(2)
    for index, value in ((16, 3.0), (18, 0.4), (17, 0.2), (20, 4.0)):
        other = labels.clone()
        other[1, index] = value
        with pytest.raises(UserError, match="expected one focal length"):
            camera_of(other, 64)
