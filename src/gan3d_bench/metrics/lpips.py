"""The mean LPIPS distance over image pairs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from gan3d_bench.losses.perceptual import LPIPS, Images, Net


class MeanLPIPS(Metric):
    """LPIPS (v0.1) averaged over pairs of images (B, 3, H, W) in [-1, 1]. Lower is closer.

    Args:
        net: ``alex`` (what papers report as a metric) or ``vgg``.
        lpips: the network, if it is loaded already.
        kwargs: of ``torchmetrics.Metric``.

    Raises:
        UserError: the network's asset is missing or damaged.
    """

    higher_is_better = False
    is_differentiable = True
    full_state_update = False
    plot_lower_bound = 0.0

    total: Tensor
    count: Tensor

    def __init__(self, net: Net = "alex", lpips: LPIPS | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lpips = lpips or LPIPS(net)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    @property
    def name(self) -> str:
        """What results call it."""
        return f"LPIPS ({self.lpips.net})"

    def update(self, images: Images, targets: Images) -> None:
        distances = self.lpips(images, targets)
        self.total = self.total + distances.double().sum()
        self.count = self.count + len(distances)

    def compute(self) -> Tensor:
        """Return the mean distance, a float32 scalar; NaN before the first pair."""
        return (self.total / self.count).float()
