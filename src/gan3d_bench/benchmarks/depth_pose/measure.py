"""Measures normalised depth and pose of reconstructions on the synthetic heads' test split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gan3d_bench.benchmarks.baseline_shapes import ELLIPSOID, MEAN_HEAD
from gan3d_bench.benchmarks.depth_pose.errors import ANGLES, CONSTANT, SIGNED, DepthPoseErrors
from gan3d_bench.benchmarks.heads import SubjectsMeasure
from gan3d_bench.benchmarks.measure import Settings, Values
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.base import Method


class DepthPoseMeasure(SubjectsMeasure):
    """Depth in the input view, and the input view itself, of methods that estimate both."""

    requires = frozenset({"depth"})
    baselines = (CONSTANT, ELLIPSOID, MEAN_HEAD)
    signed = SIGNED

    def __init__(self, settings: Settings, **others: Any) -> None:
        super().__init__(settings, **others)
        self.errors = DepthPoseErrors()

    def protocol(self) -> Mapping[str, Any]:
        return {**super().protocol(), "angles": ANGLES}

    def method(self, method: Method, kind: str, items: Sequence[int]) -> Values:
        batch = self.batch(items)
        scene = self.scene(method, kind, batch["image"])
        rendering, view = self.in_input_view(scene, "depth"), scene.input_view
        assert view is not None
        assert rendering.depth is not None
        heads, target = self.parameters(items), batch["depth"]
        return {
            **self.errors(rendering.depth, target, rendering.mask, view, heads.view),
            **self.leads(rendering, items, view, heads, target, self.errors.depth.instances),
        }

    def baseline(self, row: str, items: Sequence[int]) -> Values:
        target = self.batch(items)["depth"]
        whole = torch.ones_like(target)
        if row != CONSTANT:  # told the true view
            shape = self.baseline_shape(row, items)
            return self.errors.of_depth(shape.depth, target, shape.mask)
        front = View.from_angles([0.0] * len(items))
        return self.errors(whole, target, whole, front, self.parameters(items).view)
