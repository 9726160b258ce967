"""What tables share whose test items are rendered with exact ground truth: heads, cars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar, cast, get_args

import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from gan3d_bench.benchmarks.measure import Measure, Settings
from gan3d_bench.datamodules.rendered import RenderedDataModule, RenderedDataset
from gan3d_bench.errors import unknown_name
from gan3d_bench.heads.sampling import FIELD_OF_VIEW
from gan3d_bench.losses.perceptual import Net
from gan3d_bench.pictures.grids import to_image, unit_range
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.scenes.base import Scene

PICTURED = 4  # subjects in a row's picture

Dataset = TypeVar("Dataset", bound=RenderedDataset)


class RenderedMeasure(Measure, Generic[Dataset]):
    """Base of tables over rendered test items.

    Args:
        settings: what was asked for.
        source: of the items.
    """

    def __init__(self, settings: Settings, source: RenderedDataModule[Dataset]) -> None:
        super().__init__(settings)
        self.source = source
        self.image_size = source.config.image_size
        self._pictures: list[Tensor] = []

    def protocol(self) -> Mapping[str, Any]:
        return {
            "data": self.data,
            "data_id": self.split("test").folder.parent.name,
            "image_size": self.image_size,
            "seed": self.source.config.seed,
            "field_of_view_deg": FIELD_OF_VIEW,
        }

    def items(self) -> list[int]:
        self.source.prepare_data()
        return list(range(len(self.split("test"))))

    def split(self, name: str) -> Dataset:
        return self.source.dataset(name)  # type: ignore[arg-type]

    def batch(self, items: Sequence[int]) -> dict[str, Tensor]:
        """The maps of test items, stacked: image, albedo, normal, depth, mask."""
        chosen = [self.split("test")[item] for item in items]
        keys = ("image", "albedo", "normal", "depth", "mask")
        return {
            key: torch.stack([item[key] for item in chosen]).to(self.settings.device)
            for key in keys
        }

    def in_input_view(self, scene: Scene, *capabilities: str) -> Rendering:
        """A scene of test items at their own view.

        Raises:
            UserError: it lacks one of `capabilities`.
        """
        scene.require(*capabilities)
        assert scene.input_view is not None
        return scene.render(scene.input_view, image_size=self.image_size)

    def keep(self, pictures: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Keep a batch's pictures for `picture`, if it is the row's first batch.

        Args:
            pictures: for each view or light, the truth and what the row shows, (B, 3, S, S) each.
        """
        if not self._pictures:
            self._pictures = [torch.stack(pair, 1)[:PICTURED].cpu() for pair in pictures]

    def picture(self) -> Image.Image | None:
        """What was kept: for each of the first items the truth, and below it what the row shows."""
        kept, self._pictures = self._pictures, []
        if not kept:
            return None
        grid = torch.stack(kept, 2).flatten(0, 2)  # subjects, truth and row, views
        return to_image(make_grid(unit_range(grid), nrow=len(kept), padding=2))


def mean_of(values: Sequence[float]) -> float:
    """Mean of the numbers that are known; NaN if none is."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def lpips_net(networks: Mapping[str, str]) -> Net:
    """The trunk of LPIPS that `Settings.networks` asks for, by default AlexNet.

    Raises:
        UserError: neither ``alex`` nor ``vgg``.
    """
    name = networks.get("lpips", "alex")
    if name not in get_args(Net):
        raise unknown_name("LPIPS network", name, get_args(Net))
    return cast(Net, name)


def within(rendering: Rendering, subject: Tensor) -> Tensor:
    """A rendering's picture (B, 3, S, S) where the true subject (B, 1, S, S) is, grey elsewhere.

    Grey too where the scene renders nothing.
    """
    return rendering.rgb * rendering.mask * subject
