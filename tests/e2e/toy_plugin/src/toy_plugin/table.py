"""How the table's rows are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.benchmarks.measure import Measure, Settings, Values
from gan3d_bench.methods.base import Method
from toy_plugin.data import Discs


class DepthError(Measure):
    """Mean absolute error of the discs' depth; the baseline says 1 everywhere."""

    requires = frozenset({"depth"})
    baselines = ("Depth one",)
    data = "discs, test"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        data = Discs(16, {"test": settings.samples}).dataset("test")
        self.images, self.depth = data.images, data.depth

    def protocol(self) -> Mapping[str, Any]:
        return {"data": self.data, "image_size": self.images.shape[-1]}

    def items(self) -> list[int]:
        return list(range(len(self.images)))

    def method(self, method: Method, kind: str, items: Sequence[int]) -> Values:
        scene = method.reconstruct(self.images[list(items)].to(self.settings.device))
        assert scene.input_view is not None
        rendering = scene.render(scene.input_view)
        assert rendering.depth is not None
        depth = (rendering.depth * rendering.mask).sum((1, 2, 3)) / rendering.mask.sum((1, 2, 3))
        return self._error(depth.cpu(), items)

    def baseline(self, row: str, items: Sequence[int]) -> Values:
        return self._error(torch.ones(len(items)), items)

    def _error(self, depth: Tensor, items: Sequence[int]) -> Values:
        return {"error": (depth - self.depth[list(items)]).abs().tolist()}
