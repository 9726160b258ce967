"""PSNR and SSIM against torchmetrics and scipy's Gaussian, and what a mask does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from gan3d_bench.metrics.images import PSNR, SSIM, psnr, ssim

SIZE = 20


def pairs(seed: int, batch: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images in [-1, 1], noisy copies, and a mask of a left part that differs between them."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(batch, 3, SIZE, SIZE, generator=generator) * 2 - 1
    noise = torch.randn(images.shape, generator=generator) * 0.1
    mask = torch.zeros(batch, 1, SIZE, SIZE)
    for index in range(batch):
        mask[index, :, 2:, : 8 + 2 * index] = 1
    return images, (images + noise).clamp(-1, 1), mask


def test_agree_with_torchmetrics():
    x, y, mask = pairs(0)
    unit_x, unit_y = (x + 1) / 2, (y + 1) / 2
    for i, value in enumerate(psnr(x, y)):
        torch.testing.assert_close(value, peak_signal_noise_ratio(x[i], y[i], data_range=2.0))
    for i, value in enumerate(psnr(x, y, mask)):
        inside = mask[i].expand(3, -1, -1) > 0
        expected = peak_signal_noise_ratio(x[i][inside], y[i][inside], data_range=2.0)
        torch.testing.assert_close(value, expected)
    expected = structural_similarity_index_measure(unit_x, unit_y, data_range=1.0, reduction="none")
    torch.testing.assert_close(ssim(x, y), expected)


def test_ssim_agrees_with_its_formula():
    x, y, _ = pairs(1, batch=1)
    a, b = ((v[0].double().numpy() + 1) / 2 for v in (x, y))

    def blur(v: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(v, (0, 1.5, 1.5), mode="mirror", radius=(0, 5, 5))

    ma, mb = blur(a), blur(b)
    va, vb, vab = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
    value = (2 * ma * mb + 1e-4) * (2 * vab + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))
    assert ssim(x, y).item() == pytest.approx(value.mean(), rel=1e-4)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999))
def test_nothing_outside_the_mask_counts(seed):
    x, y, mask = pairs(seed)
    spoiled = torch.where(mask > 0, x, -x)
    for function in (psnr, ssim):
        torch.testing.assert_close(function(spoiled, y, mask), function(x, y, mask))
        assert (function(spoiled, y) < function(x, y)).all()


def test_equal_images_are_best_and_an_empty_mask_is_unknown():
    x, y, mask = pairs(2)
    assert psnr(x, x, mask).tolist() == [100] * 3
    assert ssim(x, x, mask).tolist() == pytest.approx([1] * 3)
    mask[1] = 0
    for function in (psnr, ssim):
        assert function(x, y, mask).isnan().tolist() == [False, True, False]
    with pytest.raises(ValueError, match="differ in shape"):
        psnr(x, y[:2])


def test_means_over_pairs():
    x, y, mask = pairs(3)
    for metric, function in ((PSNR(), psnr), (SSIM(), ssim)):
        metric.update(x[:2], y[:2], mask[:2])
        metric.update(x[2:], y[2:], mask[2:])
        expected = function(x, y, mask)
        result = metric.compute()
        assert result["mean"].item() == pytest.approx(expected.mean().item(), rel=1e-6)
        error = expected.std().item() / 3**0.5
        assert result["standard_error"].item() == pytest.approx(error, rel=1e-4)
