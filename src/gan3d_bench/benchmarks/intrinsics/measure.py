"""Measures albedo and normals in the input view against ground truth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gan3d_bench.benchmarks.baseline_shapes import ELLIPSOID, MEAN_HEAD, as_average
from gan3d_bench.benchmarks.heads import HeadsMeasure
from gan3d_bench.benchmarks.measure import Values
from gan3d_bench.heads.sampling import FIELD_OF_VIEW
from gan3d_bench.methods.base import Method
from gan3d_bench.metrics.instances import masked_mean
from gan3d_bench.metrics.intrinsics import AlbedoError, NormalError
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import depth_normals

INPUT, FRONTAL = "Input image as albedo", "Frontal normals"


class IntrinsicsMeasure(HeadsMeasure):
    """Albedo and normals of reconstructions in the input view, over the true subject's pixels."""

    requires = frozenset({"normal"})
    baselines = (INPUT, FRONTAL, ELLIPSOID, MEAN_HEAD)

    def method(self, method: Method, kind: str, items: Sequence[int]) -> Values:
        batch = self.batch(items)
        scene = self.scene(method, kind, batch["image"])
        rendering = self.in_input_view(scene, "normal")
        return self._errors(batch, rendering.albedo, rendering.normal, rendering.mask)

    def baseline(self, row: str, items: Sequence[int]) -> Values:
        batch = self.batch(items)
        whole = torch.ones_like(batch["mask"])
        if row == INPUT:
            return self._errors(batch, batch["image"], None, whole)
        if row == MEAN_HEAD:
            shown = self.truth(as_average(self.parameters(items), self.average))
            return self._errors(batch, shown["albedo"], shown["normal"], shown["mask"])
        if row == ELLIPSOID:
            camera = PinholeCamera(self.image_size, FIELD_OF_VIEW)
            depth = self.baseline_shape(row, items).depth
            return self._errors(batch, None, depth_normals(depth, camera), whole)
        frontal = batch["normal"].new_tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1)
        return self._errors(batch, None, frontal.expand_as(batch["normal"]), whole)

    @staticmethod
    def _errors(
        batch: dict[str, Tensor], albedo: Tensor | None, normal: Tensor | None, valid: Tensor
    ) -> Values:
        mask = (batch["mask"] >= 0.5).float()
        rendered = (valid >= 0.5).float()
        values: Values = {"left_out": (100 * masked_mean(1 - rendered, mask)).tolist()}
        if albedo is not None:
            average = _mean_colour(albedo, rendered)
            albedo = torch.where(rendered > 0, albedo, average)
            values["albedo"] = AlbedoError().instances(albedo, batch["albedo"], mask).tolist()
        if normal is not None:
            frontal = normal.new_tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1)
            normal = torch.where(rendered > 0, normal, frontal)
            values["normal"] = NormalError().instances(normal, batch["normal"], mask).tolist()
        return values


def _mean_colour(albedo: Tensor, mask: Tensor) -> Tensor:
    """Mean (B, 3, 1, 1) of an albedo over a mask; mid-grey where that is empty."""
    total = (albedo * mask).sum((2, 3), keepdim=True)
    return total / mask.sum((2, 3), keepdim=True).clamp(min=1)
