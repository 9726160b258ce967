"""What the tables measured on the cars' test split share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.benchmarks.baseline_cars import mean_look, mean_shape
from gan3d_bench.benchmarks.measure import Settings
from gan3d_bench.benchmarks.rendered import RenderedMeasure
from gan3d_bench.cars.pack import LOOKS, CarPack
from gan3d_bench.cars.sampling import CarParameters, render_cars
from gan3d_bench.datamodules.cars import CarsDataModule, CarsDataset
from gan3d_bench.methods.base import Method
from gan3d_bench.scenes.base import Scene


class CarsMeasure(RenderedMeasure[CarsDataset]):
    """Base of tables over test cars, whose truth can be rendered at any view.

    Args:
        settings: what was asked for.
        image_size: pixels per side.
        test_size: test cars to choose from; None for as many as are measured.
        root: folder of the cars' cache; None is the suite's.
    """

    data = "cars, test"

    def __init__(
        self,
        settings: Settings,
        *,
        image_size: int = 64,
        test_size: int | None = None,
        root: Path | None = None,
    ) -> None:
        size = settings.samples if test_size is None else test_size
        super().__init__(
            settings,
            CarsDataModule(image_size, train_size=1, val_size=1, test_size=size, root=root),
        )

    def protocol(self) -> Mapping[str, Any]:
        mean = CarPack.load().names()[mean_shape()], LOOKS[mean_look()]
        return {**super().protocol(), "mean_car": ", ".join(mean)}

    def parameters(self, items: Sequence[int]) -> CarParameters:
        """What makes the pictures of test cars."""
        return self.split("test").parameters[torch.tensor(list(items))]

    def truth(self, cars: CarParameters) -> dict[str, Tensor]:
        """Render cars afresh; see `render_cars`."""
        maps = render_cars(cars, self.image_size, self.split("test").config.supersample)
        return {key: value.to(self.settings.device) for key, value in maps.items()}


class OtherCars:
    """Some cars of a run, shown in the place of others: who sees the car leads.

    Args:
        scene: of the first cars of a run, all in the cars' frame.
        items: their test items.
    """

    def __init__(self, scene: Scene, items: Sequence[int]) -> None:
        self.scene = scene
        self.items = list(items)

    @classmethod
    def first(
        cls, measure: CarsMeasure, method: Method, kind: str, items: Sequence[int], count: int
    ) -> OtherCars | None:
        """The first `count` of a row's items; None where there is no second one."""
        chosen = list(items)[:count]
        if len(chosen) < 2:
            return None
        return cls(measure.scene(method, kind, measure.batch(chosen)["image"]), chosen)

    def but(self, item: int) -> list[int]:
        """Where in the scene the cars are that stand in for `item`."""
        return [index for index, other in enumerate(self.items) if other != item]


def covered(mask: Tensor) -> Tensor:
    """Which pixels (B, 1, S, S) a mask in [0, 1] covers by half or more, as 0 and 1."""
    return (mask >= 0.5).to(mask)
