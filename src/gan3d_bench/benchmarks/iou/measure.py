"""Measures reconstructed cars' silhouettes and shapes against the true ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from torch import Tensor

from gan3d_bench.benchmarks.baseline_cars import MEAN_CAR, TRUE_CAR, as_mean_car
from gan3d_bench.benchmarks.cars import CarsMeasure, OtherCars, covered
from gan3d_bench.benchmarks.measure import Settings, Values
from gan3d_bench.benchmarks.subjects import REFERENCES
from gan3d_bench.cars.scene import cars_scene
from gan3d_bench.geometry.meshes import SceneMesh
from gan3d_bench.methods.base import Method
from gan3d_bench.metrics.silhouette import MaskIoU
from gan3d_bench.metrics.solids import (
    POINTS,
    RESOLUTION,
    chamfer_distance,
    solid_voxels,
    surface_points,
    volume_iou,
)
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.scenes.base import Scene

_SCORES = {"2d": "iou", "3d": "iou_3d"}


@dataclass(frozen=True)
class Form:
    """A normalised shape: which voxels it fills, and points on its surface."""

    solid: np.ndarray
    points: np.ndarray

    @classmethod
    def of(cls, mesh: SceneMesh) -> Form:
        vertices, faces = mesh.vertices, mesh.faces
        return cls(solid_voxels(vertices, faces), surface_points(vertices, faces))


class IoUMeasure(CarsMeasure):
    """Masks in the input view, and shapes in the cars' frame, both with other cars instead."""

    requires = frozenset({"mesh"})
    baselines = (TRUE_CAR, MEAN_CAR)

    def __init__(self, settings: Settings, **kwargs: Any) -> None:
        super().__init__(settings, **kwargs)
        self.iou = MaskIoU()
        self._others: OtherCars | None = None
        self._solids: list[np.ndarray] = []

    def protocol(self) -> Mapping[str, Any]:
        return {
            **super().protocol(),
            "references": REFERENCES,
            "voxels": RESOLUTION,
            "points": POINTS,
        }

    def begin(self, method: Method, kind: str, items: Sequence[int]) -> None:
        """Take the first cars to stand in for the others."""
        self._others = OtherCars.first(self, method, kind, items, REFERENCES)
        self._solids = []
        if self._others is not None:
            scene = self._others.scene
            meshes = [scene.mesh(index) for index in range(scene.batch_size)]
            self._solids = [solid_voxels(mesh.vertices, mesh.faces) for mesh in meshes]

    def method(self, method: Method, kind: str, items: Sequence[int]) -> Values:
        batch, true = self.batch(items), self._true(items)
        scene = self.scene(method, kind, batch["image"])
        shown = self.in_input_view(scene, "mesh")
        self.keep([(batch["image"], shown.over(0.0))])
        own = self._compared(shown, scene, covered(batch["mask"]), true)
        return {**own, **self._leads(items, scene, covered(batch["mask"]), true, own)}

    def baseline(self, row: str, items: Sequence[int]) -> Values:
        batch, cars = self.batch(items), self.parameters(items)
        scene = cars_scene(as_mean_car(cars) if row == MEAN_CAR else cars, self.image_size)
        shown = self.in_input_view(scene)
        self.keep([(batch["image"].cpu(), shown.over(0.0))])
        return self._compared(shown, scene, covered(batch["mask"]), self._true(items))

    def _true(self, items: Sequence[int]) -> list[Form]:
        scene = cars_scene(self.parameters(items))
        return [Form.of(scene.mesh(index)) for index in range(len(items))]

    def _compared(
        self, shown: Rendering, scene: Scene, target: Tensor, true: Sequence[Form]
    ) -> Values:
        forms = [Form.of(scene.mesh(index)) for index in range(len(true))]
        pairs = list(zip(forms, true, strict=True))
        return {
            "iou": self._mask_iou(shown.mask, target),
            "iou_3d": [volume_iou(own.solid, truth.solid) for own, truth in pairs],
            "chamfer": [100 * chamfer_distance(own.points, truth.points) for own, truth in pairs],
        }

    def _leads(
        self,
        items: Sequence[int],
        scene: Scene,
        target: Tensor,
        true: Sequence[Form],
        own: Mapping[str, list[float]],
    ) -> Values:
        """By how much the own shapes are better than others in their place; nothing without."""
        if self._others is None:
            return {}
        assert scene.input_view is not None
        views, mean = scene.input_view.to("cpu"), cars_scene(as_mean_car(self.parameters(items)))
        ordinary = Form.of(mean.mesh(0)).solid  # one shape, whatever its size and place
        seen = mean.render(views, image_size=self.image_size).mask
        instead: Values = {
            "lead_others_2d": [],
            "lead_mean_2d": self._mask_iou(seen, target),
            "lead_others_3d": [],
            "lead_mean_3d": [volume_iou(ordinary, truth.solid) for truth in true],
        }
        for index, item in enumerate(items):
            kept = self._others.but(item)
            view = scene.input_view[index]
            masks = self._others.scene.render(view, image_size=self.image_size).mask[kept]
            found = self._mask_iou(masks, target[index][None].expand_as(masks))
            instead["lead_others_2d"].append(fmean(found))
            found = [volume_iou(self._solids[k], true[index].solid) for k in kept]
            instead["lead_others_3d"].append(fmean(found))
        return {
            name: [a - b for a, b in zip(own[_SCORES[name[-2:]]], column, strict=True)]
            for name, column in instead.items()
        }

    def _mask_iou(self, mask: Tensor, target: Tensor) -> list[float]:
        return self.iou.instances(covered(mask).to(target), target).tolist()
