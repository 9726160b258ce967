"""Spread over subjects against spread over pixels."""

from __future__ import annotations

import math

import pytest
import torch

from gan3d_bench.metrics.individuality import individual_ratio


def test_ratio_of_a_shared_map_and_individual_ones() -> None:
    """Maps of a shared part of deviation 2 and individual parts of deviation 0.5."""
    rng = torch.Generator().manual_seed(0)
    shared = 2 * torch.randn(1, 1, 64, 64, generator=rng)
    own = 0.5 * torch.randn(32, 1, 64, 64, generator=rng)
    assert individual_ratio(shared + own) == pytest.approx(0.25, rel=0.02)
    # neither a constant nor the unit matters
    assert individual_ratio(3 * (shared + own) + 7) == pytest.approx(0.25, rel=0.02)


def test_one_map_for_all_has_no_individual_part() -> None:
    rng = torch.Generator().manual_seed(0)
    maps = torch.rand(1, 1, 16, 16, generator=rng).expand(4, -1, -1, -1)
    assert individual_ratio(maps) == 0
    rounding = 1 + 1e-8 * torch.rand(4, 1, 16, 16, generator=rng)
    assert individual_ratio(maps * rounding) == 0
    assert individual_ratio(torch.ones(4, 3)) == 0
    assert individual_ratio(torch.zeros(4, 3)) == 0


def test_flat_outputs_that_differ() -> None:
    assert individual_ratio(torch.arange(4.0)[:, None].expand(-1, 9)) == math.inf


def test_one_number_a_subject_is_compared_with_its_mean() -> None:
    assert individual_ratio(torch.tensor([[9.0], [10.0], [11.0]])) == pytest.approx(0.1)


def test_one_subject_has_no_spread() -> None:
    with pytest.raises(ValueError, match="1 subjects: expected at least two"):
        individual_ratio(torch.rand(1, 5))
