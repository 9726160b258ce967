"""Measures SIDE and MAD of depth maps on the synthetic heads' test split."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.benchmarks.baseline_shapes import ELLIPSOID, MEAN_HEAD, TRUE_DEPTH
from gan3d_bench.benchmarks.heads import SubjectsMeasure
from gan3d_bench.benchmarks.measure import Settings, Values
from gan3d_bench.benchmarks.shape.errors import (
    AVERAGE,
    AVERAGE_SUBJECT,
    CONSTANT,
    NORMALS,
    ShapeErrors,
    average_depths,
)
from gan3d_bench.heads.sampling import FAR, FIELD_OF_VIEW
from gan3d_bench.methods.base import Method


class ShapeMeasure(SubjectsMeasure):
    """Depth in the input view against ground truth, for methods that reconstruct.

    Args:
        settings: what was asked for.
        average_over: training heads whose depth maps are averaged.
        others: of `HeadsMeasure`.
    """

    requires = frozenset({"depth"})
    baselines = (TRUE_DEPTH, CONSTANT, AVERAGE, AVERAGE_SUBJECT, ELLIPSOID, MEAN_HEAD)

    def __init__(self, settings: Settings, *, average_over: int = 256, **others: Any) -> None:
        super().__init__(settings, train_size=average_over, **others)
        self.errors = ShapeErrors(FIELD_OF_VIEW)

    def protocol(self) -> Mapping[str, Any]:
        return {
            **super().protocol(),
            "average_depth_over": self.source.sizes["train"],
            "normals": NORMALS,
        }

    def method(self, method: Method, kind: str, items: Sequence[int]) -> Values:
        batch = self.batch(items)
        scene = self.scene(method, kind, batch["image"])
        rendering = self.in_input_view(scene, "depth")
        assert rendering.depth is not None
        assert scene.input_view is not None
        target = batch["depth"]
        fov = scene.camera.fov
        return {
            **self.errors.of_shape(rendering.depth, rendering.mask, target, fov),
            **self.leads(
                rendering,
                items,
                scene.input_view,
                self.parameters(items),
                target,
                self.errors.side.instances,
            ),
        }

    def baseline(self, row: str, items: Sequence[int]) -> Values:
        target = self.batch(items)["depth"]
        if row == CONSTANT:
            depth = torch.ones(())
        elif row in (AVERAGE, AVERAGE_SUBJECT):
            depth = self.average_depth[row]
        else:
            shape = self.baseline_shape(row, items)
            return self.errors.of_shape(shape.depth, shape.mask, target)
        return self.errors(depth.to(target).expand_as(target), target)

    @functools.cached_property
    def average_depth(self) -> dict[str, Tensor]:
        """Means (1, S, S) of the training depth maps; see `average_depths`."""
        data = self.split("train")
        return average_depths((data[index]["depth"] for index in range(len(data))), FAR)
