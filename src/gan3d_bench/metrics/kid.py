"""KID: the distance of two sets of images that is unbiased, so fit for small samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.image.kid import poly_mmd

from gan3d_bench.metrics.inception import InceptionFeatures
from gan3d_bench.metrics.instances import Gathered

_SIDES = ("fake", "real")


class InceptionKID(Gathered):
    """KID between real and generated images (Binkowski et al. 2018), torchmetrics' formula.

    The squared maximum mean discrepancy of features under the kernel ``(x.y / D + 1)^3``, averaged
    over random subsets. Call ``update(images, real=True)`` and ``update(images, real=False)``.

    Unlike torchmetrics' class it gives the same number on any number of processes: the features
    are sorted before the subsets are drawn, and the draw is seeded.

    Args:
        features: feature network with ``num_features``; None builds :class:`InceptionFeatures`.
        subsets: how many subsets are drawn.
        subset_size: rows in a subset, at most half of the smaller side, so that subsets differ.
        limit: largest side that is kept, 8 kB an image in Inception's case. Beyond it the
            features are dropped and the result is NaN: FID is better there.
        seed: of the draw.
        kwargs: of ``torchmetrics.Metric``.

    `compute` returns ``{"mean", "standard_error", "count", "subset_deviation"}``, NaN where a side
    holds fewer than two features. The mean is unbiased and may be negative; the count is that of
    generated images. "subset_deviation" is what papers print after the plus-minus. The standard
    error is estimated from it, roughly, as ``deviation * sqrt(m / (n - m))`` with n images on the
    smaller side and m in a subset: a subset varies about the whole sample's value by
    sigma sqrt(1/m - 1/n), the whole by sigma / sqrt(n).

    Raises:
        UserError: the asset ``inception-fid`` is missing or damaged.
    """

    higher_is_better = False
    real_count: Tensor
    fake_count: Tensor

    def __init__(
        self,
        features: nn.Module | None = None,
        *,
        subsets: int = 100,
        subset_size: int = 1000,
        limit: int = 10_000,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.network = features or InceptionFeatures()
        self.subsets, self.subset_size, self.limit, self.seed = subsets, subset_size, limit, seed
        for side in _SIDES:
            self.add_rows_state(side, int(self.network.num_features), torch.float32)  # type: ignore[arg-type]
            zero = torch.zeros((), dtype=torch.long)
            self.add_state(f"{side}_count", default=zero, dist_reduce_fx="sum")

    @torch.no_grad()
    def update(self, images: Tensor, real: bool) -> None:
        """Add images (B, 3, H, W) as the network takes them to one side."""
        side, count = _side(real), getattr(self, f"{_side(real)}_count")
        count += len(images)
        if count > self.limit:
            self.clear_rows(side)
        else:
            self.add_rows(side, self.network(images))

    def compute(self) -> dict[str, Tensor]:
        """Return the estimate; see the class."""
        counts = {side: int(getattr(self, f"{side}_count")) for side in _SIDES}
        smaller = min(counts.values())
        size = min(self.subset_size, max(2, smaller // 2))
        if smaller < 2 or max(counts.values()) > self.limit:
            values = torch.full((2,), torch.nan)
        else:
            values = self._subset_values(size)
        values = values.double()
        deviation = values.std(correction=0)  # as torchmetrics
        error = deviation * (size / (smaller - size)) ** 0.5 if smaller > size else torch.nan
        return {
            "mean": values.mean(),
            "standard_error": torch.as_tensor(error, dtype=torch.float64),
            "count": torch.tensor(counts["fake"]),
            "subset_deviation": deviation,
        }

    def _subset_values(self, size: int) -> Tensor:
        real, fake = _sorted(self.rows("real")), _sorted(self.rows("fake"))
        generator = torch.Generator().manual_seed(self.seed)

        def draw(rows: Tensor) -> Tensor:
            chosen = torch.randperm(len(rows), generator=generator)[:size]
            return rows[chosen.to(rows.device)]

        return torch.stack([poly_mmd(draw(real), draw(fake)) for _ in range(self.subsets)]).cpu()


def _sorted(rows: Tensor) -> Tensor:
    """Rows in an order of their own: processes deliver them in any."""
    return rows[rows.double().sum(1).argsort()]


def _side(real: bool) -> str:
    return "real" if real else "fake"
