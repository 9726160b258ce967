"""`tools/measure_view_teacher.py`: how it reads angles, and which generators know a content."""

from __future__ import annotations

import pytest
import torch
from measure_view_teacher import apart, contents, silhouettes, spread
from torch import Tensor


@pytest.mark.parametrize("turn", [0.0, 90.0, 355.0])
def test_spread_does_not_depend_on_where_zero_is(turn: float) -> None:
    angles = (torch.tensor([[-10.0, 10.0], [0.0, 0.0], [-30.0, 60.0]]) + turn) % 360
    expected = torch.tensor([10.0, 0.0, 45.0])
    torch.testing.assert_close(spread(angles), expected, atol=1e-3, rtol=0)


def test_angles_are_apart_by_half_a_turn_at_most() -> None:
    a, b = torch.tensor([350.0, 0.0, 90.0]), torch.tensor([10.0, 180.0, 90.0])
    assert apart(a, b).tolist() == apart(b, a).tolist() == [20.0, 180.0, 0.0]


@pytest.fixture
def true() -> Tensor:
    """Pictures of 2 views of 4 contents, nothing alike."""
    return torch.rand(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_content_is_known_to_who_repeats_it_and_not_to_who_shows_the_mean(true: Tensor) -> None:
    mask = torch.ones_like(true[:, :, :1])
    known = contents((true + 0.01).clamp(-1, 1), true, mask)
    assert known["PSNR, own ahead of another content's"].min() > 20
    assert known["PSNR, own ahead of mean of others' renderings"].min() > 20
    blind = contents(true.mean(1, keepdim=True).expand_as(true), true, mask)
    assert blind["PSNR, own ahead of another content's"].abs().max() == 0
    # the mean of the others has not seen the own one, this mean has: a little ahead
    assert 0 < blind["PSNR, own ahead of mean of others' renderings"].mean() < 5


def test_only_the_objects_pixels_count(true: Tensor) -> None:
    mask = torch.zeros_like(true[:, :, :1])
    mask[..., :4] = 1
    changed = torch.where(mask.bool(), true, -true)
    own = contents(changed, true, mask)["PSNR, own"]
    assert torch.equal(own, contents(true, true, mask)["PSNR, own"])
    assert (contents(changed, true, 1 - mask)["PSNR, own"] < own).all()


def test_an_object_of_another_outline_overlaps_less() -> None:
    mask = torch.zeros(1, 2, 1, 32, 32)
    mask[0, 0, 0, 8:24, 8:24] = 1
    mask[0, 1, 0, 12:20, 4:28] = 1
    true = (2 * mask - 1).expand(-1, -1, 3, -1, -1)
    found = silhouettes(true.roll(1, 1), true, mask)
    assert (found["silhouette IoU, renderings"] == 1).all()
    other = found["silhouette IoU, another content's true one"]
    assert torch.equal(found["silhouette IoU, teacher"], other) and (other < 0.6).all()
