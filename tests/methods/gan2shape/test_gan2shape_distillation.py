"""A student that gives everybody the mean has lost everything, whatever its error looks like."""

from __future__ import annotations

import pytest
import torch

from gan3d_bench.errors import UserError
from gan3d_bench.methods.gan2shape.distillation import DistillationError


@pytest.fixture
def maps() -> torch.Tensor:
    """64 maps of one face of deviation 1 and individual parts of deviation 0.1."""
    rng = torch.Generator().manual_seed(0)
    face = torch.randn(1, 1, 16, 16, generator=rng)
    return face + 0.1 * torch.randn(64, 1, 16, 16, generator=rng)


def test_the_mean_for_all_loses_the_whole_individual_part(maps: torch.Tensor) -> None:
    mean = maps.mean(0, keepdim=True).expand_as(maps)
    lost = DistillationError(maps).lost(mean, maps)
    assert lost["of_variance"] == pytest.approx(0.01, abs=0.002)
    assert lost["of_individual"] == pytest.approx(1)
    assert lost["spread"] == 0


def test_a_shared_error_is_no_individual_one(maps: torch.Tensor) -> None:
    lost = DistillationError(maps).lost(maps + 0.5, maps)
    assert lost["of_individual"] == pytest.approx(0, abs=1e-4)
    assert lost["of_variance"] == pytest.approx(0.25 / float(maps.var()), rel=1e-3)
    assert lost["spread"] == pytest.approx(0.1, rel=0.1)


def test_the_loss_weighs_the_individual_part_by_its_own_variance(maps: torch.Tensor) -> None:
    error = DistillationError(maps)
    mean = maps.mean(0, keepdim=True).expand_as(maps)
    # once by values, once by slopes
    assert float(error.loss(mean, maps)) == pytest.approx(2)
    assert float(error.loss(maps, maps)) == 0
    half = (maps + mean) / 2
    assert float(error.loss(half, maps)) == pytest.approx(0.5)
    # a shift of all is judged by the spread over pixels, and has no slopes
    assert float(error.loss(maps + 0.1, maps)) == pytest.approx(0.01, rel=0.2)


def test_codes_have_no_slopes() -> None:
    codes = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))
    mean = codes.mean(0, keepdim=True).expand_as(codes)
    assert float(DistillationError(codes).loss(mean, codes)) == pytest.approx(1)


def test_the_loss_is_differentiable(maps: torch.Tensor) -> None:
    found = maps.clone().mul_(0.5).requires_grad_()
    DistillationError(maps).loss(found[:8], maps[:8]).backward()
    assert found.grad is not None and found.grad[:8].abs().sum() > 0


def test_a_teacher_that_gives_everybody_the_same_is_refused(maps: torch.Tensor) -> None:
    with pytest.raises(UserError, match="it gives everybody the same"):
        DistillationError(maps[:1].expand_as(maps))
