"""Losses between pictures."""

import torch

from gan3d_bench.losses.photometric import edge_loss


def test_edge_loss_ignores_brightness() -> None:
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert float(edge_loss(x, x + 0.3)) < 1e-6
    assert float(edge_loss(x, x.flip(3))) > 0.1
