"""Cars seen from all round, with exact ground truth: mesh, look, camera and light of every image.

Item i of a split depends only on (seed, split, i). The looks of train, val and test never meet, and
two shapes are in test alone (`cars.sampling`). Pictures are rendered once and cached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from gan3d_bench.assets.store import cache_dir
from gan3d_bench.cars.pack import CarPack
from gan3d_bench.cars.sampling import (
    NUM_LATENTS,
    CarParameters,
    described,
    render_cars,
    sample_cars,
)
from gan3d_bench.datamodules.base import Item, Split
from gan3d_bench.datamodules.rendered import (
    RENDER_BATCH,
    RenderedConfig,
    RenderedDataModule,
    RenderedDataset,
    split_normals,
)
from gan3d_bench.datamodules.shards import decode, encode


@dataclass(frozen=True)
class CarsConfig(RenderedConfig):
    """What decides a data set of cars."""

    name = "cars"
    version = 2


def car_latents(split: Split, numbers: Sequence[int], seed: int = 0) -> Tensor:
    """Standard normals of some items of a split: (len(numbers), NUM_LATENTS).

    Raises:
        UserError: unknown split.
    """
    return split_normals("cars", split, numbers, NUM_LATENTS, seed)


class CarsDataset(RenderedDataset):
    """Cars of one split, read from the cache.

    Items are dicts of float32 tensors: image, albedo, normal (3, S, S), depth, mask (1, S, S)
    (see `render_cars`), the fields of `CarParameters` (shape and look int64), angles and
    translation of the same view, latents (57,), and the int ``index``.

    Args:
        split: train, val or test.
        size: number of items.
        config: resolution and seed.
        root: folder of caches; None is the suite's cache folder.

    Raises:
        UserError: unknown split, or a size below 1; on reading, a missing or damaged shard.
    """

    def __init__(
        self,
        split: Split,
        size: int,
        config: RenderedConfig | None = None,
        *,
        root: Path | None = None,
    ) -> None:
        config, pack = config or CarsConfig(), CarPack.load()
        super().__init__(split, size, config.folder(root or cache_dir(), pack.tensors()))
        self.config = config
        self.latents = car_latents(split, range(size), config.seed)
        self.parameters = sample_cars(self.latents, split, pack)

    def draw(self, start: int, stop: int) -> dict[str, Tensor]:
        """See `RenderedDataset.draw`."""
        chosen = self.parameters[start:stop]
        return render_cars(chosen, self.config.image_size, self.config.supersample)

    def item(self, maps: Mapping[str, Tensor], index: int) -> Item:
        """See `RenderedDataset.item`."""
        return _item(maps, self.parameters, self.latents, index, index)


def _item(
    maps: Mapping[str, Tensor], cars: CarParameters, latents: Tensor, row: int, index: int
) -> Item:
    """What is known of car `index`: its maps, and its row of parameters and latents."""
    view = cars[row : row + 1].view
    return {
        **maps,
        **{field.name: getattr(cars, field.name)[row] for field in fields(cars)},
        "angles": torch.cat((view.yaw, view.pitch, view.roll)),
        "translation": view.translation[0],
        "latents": latents[row],
        "index": index,
    }


class CarsDataModule(RenderedDataModule[CarsDataset]):
    """Train, val and test cars, disjoint in look, rendered once and cached on disk."""

    settings = CarsConfig

    def build(self, split: Split) -> CarsDataset:
        """The data set of a split (its images exist after `prepare_data`)."""
        return CarsDataset(split, self.sizes[split], self.config, root=self.root)

    def described(self, latents: Tensor) -> Tensor:
        """See `DataModule.described`."""
        return described(latents, "train")

    def anew(self, split: Split, numbers: Sequence[int]) -> list[Item]:
        """See `RenderedDataModule.anew`."""
        latents = car_latents(split, numbers, self.config.seed)
        cars = sample_cars(latents, split)
        items = []
        for start in range(0, len(numbers), RENDER_BATCH):
            chosen = cars[start : start + RENDER_BATCH]
            with torch.no_grad():
                drawn = render_cars(chosen, self.config.image_size, self.config.supersample)
            maps = decode(encode(drawn))
            for row in range(len(chosen)):
                one = {name: batch[row] for name, batch in maps.items()}
                items.append(_item(one, cars, latents, start + row, numbers[start + row]))
        return items
