"""The shape prior and its variants."""

from __future__ import annotations

import pytest
import torch

from gan3d_bench.geometry.depth_prior import SHAPES, Extent, mask_extent, prior_depth
from gan3d_bench.methods.gan2shape.config import PRIOR_SHAPES

SIZE, NEAR, FAR = 64, 0.91, 1.02
EXTENT = Extent(10, 54, 16, 46)


def prior(shape: str) -> torch.Tensor:
    return prior_depth(EXTENT, SIZE, NEAR, FAR, shape)


def centre(depth: torch.Tensor) -> tuple[float, float]:
    """Row and column of the mean of the raised part."""
    raised = (FAR - depth).clamp(min=0)
    grid = torch.arange(SIZE, dtype=torch.float32)
    return (
        float((raised.sum(1) * grid).sum() / raised.sum()),
        float((raised.sum(0) * grid).sum() / raised.sum()),
    )


def test_config_names_the_shapes():
    assert PRIOR_SHAPES == SHAPES


@pytest.mark.parametrize("shape", [s for s in SHAPES if s != "flat"])
def test_within_range_and_far_outside(shape):
    depth = prior(shape)
    assert depth.min() >= NEAR - 1e-4
    assert depth.max() == FAR
    assert depth[0, 0] == FAR
    assert depth.shape == (SIZE, SIZE)


def test_ellipsoid_is_nearest_at_its_centre_and_meets_the_far_plane():
    depth = prior("ellipsoid")
    assert depth.min() == pytest.approx(NEAR, abs=5e-4)
    row = depth[int(centre(depth)[0])]
    rim = row[row < FAR]
    assert rim.max() > FAR - 0.02  # no cliff at the rim
    assert (rim.diff().sign().diff().abs() > 0).sum() <= 1  # one valley


def test_asymmetric_is_an_ellipsoid_on_the_left_and_a_sphere_on_the_right():
    depth, ellipsoid = prior("asymmetric"), prior("ellipsoid")
    middle = (EXTENT.left + EXTENT.right) / 2
    left = torch.arange(SIZE) <= middle
    assert torch.equal(depth[:, left], ellipsoid[:, left])
    raised = depth[:, ~left] < FAR
    height, width = int(raised.any(1).sum()), int(raised.any(0).sum())
    assert height == pytest.approx(2 * width, abs=2)


@pytest.mark.parametrize(("shape", "part"), [("shift-6", 6), ("shift-4", 4)])
def test_shift_moves_right_only(shape, part):
    (row, column), (moved_row, moved_column) = centre(prior("ellipsoid")), centre(prior(shape))
    assert moved_column - column == pytest.approx(SIZE / part, abs=1.0)
    assert moved_row == pytest.approx(row, abs=0.1)


def test_weak_has_half_the_height():
    strong, weak = FAR - prior("ellipsoid").min(), FAR - prior("weak").min()
    assert weak == pytest.approx(float(strong) / 2, rel=0.02)


def test_flat_is_the_constant_that_a_centred_output_can_give():
    assert torch.equal(prior("flat"), torch.ones(SIZE, SIZE))


def test_extent_of_categories():
    mask = torch.zeros(32, 32)
    mask[8:20, 4:28] = 1
    mask[25, 25] = 0.5  # hair and neck do not count
    assert mask_extent(mask) == Extent(8, 19, 4, 27)
    assert mask_extent(mask, "synface").top == 8 - 11 / 6
    face = mask_extent(mask, "face")
    assert face.bottom == 31
    assert face.right - face.left == pytest.approx(23 * 10 / 12)
    assert mask_extent(mask, "car").bottom == 19 + 11 / 6
    assert mask_extent(torch.zeros(32, 32)) == Extent(0, 31, 0, 31)
