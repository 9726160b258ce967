"""The mean LPIPS metric, on a distance that can be done by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gan3d_bench.errors import UserError
from gan3d_bench.metrics.lpips import MeanLPIPS


class Distance(nn.Module):
    net = "alex"

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x - y).abs().mean((1, 2, 3))


def test_mean_is_over_pairs_not_batches():
    metric = MeanLPIPS(lpips=Distance())
    zeros = torch.zeros(4, 3, 8, 8)
    metric.update(zeros[:3], zeros[:3] + 1)
    metric.update(zeros[:1], zeros[:1] + 5)
    assert metric.compute()["mean"].item() == pytest.approx(2.0)
    assert metric.name == "LPIPS (alex)"


def test_one_distance_a_pair_and_none_outside_the_mask():
    x, y = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    y[1] = -3
    metric = MeanLPIPS(lpips=Distance())
    assert metric.instances(x, y).tolist() == [1, 3]
    mask = torch.zeros(2, 1, 4, 4)
    mask[:, :, :, :2] = 1
    assert metric.instances(x, y, mask).tolist() == [0.5, 1.5]
    metric.update(x, y, mask)
    result = metric.compute()
    assert (result["mean"], result["standard_error"], result["count"]) == (1, 0.5, 2)


def test_states_add_over_ranks():
    a, b = MeanLPIPS(lpips=Distance()), MeanLPIPS(lpips=Distance())
    a.update(torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4))
    b.update(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 4.0))
    a.merge_state(b)
    assert a.compute()["mean"].item() == pytest.approx(2.0)


def test_missing_asset_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match="gan3d-bench assets fetch alexnet-lpips"):
        MeanLPIPS()
