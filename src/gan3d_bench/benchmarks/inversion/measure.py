"""Measures how well, and how fast, methods reproduce a portrait."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.benchmarks.baseline_shapes import MEAN_HEAD, as_average
from gan3d_bench.benchmarks.heads import HeadsMeasure
from gan3d_bench.benchmarks.measure import Settings, Values
from gan3d_bench.benchmarks.rendered import lpips_net
from gan3d_bench.faces.identity_pairs import IdentityPairs
from gan3d_bench.machine.environment import machine
from gan3d_bench.methods.base import Method
from gan3d_bench.metrics.lpips import MeanLPIPS


class InversionMeasure(HeadsMeasure):
    """Reconstructions in the input view beside the input, and seconds for one image alone."""

    baselines = (MEAN_HEAD,)
    exchangeable = ("id", "lpips")

    def __init__(self, settings: Settings, **kwargs: Any) -> None:
        super().__init__(settings, **kwargs)
        self.identity = IdentityPairs(settings.networks.get("id", "arcface-mbf"))
        self.identity.to(settings.device)
        self.lpips = MeanLPIPS(lpips_net(settings.networks)).to(settings.device)

    def protocol(self) -> Mapping[str, Any]:
        known = machine()
        where = known["gpus"] if self.settings.device.type == "cuda" else known["processor"]
        return {
            **super().protocol(),
            "timed_on": f"{where}, {torch.get_num_threads()} threads",
            "networks": {"lpips": self.lpips.name, "id": self.identity.label},
        }

    def method(self, method: Method, kind: str, items: Sequence[int]) -> Values:
        images = self.batch(items)["image"]
        shown, seconds = [], []
        for image in images.split(1):
            self._wait()
            start = time.perf_counter()
            scene = self.scene(method, kind, image)
            shown.append(self.in_input_view(scene).over(0.0))
            self._wait()
            seconds.append(time.perf_counter() - start)
        return {**self._compared(torch.cat(shown), images), "seconds": seconds}

    def baseline(self, row: str, items: Sequence[int]) -> Values:
        """The average head in the true view, light and background."""
        average = self.truth(as_average(self.parameters(items), self.average))
        return self._compared(average["image"], self.batch(items)["image"])

    def _compared(self, shown: Tensor, images: Tensor) -> Values:
        self.keep([(images, shown)])
        return {
            "lpips": self.lpips.instances(shown, images).tolist(),
            "id": self.identity(shown, images).tolist(),
        }

    def _wait(self) -> None:
        if self.settings.device.type == "cuda":
            torch.cuda.synchronize(self.settings.device)
