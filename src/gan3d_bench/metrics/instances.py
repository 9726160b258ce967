"""Mean and standard error over instances, as sufficient statistics that reduce over processes."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class InstanceMean(Metric):
    """Mean of one number per instance.

    Keeps the sum, the sum of squares and the count in float64, reduced by sum over processes, so
    that many processes give the single-process result.

    `compute` returns ``{"mean", "standard_error", "count"}``: the standard error is the sample
    standard deviation (n - 1) over the square root of n, NaN when n < 2; all NaN when n = 0.
    """

    full_state_update = False
    is_differentiable = False
    total: Tensor
    squares: Tensor
    count: Tensor

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        for name in ("total", "squares", "count"):
            zero = torch.zeros((), dtype=torch.float64)
            self.add_state(name, default=zero, dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """Add `values` (B,), one per instance."""
        values = values.detach().double()
        self.total += values.sum()
        self.squares += values.square().sum()
        self.count += values.numel()

    def compute(self) -> dict[str, Tensor]:
        mean = self.total / self.count
        # rounding may leave a tiny negative variance when all values are equal
        variance = ((self.squares - self.count * mean**2) / (self.count - 1)).clamp(min=0)
        error = torch.where(self.count > 1, (variance / self.count).sqrt(), torch.nan)
        return {"mean": mean, "standard_error": error, "count": self.count}
