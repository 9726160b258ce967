"""Silhouette overlap, albedo and normal errors, and the normalised depth error."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gan3d_bench.metrics.depth import (
    MAD,
    NormalisedDepthError,
    comparison_mask,
    normalised_depth_error,
    overlap,
)
from gan3d_bench.metrics.intrinsics import AlbedoError, NormalError, normal_angle
from gan3d_bench.metrics.silhouette import MaskIoU
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import depth_normals

SIZE = 12
seeds = st.integers(0, 9999)


def disc(radius: float, x: float = 5.5) -> torch.Tensor:
    v, u = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    return ((u - x) ** 2 + (v - 5.5) ** 2 < radius**2).float()[None, None]


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_iou_of_masks():
    a, b = torch.zeros(4, 1, 4, 4), torch.zeros(4, 1, 4, 4)
    a[0, 0, :2], b[0, 0, 1:3] = 1, 1  # 4 of 12
    a[1, 0, 0], b[1, 0, 0] = 0.6, 1  # soft coverage counts above one half
    a[2, 0, 0] = 1
    metric = MaskIoU()
    values = metric.instances(a, b)
    assert values[:3].tolist() == pytest.approx([1 / 3, 1, 0])
    assert values[3].isnan()
    metric.update(a[:3], b[:3])
    assert metric.compute()["mean"].item() == pytest.approx(4 / 9)
    assert MaskIoU(threshold=0.7).instances(a, b)[1] == 0
    with pytest.raises(ValueError, match="differ in shape"):
        metric.instances(a, b[:2])


def test_albedo_error_against_least_squares():
    albedo, target = random(1, 2, 3, SIZE, SIZE) * 2 - 1, random(2, 2, 3, SIZE, SIZE) * 2 - 1
    mask = torch.cat((disc(4), disc(5)))
    expected = []
    for a, t, m in zip(albedo, target, mask[:, 0] > 0, strict=True):
        squares = []
        for x, y in zip(a[:, m].double().numpy(), t[:, m].double().numpy(), strict=True):
            x, y = (x[:, None] + 1) / 2, (y + 1) / 2
            squares.append((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2)
        expected.append(math.sqrt(np.mean(squares)))
    metric = AlbedoError()
    assert metric.instances(albedo, target, mask).tolist() == pytest.approx(expected, rel=1e-6)
    metric.update(albedo, target, mask)
    assert metric.compute()["mean"].item() == pytest.approx(np.mean(expected), rel=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=seeds, scales=st.tuples(*[st.floats(0.3, 1.0)] * 3))
def test_albedo_error_ignores_the_scale_of_each_channel(seed, scales):
    target = random(seed, 1, 3, SIZE, SIZE) * 2 - 1
    scaled = (target + 1) * torch.tensor(scales).view(1, 3, 1, 1) - 1
    error = AlbedoError().instances
    assert error(scaled, target, disc(4)).item() < 1e-6
    other = random(seed + 1, 1, 3, SIZE, SIZE) * 2 - 1
    torch.testing.assert_close(
        error((other + 1) * torch.tensor(scales).view(1, 3, 1, 1) - 1, target, disc(4)),
        error(other, target, disc(4)),
    )
    assert error(other, target, disc(4)).item() > 0.1
    outside = torch.where(disc(4) > 0, other, torch.nan)
    torch.testing.assert_close(
        error(outside.nan_to_num(0.3), target, disc(4)), error(other, target, disc(4))
    )


def test_a_black_albedo_has_the_error_of_zero():
    target = random(3, 1, 3, SIZE, SIZE) * 2 - 1
    expected = ((target + 1) / 2).square().mean().sqrt()
    ones = torch.ones(1, 1, SIZE, SIZE)
    error = AlbedoError().instances
    torch.testing.assert_close(error(-torch.ones_like(target), target, ones)[0], expected)
    assert error(target, target, torch.zeros_like(ones)).isnan().all()


@settings(max_examples=25, deadline=None)
@given(degrees=st.floats(0, 180))
def test_normal_error_of_a_known_angle(degrees):
    t = math.radians(degrees)
    target = torch.tensor([0.0, 0, -1]).view(1, 3, 1, 1).expand(1, 3, SIZE, SIZE)
    normal = torch.tensor([math.sin(t), 0, -math.cos(t)]).view(1, 3, 1, 1).expand_as(target)
    value = NormalError().instances(normal, target, disc(3)).item()
    assert value == pytest.approx(degrees, abs=1e-4)


def test_normal_error_of_depth_normals_is_mad():
    depth = 1 + 0.02 * random(4, 2, 1, SIZE, SIZE)
    target = torch.where(disc(5) > 0, 1 + 0.02 * random(5, 2, 1, SIZE, SIZE), 1.2)
    valid = disc(5, x=5).expand(2, -1, -1, -1)
    mask, camera = comparison_mask(valid, target), PinholeCamera((SIZE, SIZE), 10.0)
    value = normal_angle(depth_normals(depth, camera), depth_normals(target, camera), mask)
    torch.testing.assert_close(value, MAD().instances(depth, target, valid), rtol=1e-4, atol=0.01)
    metric = NormalError()
    metric.update(depth_normals(target, camera), depth_normals(target, camera), mask)
    assert metric.compute()["mean"] < 1e-5  # without the arc cosine's rounding


def depth_pair(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    depth, target = 1 + 0.1 * random(seed, 2, 2, 1, SIZE, SIZE)
    target = torch.where(disc(5) > 0, target, 1.2)
    return depth, target, disc(4.5, x=4.5).expand(2, -1, -1, -1)


def test_normalised_depth_error_against_correlation():
    depth, target, valid = depth_pair(6)
    valid = valid.clone()
    valid[:, :, 5, 5] = 0.9  # rendered in part: not compared
    expected = []
    for d, t, v in zip(depth, target, valid, strict=True):
        seen = (v > 0.99) & (t < t.max())
        r = np.corrcoef(d[seen].double(), t[seen].double())[0, 1]
        expected.append(math.sqrt(2 - 2 * r))
    metric = NormalisedDepthError()
    values = metric.instances(depth, target, valid)
    assert values.tolist() == pytest.approx(expected, rel=1e-5)
    metric.update(depth, target, valid)
    assert metric.compute()["mean"].item() == pytest.approx(np.mean(expected), rel=1e-5)


@settings(max_examples=15, deadline=None)
@given(seed=seeds, scale=st.floats(0.2, 3), shift=st.floats(-0.5, 2))
def test_normalised_depth_error_ignores_scale_and_shift(seed, scale, shift):
    depth, target, valid = depth_pair(seed)
    mask = overlap(valid, target)
    expected = normalised_depth_error(depth, target, mask)
    found = normalised_depth_error(scale * depth.double() + shift, target, mask)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert normalised_depth_error(scale * target, target, mask).max() < 1e-5
    mirrored = normalised_depth_error(2 - target, target, mask)
    torch.testing.assert_close(mirrored, torch.full_like(mirrored, 2.0), rtol=1e-5, atol=0)


def test_flat_and_missing_depth():
    depth, target, valid = depth_pair(7)
    mask = overlap(valid, target)
    for value in (1.0, 0.973):
        flat = normalised_depth_error(torch.full_like(depth, value), target, mask)
        assert flat.tolist() == pytest.approx([1, 1])
    mask[0] = 0
    assert normalised_depth_error(depth, target, mask).isnan().tolist() == [True, False]
