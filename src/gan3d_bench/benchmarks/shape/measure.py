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
from gan3d_bench.heads.sampling import FAR, FIELD_OF_VIEW
from gan3d_bench.methods.base import Method
from gan3d_bench.metrics.depth import (
    MAD,
    RELEASED_NORMAL_EPSILON,
    SIDE,
    filled,
    foreground,
    left_out,
)

CONSTANT = "Constant depth"
AVERAGE, AVERAGE_SUBJECT = "Average ground-truth depth", "Average ground-truth depth, subject only"


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
        self.side = SIDE()
        self.mad = MAD(fov=FIELD_OF_VIEW, normal_epsilon=RELEASED_NORMAL_EPSILON)

    def protocol(self) -> Mapping[str, Any]:
        return {
            **super().protocol(),
            "average_depth_over": self.source.sizes["train"],
            "normals": f"central differences, {RELEASED_NORMAL_EPSILON:g} added to their length",
        }

    def method(self, method: Method, kind: str, items: Sequence[int]) -> Values:
        batch = self.batch(items)
        scene = self.scene(method, kind, batch["image"])
        rendering = self.in_input_view(scene, "depth")
        assert rendering.depth is not None
        assert scene.input_view is not None
        target, own = batch["depth"], filled(rendering.depth, rendering.mask)
        return {
            **self._errors(own, target, scene.camera.fov),
            **self.leads(
                rendering,
                items,
                scene.input_view,
                self.parameters(items),
                target,
                self.side.instances,
            ),
            "left_out": left_out(rendering.mask, foreground(target)).tolist(),
        }

    def baseline(self, row: str, items: Sequence[int]) -> Values:
        target = self.batch(items)["depth"]
        if row == CONSTANT:
            depth = torch.ones(())
        elif row in (AVERAGE, AVERAGE_SUBJECT):
            depth = self.average_depth["subject" if row == AVERAGE_SUBJECT else "all"]
        else:
            shape = self.baseline_shape(row, items)
            return {
                **self._errors(filled(shape.depth, shape.mask), target),
                "left_out": left_out(shape.mask, foreground(target)).tolist(),
            }
        return self._errors(depth.to(target).expand_as(target), target)

    @functools.cached_property
    def average_depth(self) -> dict[str, Tensor]:
        """Means (1, S, S) of the training depth maps.

        ``all``: of the maps as they are, background at the far plane. ``subject``: over the heads
        that cover a pixel; the far plane where none does. Silhouettes move with the view, so that
        near them the first is a blend with the background.
        """
        data = self.split("train")
        total, covered, heads = torch.zeros(3, 1, self.image_size, self.image_size).double()
        for index in range(len(data)):
            depth = data[index]["depth"].double()
            total += depth
            covered += torch.where(depth < FAR, depth, 0.0)
            heads += depth < FAR
        subject = torch.where(heads > 0, covered / heads, FAR)
        return {"all": (total / len(data)).float(), "subject": subject.float()}

    def _errors(self, depth: Tensor, target: Tensor, fov: float = FIELD_OF_VIEW) -> Values:
        whole = torch.ones_like(target)
        return {
            "side": self.side.instances(depth, target, whole).tolist(),
            "mad": self.mad.instances(depth, target, whole, fov).tolist(),
        }
