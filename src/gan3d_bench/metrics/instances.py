"""Bases of the metrics: mean and standard error over instances, the same on many processes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` (B, C, H, W) weighted by `mask` (B, 1, H, W): (B,), NaN where it is empty.

    Values where the mask is 0 may be infinite or NaN.
    """
    mask = mask.to(values.dtype)
    inside = torch.where(mask > 0, values, 0.0)
    weight = mask.sum(dim=(1, 2, 3)) * values.shape[1]
    return (inside * mask).sum(dim=(1, 2, 3)) / weight


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

    def __init__(self, **kwargs: Any) -> None:
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


class Gathered(Metric):
    """A metric that needs all its rows at once, gathered from all processes.

    For a process without a row torchmetrics would gather an empty vector, which does not fit the
    others' matrices; here each state begins with an empty matrix, which takes part.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._empty: dict[str, Tensor] = {}

    def add_rows_state(self, name: str, width: int, dtype: torch.dtype = torch.float64) -> None:
        """Add a state of rows (N, width), empty at first."""
        self.add_state(name, default=[], dist_reduce_fx="cat")
        self._empty[name] = torch.empty(0, width, dtype=dtype)
        self.clear_rows(name)

    def clear_rows(self, name: str) -> None:
        """Forget the rows of a state."""
        setattr(self, name, [self._empty[name].to(self.device)])

    def add_rows(self, name: str, rows: Tensor) -> None:
        """Append rows (B, width)."""
        empty = self._empty[name]
        getattr(self, name).append(rows.detach().to(self.device, empty.dtype))

    def rows(self, name: str) -> Tensor:
        """Return the rows (N, width) so far; within `compute`, those of all processes."""
        state = getattr(self, name)
        return state if isinstance(state, Tensor) else torch.cat(state)

    def reset(self) -> None:
        super().reset()
        for name in self._empty:
            self.clear_rows(name)


class PairedSet(Gathered):
    """Errors of predictions against targets after something common to the whole set is removed.

    Args:
        width: numbers in a prediction.

    `compute` returns, for each error, what `InstanceMean.compute` does, and its "max".
    """

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_rows_state("predicted", width)
        self.add_rows_state("target", width)

    @abstractmethod
    def errors(self, predicted: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        """Return the errors (N,) of a set, predictions and targets (N, width)."""

    def update(self, predicted: Tensor, target: Tensor) -> None:
        """Add rows (B, width)."""
        if predicted.shape != target.shape:
            raise ValueError(f"{tuple(predicted.shape)} predictions, {tuple(target.shape)} targets")
        self.add_rows("predicted", predicted)
        self.add_rows("target", target)

    def compute(self) -> dict[str, dict[str, Tensor]]:
        results = {}
        for name, values in self.errors(self.rows("predicted"), self.rows("target")).items():
            mean = InstanceMean(sync_on_compute=False).to(values.device)  # all rows are here
            mean.update(values)
            largest = values.max() if len(values) else values.new_tensor(torch.nan)
            results[name] = {**mean.compute(), "max": largest}
        return results
