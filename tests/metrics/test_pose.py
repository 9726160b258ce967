"""Pose errors and camera agreement: invariances, known rotations, two processes against one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from gan3d_bench.geometry.views import View
from gan3d_bench.metrics.angles import without_mean
from gan3d_bench.metrics.pose import (
    CameraAgreement,
    PoseError,
    angle_differences,
    angle_errors,
    camera_differences,
    wrap,
)

seeds = st.integers(0, 9999)


def angles(seed: int, n: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    """True angles anywhere, predicted ones some degrees off."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(n, 3, generator=generator, dtype=torch.float64) * 360 - 180
    return target + 10 * torch.randn(n, 3, generator=generator, dtype=torch.float64), target


def view(degrees: torch.Tensor) -> View:
    return View.from_angles(*degrees.unbind(1))


def rotations(seed: int, n: int) -> torch.Tensor:
    drawn = Rotation.random(n, random_state=np.random.default_rng(seed))
    return torch.from_numpy(drawn.as_matrix())


def rotation_about(vector: torch.Tensor) -> torch.Tensor:
    """The rotation by the vector's length, in radians, about its direction: (3,) to (3, 3)."""
    return torch.from_numpy(Rotation.from_rotvec(vector.numpy()).as_matrix())


@given(value=st.floats(-1e4, 1e4))
def test_wrapped_angles(value):
    wrapped = wrap(torch.tensor(value, dtype=torch.float64)).item()
    assert -180 <= wrapped < 180
    turns = (value - wrapped) / 360
    assert turns == pytest.approx(round(turns), abs=1e-9)


@settings(deadline=None)
@given(seed=seeds, turns=st.integers(-2, 2))
def test_errors_are_those_of_plain_arithmetic_and_ignore_whole_turns(seed, turns):
    predicted, target = angles(seed)
    difference = (predicted - target).numpy()
    for centred in (False, True):
        expected = np.abs(difference - difference.mean(0) * centred)
        found = angle_errors(predicted + 360 * turns, target, centred=centred)
        np.testing.assert_allclose(found, expected, atol=1e-9)


@settings(deadline=None)
@given(seed=seeds, offset=st.floats(-400, 400))
def test_what_a_method_calls_frontal_does_not_matter(seed, offset):
    predicted, target = angles(seed)
    torch.testing.assert_close(
        angle_errors(predicted + offset, target), angle_errors(predicted, target)
    )
    plain = angle_errors(target + offset, target, centred=False)
    torch.testing.assert_close(plain, wrap(torch.full_like(plain, offset)).abs(), rtol=0, atol=1e-9)


def test_pose_error_over_a_set():
    yaw = torch.tensor([10.0, 20, 30, 40])
    predicted = View.from_angles(yaw + torch.tensor([5.0, 7, 5, 3]), pitch=2.0)
    metric = PoseError()
    metric.update(predicted[:3], View.from_angles(yaw[:3], pitch=0.0))
    metric.update(predicted[3:], View.from_angles(yaw[3:], pitch=0.0))
    result = metric.compute()
    assert result["yaw"]["mean"].item() == pytest.approx(1.0, abs=1e-5)
    assert result["yaw"]["max"].item() == pytest.approx(2.0, abs=1e-5)
    assert result["yaw"]["standard_error"].item() == pytest.approx((4 / 3 / 4) ** 0.5, rel=1e-4)
    assert result["yaw"]["count"] == 4
    assert result["pitch"]["mean"].item() == pytest.approx(0.0, abs=1e-5)
    raw = PoseError(centred=False)
    values = raw.instances(predicted, View.from_angles(yaw))
    assert values["yaw"].tolist() == pytest.approx([5, 7, 5, 3], abs=1e-4)
    assert values["pitch"].tolist() == pytest.approx([2] * 4)
    metric.reset()
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert metric.compute()["yaw"]["mean"].isnan()


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_one_global_rotation_is_removed(seed):
    cameras, world = rotations(seed, 8), rotations(seed + 1, 1)
    for values in camera_differences(cameras @ world, cameras).values():
        assert values.max() < 1e-5
    raw = camera_differences(cameras @ world, cameras, aligned=False)
    # camera by camera the same rotation, seen from the camera: the angle is the world's
    expected = np.degrees(Rotation.from_matrix(world.numpy()).magnitude()).item()
    assert raw["rotation"].tolist() == pytest.approx([expected] * 8, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    seed=seeds,
    angle=st.floats(20, 160),
    more=st.floats(-15, 15),
    tilt=st.floats(0, 90),
)
def test_known_differences_of_axis_and_angle(seed, angle, more, tilt):
    generator = torch.Generator().manual_seed(seed)
    axis, other = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    axis = axis / axis.norm()
    normal = torch.linalg.cross(axis, other)
    normal = normal / normal.norm()
    turned = rotation_about(normal * np.radians(tilt)) @ axis
    target = rotation_about(axis * np.radians(angle))[None]
    predicted = rotation_about(turned * np.radians(angle + more))[None]
    found = camera_differences(predicted, target, aligned=False)
    assert found["axis"].item() == pytest.approx(tilt, abs=1e-4)
    assert found["angle"].item() == pytest.approx(abs(more), abs=1e-6)


def test_quaternions_agree_in_sign_across_half_a_turn():
    """179 degrees about z and 181 about z: 2 degrees apart, not axes that are opposite."""
    z = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    target, predicted = (rotation_about(z * np.radians(degrees))[None] for degrees in (179, 181))
    found = camera_differences(predicted, target, aligned=False)
    assert found["axis"].item() == pytest.approx(0, abs=1e-6)
    assert found["angle"].item() == pytest.approx(2, abs=1e-6)
    assert found["rotation"].item() == pytest.approx(2, abs=1e-6)


def test_the_identity_has_no_axis():
    found = camera_differences(torch.eye(3)[None], rotations(0, 1), aligned=False)
    assert found["axis"].item() == 0
    assert found["angle"].item() == pytest.approx(found["rotation"].item())
    with pytest.raises(ValueError, match="expected"):
        camera_differences(torch.eye(3), torch.eye(3))


def pose_results(part: slice) -> list[dict]:
    predicted, target = angles(0)
    pose, cameras = PoseError(), CameraAgreement()
    if part.stop:  # one update an image on one process, none at all on the other
        for index in range(len(predicted))[part]:
            pose.update(view(predicted[index : index + 1]), view(target[index : index + 1]))
        cameras.update(
            view(predicted[part]).rotation_matrix(), view(target[part]).rotation_matrix()
        )
    return [pose.compute(), cameras.compute()]


def _process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(
        {
            "shared out": pose_results(slice(0, 6) if rank == 0 else slice(6, 9)),
            "one idle": pose_results(slice(0, 9) if rank == 1 else slice(0, 0)),
        },
        f"{folder}/{rank}.pt",
    )
    dist.destroy_process_group()


def test_two_processes_give_the_numbers_of_one(tmp_path):
    mp.start_processes(_process, (str(tmp_path),), nprocs=2, start_method="fork")
    expected = pose_results(slice(0, 9))
    assert expected[1]["axis"]["count"] == 9
    for rank in (0, 1):
        for results in torch.load(tmp_path / f"{rank}.pt", weights_only=True).values():
            torch.testing.assert_close(results, expected, rtol=1e-9, atol=1e-9)


@given(st.lists(st.floats(-179, 179), min_size=2, max_size=6))
def test_what_a_set_leaves_of_signed_errors(errors: list[float]) -> None:
    """As stored results do it, which have no torch."""
    predicted = torch.tensor(errors, dtype=torch.float64)[:, None].expand(-1, 3)
    expected = angle_errors(predicted, torch.zeros_like(predicted))[:, 0]
    known = torch.tensor(errors).deg2rad()
    assume(torch.hypot(known.sin().mean(), known.cos().mean()) > 1e-3)  # else no mean direction
    distance = (torch.tensor(without_mean(errors)) - expected).abs()
    assert torch.minimum(distance, 360 - distance).max() < 1e-4


def test_signed_differences_of_views() -> None:
    one = View.from_angles(torch.tensor([170.0, 10.0]), torch.tensor([1.0, 2.0]))
    two = View.from_angles(torch.tensor([-170.0, 12.0]), torch.tensor([0.0, 5.0]))
    found = angle_differences(one, two)
    torch.testing.assert_close(found["yaw"], torch.tensor([-20.0, -2.0], dtype=torch.float64))
    torch.testing.assert_close(found["pitch"], torch.tensor([1.0, -3.0], dtype=torch.float64))
