"""SIDE and MAD against numpy and scipy, their invariances, and two processes against one."""

import math
import pickle

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from gan3d_bench.metrics.depth import (
    MAD,
    SIDE,
    comparison_mask,
    erode,
    filled,
    left_out,
    mean_angle_deviation,
    scale_invariant_depth_error,
)
from gan3d_bench.metrics.instances import InstanceMean

SIZE = 16


def depth_maps(seed: int, batch: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two smooth depth maps with a background, and a mask of valid pixels."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(2, batch, 1, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(
        noise.flatten(0, 1), size=(SIZE, SIZE), mode="bicubic", align_corners=True
    ).unflatten(0, (2, batch))
    depth, target = 1 + 0.02 * smooth
    v, u = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    target[:, :, (u - 7.5) ** 2 + (v - 8.5) ** 2 > 36] = 1.2
    valid = ((u - 8.5) ** 2 + (v - 7.5) ** 2 < 49).float().expand(batch, 1, -1, -1).contiguous()
    return depth, target, valid


def reference_mask(valid: np.ndarray, target: np.ndarray) -> np.ndarray:
    square = np.ones((3, 3))
    seen = ndimage.binary_erosion(valid > 0.5, square, border_value=0)
    return seen & ndimage.binary_erosion(target < target.max(), square, border_value=0)


def reference_normals(depth: np.ndarray) -> np.ndarray:
    """Unit normals towards the viewer, from np.gradient of back-projected points."""
    height, width = depth.shape
    focal = (width - 1) / (2 * math.tan(math.radians(5)))
    v, u = np.mgrid[:height, :width]
    points = np.stack(
        [(u - (width - 1) / 2) / focal * depth, (v - (height - 1) / 2) / focal * depth, depth]
    )
    down, right = np.gradient(points, axis=(1, 2))
    normal = np.cross(down, right, axis=0)
    return normal / np.linalg.norm(normal, axis=0)


@pytest.mark.parametrize("seed", [0, 1])
def test_agrees_with_numpy_and_scipy(seed):
    depth, target, valid = depth_maps(seed)
    sides, mads = [], []
    for d, t, m in zip(depth[:, 0].double(), target[:, 0].double(), valid[:, 0], strict=True):
        d, t = d.numpy(), t.numpy()
        mask = reference_mask(m.numpy(), t)
        assert 20 < mask.sum() < SIZE**2 / 2
        sides.append(100 * np.std((np.log(d) - np.log(t))[mask]))
        cosine = (reference_normals(d) * reference_normals(t)).sum(0)[mask]
        mads.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())
    side, mad = SIDE(), MAD()
    side.update(depth, target, valid)
    mad.update(depth, target, valid)
    for metric, expected in ((side, sides), (mad, mads)):
        result = metric.compute()
        assert result["mean"].item() == pytest.approx(np.mean(expected), rel=1e-4)
        error = np.std(expected, ddof=1) / math.sqrt(len(expected))
        assert result["standard_error"].item() == pytest.approx(error, rel=1e-3)
        assert result["count"].item() == len(expected)


def test_erosion_drops_the_border_and_partly_covered_pixels():
    mask = torch.ones(1, 1, 6, 6)
    mask[0, 0, 2, 2] = 0.9
    expected = torch.zeros(1, 1, 6, 6)
    expected[0, 0, 4, 1:5] = 1
    expected[0, 0, 1:5, 4] = 1
    assert torch.equal(erode(mask), expected)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), factor=st.floats(0.5, 2.0))
def test_side_ignores_the_scale_of_depth(seed, factor):
    depth, target, valid = depth_maps(seed, batch=1)
    mask = comparison_mask(valid, target)
    expected = scale_invariant_depth_error(depth, target, mask)
    torch.testing.assert_close(
        scale_invariant_depth_error(factor * depth, target, mask), expected, rtol=1e-3, atol=1e-6
    )


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999))
def test_a_perfect_depth_map_has_no_error(seed):
    _, target, valid = depth_maps(seed, batch=1)
    mask = comparison_mask(valid, target)
    assert scale_invariant_depth_error(target, target, mask).item() < 1e-6
    assert mean_angle_deviation(target, target, mask).item() < 0.05


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999))
def test_errors_do_not_look_outside_the_mask(seed):
    depth, target, valid = depth_maps(seed, batch=1)
    mask = comparison_mask(valid, target)
    # normals inside the mask use the neighbours of its pixels, no more
    near = torch.nn.functional.max_pool2d(mask, 3, stride=1, padding=1) > 0
    spoiled = torch.where(near, depth, torch.full_like(depth, 0.0))
    for function in (scale_invariant_depth_error, mean_angle_deviation):
        torch.testing.assert_close(function(spoiled, target, mask), function(depth, target, mask))


def test_no_common_pixel_is_nan_not_zero():
    depth, target, valid = depth_maps(0)
    valid[1] = 0
    for metric in (SIDE(), MAD()):
        assert torch.isnan(metric.instances(depth, target, valid)).tolist() == [False, True, False]


@pytest.mark.parametrize("values", [[], [3.0], [1.0, 1.0], [1.0, 2.0, 6.0]])
def test_standard_error(values):
    metric = InstanceMean()
    metric.update(torch.tensor(values))
    result = {key: value.item() for key, value in metric.compute().items()}
    mean = np.mean(values) if values else math.nan
    error = np.std(values, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    assert result == pytest.approx(
        {"mean": mean, "standard_error": error, "count": len(values)}, nan_ok=True
    )


def test_pickles():
    metric = SIDE()
    metric.update(*depth_maps(0))
    assert pickle.loads(pickle.dumps(metric)).compute() == metric.compute()


def _process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    depth, target, valid = depth_maps(0, batch=5)
    mine = slice(0, 3) if rank == 0 else slice(3, 5)
    results = []
    for metric in (SIDE(), MAD()):
        metric.update(depth[mine], target[mine], valid[mine])
        results.append(metric.compute())
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_give_the_numbers_of_one(tmp_path):
    # forked, as DataLoader's workers are: a test module cannot be imported by a spawned process
    mp.start_processes(_process, (str(tmp_path),), nprocs=2, start_method="fork")
    expected = []
    for metric in (SIDE(), MAD()):
        metric.update(*depth_maps(0, batch=5))
        expected.append(metric.compute())
    for rank in (0, 1):
        results = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(results, expected, rtol=1e-12, atol=0)


def test_what_is_left_out_is_continued_by_the_nearest_pixel():
    depth = torch.arange(16.0).view(1, 1, 4, 4)
    valid = torch.zeros(1, 1, 4, 4)
    valid[..., :2, :2] = torch.tensor([[1.0, 0.5], [0.7, 1.0]])
    expected = [[0, 1, 1, 1], [4, 5, 5, 5], [4, 5, 5, 5], [4, 5, 5, 5]]
    assert filled(depth, valid)[0, 0].tolist() == expected
    assert torch.equal(filled(depth, torch.ones_like(valid)), depth)
    assert filled(depth, 0 * valid).unique().tolist() == [1]


def test_left_out_is_the_share_of_the_subject():
    valid, subject = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    subject[:, :, :2], valid[0, :, :1] = 1, 0.5
    assert left_out(valid, subject).tolist() == [50, 100]
