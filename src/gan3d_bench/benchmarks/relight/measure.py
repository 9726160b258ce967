"""Measures relit reconstructions against renderings of the true head under the same lights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.benchmarks.heads import HeadsMeasure, before_grey
from gan3d_bench.benchmarks.measure import Settings, Values
from gan3d_bench.benchmarks.rendered import lpips_net, within
from gan3d_bench.methods.base import Method
from gan3d_bench.metrics.images import psnr
from gan3d_bench.metrics.lpips import MeanLPIPS
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.rendering.shading import LambertLight, Light

SLOPES = {"left": (-0.8, -0.2), "right": (0.8, -0.2), "above": (0.0, -0.8), "below": (0.0, 0.4)}
"""Direction towards the light, x and y over depth (x right, y down)."""
AMBIENT, DIFFUSE = 0.4, 0.6
INPUT = "Input image, not relit"


class RelightMeasure(HeadsMeasure):
    """Reconstructions in the input view under four new lights beside the truth."""

    requires = frozenset({"relight"})
    baselines = (INPUT,)
    exchangeable = ("lpips",)

    def __init__(self, settings: Settings, **kwargs: Any) -> None:
        super().__init__(settings, **kwargs)
        self.lpips = MeanLPIPS(lpips_net(settings.networks)).to(settings.device)

    def protocol(self) -> Mapping[str, Any]:
        lights = {name: list(slope) for name, slope in SLOPES.items()}
        return {
            **super().protocol(),
            "lights": {**lights, "ambient": AMBIENT, "diffuse": DIFFUSE},
            "networks": {"lpips": self.lpips.name},
        }

    def method(self, method: Method, kind: str, items: Sequence[int]) -> Values:
        scene = self.scene(method, kind, self.batch(items)["image"])
        scene.require("relight")
        view = scene.input_view
        assert view is not None
        return self._measure(
            items, lambda light: scene.render(view, light, image_size=self.image_size)
        )

    def baseline(self, row: str, items: Sequence[int]) -> Values:
        image = self.batch(items)["image"]
        return self._measure(items, lambda _: Rendering(image, torch.ones_like(image[:, :1])))

    def _measure(self, items: Sequence[int], relit: Callable[[Light], Rendering]) -> Values:
        heads = before_grey(self.parameters(items))
        parts: dict[str, list[list[float]]] = {}
        pictures: list[tuple[Tensor, Tensor]] = []
        for name, slopes in SLOPES.items():
            light = new_light(slopes, len(items))
            lit = replace(
                heads,
                ambient=light.ambient,
                diffuse=light.diffuse,
                light_direction=light.direction,
            )
            truth = self.truth(lit)
            subject = (truth["mask"] >= 0.5).float()
            real = truth["image"] * subject
            shown = equalised(within(relit(light), subject), real, subject)
            pictures.append((real, shown))
            values = {
                "psnr": psnr(shown, real, subject).tolist(),
                "lpips": self.lpips.instances(shown, real).tolist(),
            }
            for key, value in values.items():
                parts.setdefault(key, []).append(value)
                parts[f"{key}@light={name}"] = [value]
        self.keep(pictures)
        return {key: [fmean(column) for column in zip(*rows, strict=True)]
                for key, rows in parts.items()}  # fmt: skip


def new_light(slopes: tuple[float, float], count: int) -> LambertLight:
    """One light for all heads."""
    direction = torch.tensor([*slopes, -1.0])
    full = torch.ones(count)
    return LambertLight(
        AMBIENT * full, DIFFUSE * full, (direction / direction.norm()).expand(count, 3)
    )


def equalised(image: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """An image scaled channel by channel to fit the target best in least squares over the mask.

    Nothing in one image tells the colour and weight of its light from its albedo's.

    Args:
        image, target: (B, 3, H, W) in [-1, 1]; 0 in [0, 1] terms is -1.
        mask: (B, 1, H, W).

    Returns:
        (B, 3, H, W) in [-1, 1], 0 outside the mask.
    """
    a, t = (image + 1) / 2, (target + 1) / 2
    power = (mask * a.square()).sum((2, 3), keepdim=True).clamp(min=1e-8)
    scale = (mask * a * t).sum((2, 3), keepdim=True) / power
    return ((2 * scale * a - 1).clamp(-1, 1)) * mask
