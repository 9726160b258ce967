"""SIDE, MAD and their mask against the released code's output."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gan3d_bench.metrics.depth import (
    MAD,
    RELEASED_NORMAL_EPSILON,
    SIDE,
    comparison_mask,
    mean_angle_deviation,
    scale_invariant_depth_error,
)
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import depth_normals

FOLDER = Path(__file__).parent / "gan2shape_metrics"
TOLERANCE = json.loads((FOLDER / "vector.json").read_text())["tolerance"]


@pytest.fixture(scope="module")
def vector() -> dict[str, torch.Tensor]:
    arrays = {}
    for name in ("inputs", "outputs"):
        with np.load(FOLDER / f"{name}.npz") as stored:
            arrays |= {key: torch.from_numpy(stored[key]) for key in stored}
    return {k: v[:, None] if v.shape == (3, 48, 48) else v for k, v in arrays.items()}


def near(ours, theirs, name):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=TOLERANCE.get(name, TOLERANCE["default"]))


def test_mask(vector):
    near(comparison_mask(vector["recon_mask"], vector["gt_depth"]), vector["mask"], "mask")


@pytest.mark.parametrize(
    ("depth", "normal"), [("pred_depth", "normal_pred"), ("gt_depth", "normal_gt")]
)
def test_normals_point_the_other_way(vector, depth, normal):
    ours = depth_normals(vector[depth], PinholeCamera(48), epsilon=RELEASED_NORMAL_EPSILON)
    near(-ours.permute(0, 2, 3, 1), vector[normal], normal)


def test_side(vector):
    ours = scale_invariant_depth_error(vector["pred_depth"], vector["gt_depth"], vector["mask"])
    near(ours, vector["SIDE"], "SIDE")


def test_mad(vector):
    ours = mean_angle_deviation(
        vector["pred_depth"],
        vector["gt_depth"],
        vector["mask"],
        normal_epsilon=RELEASED_NORMAL_EPSILON,
    )
    near(ours, vector["MAD"], "MAD")


def test_metrics_report_the_papers_units(vector):
    arguments = (vector["pred_depth"], vector["gt_depth"], vector["recon_mask"])
    side, mad = SIDE(), MAD(normal_epsilon=RELEASED_NORMAL_EPSILON)
    side.update(*arguments)
    mad.update(*arguments)
    near(side.compute()["mean"].float(), 100 * vector["SIDE"].mean(), "SIDE")
    near(mad.compute()["mean"].float(), vector["MAD"].mean(), "MAD")
