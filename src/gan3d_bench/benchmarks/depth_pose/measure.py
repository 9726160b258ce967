"""Measures normalised depth and pose of reconstructions on the synthetic heads' test split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.benchmarks.heads import HeadsMeasure
from gan3d_bench.benchmarks.measure import Settings, Values
from gan3d_bench.benchmarks.results import Estimate
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.base import Method
from gan3d_bench.metrics.depth import NormalisedDepthError
from gan3d_bench.metrics.pose import PoseError


class DepthPoseMeasure(HeadsMeasure):
    """Depth in the input view, and the input view itself, of methods that estimate both."""

    requires = frozenset({"reconstruct", "depth"})
    baselines = ("Constant depth and pose",)

    def __init__(self, settings: Settings, **others: Any) -> None:
        super().__init__(settings, **others)
        self.depth = NormalisedDepthError()
        self.pose = PoseError()

    def protocol(self) -> Mapping[str, Any]:
        return {**super().protocol(), "angles": "absolute, less the set's mean error"}

    def method(self, method: Method, kind: str, items: Sequence[int]) -> Values:
        batch = self.batch(items)
        rendering, view = self.in_input_view(method, kind, batch["image"], "depth")
        assert rendering.depth is not None
        errors = self.depth.instances(rendering.depth, batch["depth"], rendering.mask)
        return self._values(items, errors, view)

    def baseline(self, row: str, items: Sequence[int]) -> Values:
        target = self.batch(items)["depth"]
        flat = torch.ones_like(target)
        errors = self.depth.instances(flat, target, valid=flat)
        return self._values(items, errors, View.from_angles([0.0] * len(items)))

    def _values(self, items: Sequence[int], errors: Tensor, view: View) -> Values:
        self.pose.update(view.to("cpu"), self.parameters(items).view)
        return {"depth": errors.tolist()}

    def sets(self) -> dict[str, Estimate]:
        angles = self.pose.compute()
        self.pose.reset()
        return {
            name: Estimate(
                float(error["mean"]), float(error["standard_error"]), int(error["count"])
            )
            for name, error in angles.items()
        }
