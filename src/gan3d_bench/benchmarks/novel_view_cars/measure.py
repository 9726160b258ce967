"""Measures reconstructed cars from all round against renderings of the true car."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.benchmarks.baseline_cars import (
    MEAN_CAR,
    TRUE_CAR,
    as_mean_car,
    before_grey,
    gone_round,
)
from gan3d_bench.benchmarks.cars import CarsMeasure, OtherCars, covered
from gan3d_bench.benchmarks.measure import Settings, Values
from gan3d_bench.benchmarks.rendered import lpips_net, mean_of, within
from gan3d_bench.cars.scene import cars_scene
from gan3d_bench.methods.base import Method
from gan3d_bench.metrics.images import psnr
from gan3d_bench.metrics.lpips import MeanLPIPS
from gan3d_bench.metrics.silhouette import MaskIoU
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.scenes.base import Scene

AZIMUTHS = tuple(range(0, 360, 30))
"""Degrees by which the camera has gone round the car from the input's; StyleGAN-R's twelve bins."""
OTHERS = 5
"""Cars of a run that stand in for others: at least 4 for each."""
INPUT = "Input image, not turned"

Seen = Callable[[int], Rendering]
"""Degrees gone round -> what a row shows."""


class NovelViewCarsMeasure(CarsMeasure):
    """Cars from all round beside the truth, over the true car's pixels.

    The light belongs to the scene and turns with the car: the camera moves round it.
    """

    baselines = (TRUE_CAR, INPUT, MEAN_CAR)
    exchangeable = ("lpips",)

    def __init__(self, settings: Settings, **kwargs: Any) -> None:
        super().__init__(settings, **kwargs)
        self.lpips = MeanLPIPS(lpips_net(settings.networks)).to(settings.device)
        self.iou = MaskIoU()
        self._others: OtherCars | None = None

    def protocol(self) -> Mapping[str, Any]:
        return {
            **super().protocol(),
            "azimuths": list(AZIMUTHS),
            "references": OTHERS,
            "light": "the scene's, turns with the subject",
            "networks": {"lpips": self.lpips.name},
        }

    def begin(self, method: Method, kind: str, items: Sequence[int]) -> None:
        """Take the first cars to stand in for the others."""
        self._others = OtherCars.first(self, method, kind, items, OTHERS)

    def method(self, method: Method, kind: str, items: Sequence[int]) -> Values:
        scene = self.scene(method, kind, self.batch(items)["image"])
        return self._measure(items, lambda step: self._seen(scene, step), scene)

    def baseline(self, row: str, items: Sequence[int]) -> Values:
        """The true or the mean car, or the input's car as it is."""
        if row == INPUT:
            batch = self.batch(items)
            still = Rendering(batch["image"], batch["mask"])
            return self._measure(items, lambda _: still)
        cars = self.parameters(items)
        scene = cars_scene(as_mean_car(cars) if row == MEAN_CAR else cars, self.image_size)
        return self._measure(items, lambda step: self._seen(scene, step))

    def _seen(self, scene: Scene, step: int) -> Rendering:
        assert scene.input_view is not None
        return scene.render(scene.input_view.gone_round(step), image_size=self.image_size)

    def _measure(self, items: Sequence[int], seen: Seen, scene: Scene | None = None) -> Values:
        """Measure a row; compared with other cars in its place where it is a method's `scene`."""
        cars = self.parameters(items)
        parts: dict[str, list[list[float]]] = {}
        pictures: list[tuple[Tensor, Tensor]] = []
        for step in AZIMUTHS:
            truth = self.truth(before_grey(gone_round(cars, step)))
            subject, rendering = covered(truth["mask"]), seen(step)
            real, shown = truth["image"] * subject, self._within(rendering, subject)
            pictures.append((real, shown))
            values = {
                "psnr": psnr(shown, real, subject),
                "lpips": self.lpips.instances(shown, real),
                "iou": self._iou(rendering.mask.to(subject), subject),
            }
            found = {key: value.tolist() for key, value in values.items()}
            if scene is not None:
                found |= self._leads(items, scene, step, real, subject, found["psnr"])
            for key, column in found.items():
                parts.setdefault(key, []).append(column)
                parts[f"{key}@azimuth={step}"] = [column]
        self.keep(pictures)
        return {
            key: [mean_of(column) for column in zip(*rows, strict=True)]
            for key, rows in parts.items()
        }

    def _leads(
        self,
        items: Sequence[int],
        scene: Scene,
        step: int,
        real: Tensor,
        subject: Tensor,
        own: Sequence[float],
    ) -> dict[str, list[float]]:
        """By how much the own PSNR is better than that of others in the car's place, dB."""
        if self._others is None:
            return {}
        assert scene.input_view is not None
        views = scene.input_view.gone_round(step).expand(len(items))
        mean = cars_scene(as_mean_car(self.parameters(items)), self.image_size)
        ordinary = mean.render(views.to("cpu"), image_size=self.image_size)
        score = psnr(self._within(ordinary, subject), real, subject).tolist()
        leads = {
            "lead_others": [],
            "lead_mean_car": [a - b for a, b in zip(own, score, strict=True)],
        }
        for index, item in enumerate(items):
            there = self._others.scene.render(views[index], image_size=self.image_size)
            place, target = subject[index][None], real[index][None]
            shown = self._within(there, place)[self._others.but(item)]
            scores = psnr(shown, target.expand_as(shown), place.expand(len(shown), -1, -1, -1))
            leads["lead_others"].append(own[index] - fmean(scores.tolist()))
        return leads

    def _within(self, rendering: Rendering, subject: Tensor) -> Tensor:
        here = Rendering(rendering.rgb.to(subject), rendering.mask.to(subject))
        return within(here, subject)

    def _iou(self, mask: Tensor, subject: Tensor) -> Tensor:
        """NaN where a scene gives whole pictures and does not say where in them its subject is."""
        says = (mask < 0.5).flatten(1).any(1)
        return torch.where(says, self.iou.instances(covered(mask), subject), torch.nan)
