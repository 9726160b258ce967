"""The yaw of a face, measured from its five points."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gan3d_bench.assets.fetch import fetch
from gan3d_bench.datamodules.head_yaw import head_yaw_meter
from gan3d_bench.datamodules.heads import head_latents, render_heads, sample_heads
from gan3d_bench.faces.aligner import FaceAligner
from gan3d_bench.faces.yaw import YawEstimator, YawMeter, roll
from gan3d_bench.geometry.views import View

FACE = torch.tensor([[-3.0, -3, 0], [3, -3, 0], [0, 0, -3], [-2, 4, -1], [2, 4, -1]])


def placed(points, rng):
    """Points anywhere, of any size, rolled a little."""
    tilt = 0.2 * torch.randn(len(points), generator=rng)
    turn = View.from_angles(roll=tilt.rad2deg()).rotation_matrix()[:, :2, :2]
    size = 1 + 3 * torch.rand(len(points), 1, 1, generator=rng)
    return size * points @ turn.mT + 30 * torch.rand(len(points), 1, 2, generator=rng)


def faces(yaw, rng):
    """Five points of a rigid face at yaws (N,)."""
    return placed(View.from_angles(yaw, centre_depth=0.0).rotate(FACE[None])[..., :2], rng)


def test_yaw_is_measured_from_five_points_wherever_the_face_is():
    rng = torch.Generator().manual_seed(0)
    yaw = 60 * torch.rand(200, generator=rng) - 30
    estimator = YawEstimator.fit(faces(yaw, rng), yaw)
    other = torch.linspace(-75, 75, 50)  # beyond what it was fitted to, too
    torch.testing.assert_close(estimator(faces(other, rng)), other, atol=0.05, rtol=0)


@given(st.integers(0, 1000))
def test_a_mirrored_face_has_the_opposite_yaw(seed):
    rng = torch.Generator().manual_seed(seed)
    points = 10 * FACE[None, :, :2] + torch.randn(4, 5, 2, generator=rng)
    estimator = YawEstimator(torch.tensor([1.6, -0.7], dtype=torch.double))
    mirrored = (points * torch.tensor([-1.0, 1.0]))[:, [1, 0, 2, 4, 3]]
    torch.testing.assert_close(estimator(mirrored), -estimator(points))


def test_roll_is_that_of_the_line_of_the_eyes():
    angles = torch.tensor([-50.0, 0.0, 20.0])
    turn = View.from_angles(roll=angles).rotation_matrix()[:, :2, :2]
    torch.testing.assert_close(roll(5 * FACE[None, :, :2] @ turn.mT), angles)


def test_images_without_a_face_have_no_yaw():
    class Finder:
        def __call__(self, images):
            found = images.mean((1, 2, 3)) > 0
            return SimpleNamespace(found=found, points=images[found][:, :1, :1, 0].expand(-1, 5, 2))

    meter = YawMeter(Finder(), lambda points: 10 * points[:, 0, 0])
    images = torch.tensor([0.5, -0.5, 1.0]).view(3, 1, 1, 1).expand(-1, 3, 4, 4)
    expected = torch.tensor([5.0, torch.nan, 10.0])
    torch.testing.assert_close(meter(images), expected, equal_nan=True)


@pytest.mark.network
def test_other_heads_measure_the_yaw_they_are_rendered_at(tmp_path, monkeypatch):
    fetch("scrfd-500m")
    monkeypatch.setattr("gan3d_bench.datamodules.head_yaw.HEADS", 48)
    meter = head_yaw_meter(FaceAligner(), tmp_path)
    heads = sample_heads(head_latents("val", range(24)))
    yaw = heads.angles[:, 0]
    with torch.inference_mode():
        measured = meter(render_heads(heads, 64, 2)["image"])
    error = measured - yaw
    assert error.square().mean().sqrt() < 4
    assert yaw.std() > 10
    heads.angles[:] = torch.tensor([55.0, 0, 0])  # where few of the heads it was fitted to look
    with torch.inference_mode():
        assert 48 < meter(render_heads(heads, 64, 2)["image"]).mean() < 62
