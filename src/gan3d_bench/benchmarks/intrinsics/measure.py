"""Measures albedo and normals in the input view against ground truth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gan3d_bench.benchmarks.heads import HeadsMeasure
from gan3d_bench.benchmarks.measure import Values
from gan3d_bench.methods.base import Method
from gan3d_bench.metrics.intrinsics import AlbedoError, NormalError

INPUT, FRONTAL = "Input image as albedo", "Frontal normals"


class IntrinsicsMeasure(HeadsMeasure):
    """Albedo and normals of reconstructions in the input view, over the true subject's pixels."""

    requires = frozenset({"normal"})
    baselines = (INPUT, FRONTAL)

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
        frontal = batch["normal"].new_tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1)
        return self._errors(batch, None, frontal.expand_as(batch["normal"]), whole)

    @staticmethod
    def _errors(
        batch: dict[str, Tensor], albedo: Tensor | None, normal: Tensor | None, valid: Tensor
    ) -> Values:
        mask = (batch["mask"] >= 0.5).float() * valid
        values: Values = {}
        if albedo is not None:
            values["albedo"] = AlbedoError().instances(albedo, batch["albedo"], mask).tolist()
        if normal is not None:
            values["normal"] = NormalError().instances(normal, batch["normal"], mask).tolist()
        return values
