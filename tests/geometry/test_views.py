"""Views: signs, inverses and the papers' conventions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gan3d_bench.geometry.views import View

ANGLE = st.floats(-85, 85)
SHIFT = st.floats(-0.5, 0.5)
NOSE = torch.tensor([[[0.0, 0.0, 0.9]]], dtype=torch.float64)
EAR = torch.tensor([[[0.1, 0.0, 1.0]]], dtype=torch.float64)


@st.composite
def views(draw) -> View:
    rows = [[draw(ANGLE) for _ in range(3)] + [draw(SHIFT) for _ in range(3)] for _ in range(2)]
    values = torch.tensor(rows, dtype=torch.float64)
    return View.from_angles(*values[:, :3].unbind(1), values[:, 3:], centre_depth=1.0)


def double(**angles: float) -> View:
    return View.from_angles(**{k: torch.tensor(v).double() for k, v in angles.items()})


@settings(max_examples=30, deadline=None)
@given(views())
def test_rotations_are_rotations_and_inverses_invert(view):
    matrix = view.rotation_matrix()
    eye = torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    torch.testing.assert_close(matrix @ matrix.transpose(1, 2), eye)
    torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(2, dtype=torch.float64))
    points = torch.rand(2, 4, 5, 3, dtype=torch.float64)
    torch.testing.assert_close(view.inverse_transform(view.transform(points)), points)


@settings(max_examples=30, deadline=None)
@given(views())
def test_conversions_are_inverse(view):
    again = View.from_gan2shape(view.to_gan2shape())
    recovered = View.from_matrix(view.rotation_matrix(), view.translation)
    for other in (again, recovered):
        torch.testing.assert_close(other.yaw, view.yaw)
        torch.testing.assert_close(other.pitch, view.pitch)
        torch.testing.assert_close(other.roll, view.roll)
        torch.testing.assert_close(other.translation, view.translation)


def test_signs():
    right, down = 0, 1
    assert double(yaw=20.0).transform(NOSE)[0, 0, right] > 0.03
    assert double(pitch=20.0).transform(NOSE)[0, 0, down] < -0.03
    # Clockwise in the image: the point on the right goes down.
    assert double(roll=20.0).transform(EAR)[0, 0, down] > 0.03


def test_rotation_centre_is_fixed_and_translation_follows():
    view = View.from_angles(30.0, -20.0, 10.0, (0.1, -0.2, 0.3))
    moved = view.transform(torch.tensor([[[0.0, 0.0, 1.0]]]))
    torch.testing.assert_close(moved, torch.tensor([[[0.1, -0.2, 1.3]]]))


def test_bfm_angles_turn_the_nose_as_in_the_model_s_own_axes():
    angles = torch.tensor([[0.2, 0.3, -0.1]], dtype=torch.float64)
    shift = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64)
    (cx, cy, cz), (sx, sy, sz) = angles[0].cos().tolist(), angles[0].sin().tolist()
    rotation = (
        torch.tensor([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        @ torch.tensor([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ torch.tensor([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ).double()
    axes = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
    point = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
    expected = (rotation @ point + shift[0]) * axes + torch.tensor([0.0, 0.0, 10.0])
    view = View.from_bfm(angles, shift, centre_depth=10.0)
    camera_point = point * axes + torch.tensor([0.0, 0.0, 10.0])
    torch.testing.assert_close(
        view.transform(camera_point[None, None])[0, 0], expected, rtol=0, atol=1e-6
    )
    assert view.yaw > 0


def test_orbit():
    """A camera that moves right sees the nose turn left; one that rises sees it sink."""
    view = View.from_orbit(30.0, 20.0, centre_depth=1.0)
    nose = view.transform(NOSE.float())[0, 0]
    assert nose[0] < -0.03
    assert nose[1] > 0.02
    # The subject stays upright: its up axis keeps no sideways component.
    up = view.rotate(torch.tensor([[[0.0, -1.0, 0.0]]]))[0, 0]
    assert abs(up[0]) < 1e-6


def test_sweep_indexing_and_broadcast():
    sweep = View.sweep(yaw=(-60, 60), steps=5)
    assert len(sweep) == 5
    assert sweep[1].yaw.tolist() == [-30.0]
    assert sweep[-1].yaw.tolist() == [60.0]
    assert View.from_angles([1.0, 2.0], 3.0).pitch.tolist() == [3.0, 3.0]
    with pytest.raises(ValueError, match="do not fit"):
        View.from_angles([1.0, 2.0], [1.0, 2.0, 3.0])


def test_gradients_reach_the_angles():
    values = torch.tensor([[10.0, -20.0, 5.0]], dtype=torch.float64, requires_grad=True)

    def matrix(v):
        return View.from_angles(*v.unbind(1)).rotation_matrix()

    assert torch.autograd.gradcheck(matrix, values)


@given(views(), views())
def test_the_view_between_two_carries_the_one_to_the_other(before: View, after: View) -> None:
    points = torch.tensor([[0.02, -0.01, 0.98], [0.0, 0.03, 1.05], [-0.04, 0.0, 1.0]]).double()
    carried = View.between(before, after).transform(before.transform(points[None]))
    torch.testing.assert_close(carried, after.transform(points[None]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("azimuth", [0.0, 75.0, 180.0, 301.0])
def test_going_round_adds_to_the_azimuth(azimuth):
    before = View.from_orbit([azimuth], [20.0], centre_depth=1.0)
    after = View.from_orbit([azimuth + 130], [20.0], centre_depth=1.0)
    moved = before.gone_round(130.0)
    assert torch.allclose(moved.rotation_matrix(), after.rotation_matrix(), atol=1e-6)
