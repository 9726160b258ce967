"""Rotation of subjects by moving stylecodes along a direction of W."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gan3d_bench.errors import UserError
from gan3d_bench.generators.latent_rotation import (
    StylecodeRotationScene,
    monotonic_yaw,
    yaw_direction,
)
from gan3d_bench.geometry.views import View
from gan3d_bench.rendering.shading import LambertLight

STEPS = [-2.0, -1.0, 0.0, 1.0, 2.0]


class Plain:
    """A generator whose pictures are as bright as the first entry of w."""

    image_size = 4

    def synthesis(self, w):
        return w[:, :1, None, None].expand(-1, 3, 4, 4)


def brightness(images):
    """Yaw of the pictures of `Plain`: brightness times 40; bright ones show no face."""
    mean = images.mean((1, 2, 3))
    return torch.where(mean < 0.75, 40 * mean, torch.nan)


def test_the_direction_that_changes_yaw_most_is_chosen_with_its_sign():
    w = 0.3 * torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    directions = torch.tensor([[0.0, 1, 0], [-0.8, 0, 0.6], [0.1, 0, 0.995]])
    chosen = yaw_direction(Plain(), directions, w, brightness)
    spread = (w @ directions[1]).std()
    torch.testing.assert_close(chosen, -directions[1] * spread)


def test_no_direction_is_chosen_where_no_face_is_found():
    with pytest.raises(ValueError, match="no sample shows a face"):
        yaw_direction(Plain(), torch.eye(3), torch.ones(4, 3), brightness)


def test_subjects_rotate_to_the_yaw_asked_for_and_no_further_than_they_reach():
    w = torch.tensor([[0.0, 0.3], [0.2, 0.0], [0.9, 0.0]])
    scene = StylecodeRotationScene(Plain(), w, torch.tensor([0.25, 0.0]), brightness, STEPS)
    shown = scene.render(View.from_angles([-15.0, -10.0, -15.0]), image_size=8)
    assert shown.rgb.shape == (3, 3, 8, 8)
    assert shown.mask.shape == (3, 1, 8, 8)
    torch.testing.assert_close(brightness(shown.rgb[:2]), torch.tensor([-15.0, -10.0]))
    assert shown.mask.amax((1, 2, 3)).tolist() == [1, 1, 0]  # the last one shows no face as it is
    beyond = scene.render(View.from_angles([-20.5, 27.0, 0.0]))
    assert beyond.mask.amax((1, 2, 3)).tolist() == [0, 1, 0]
    with pytest.raises(UserError, match="relight"):
        scene.render(View.from_angles([0.0] * 3), LambertLight(*torch.ones(2, 3), torch.ones(3, 3)))


def test_only_steps_that_increase_yaw_are_kept_up_to_the_first_without_a_face():
    steps = np.arange(-4.0, 5)
    yaw = np.array([-90, np.nan, -8, -9, 1, 4, 3, 7, np.nan])
    kept, reached = monotonic_yaw(steps, yaw)
    assert kept.tolist() == [-1, 0, 1, 3]
    assert reached.tolist() == [-9, 1, 4, 7]


@given(st.lists(st.floats(-90, 90) | st.just(math.nan), min_size=5, max_size=5))
def test_steps_kept_and_their_yaw_are_monotonic(yaw):
    kept, reached = monotonic_yaw(np.array(STEPS), np.array(yaw))
    assert (np.diff(kept) > 0).all()
    assert (np.diff(reached) > 0).all()
    assert (0.0 in kept) == (not math.isnan(yaw[2]))
    pairs = list(zip(STEPS, yaw, strict=True))
    assert all(pair in pairs for pair in zip(kept.tolist(), reached.tolist(), strict=True))
