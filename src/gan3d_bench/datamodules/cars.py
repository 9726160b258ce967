"""Cars seen from all round, with exact ground truth: mesh, look, camera and light of every image.

Item i of a split depends only on (seed, split, i). The looks of train, val and test never meet, and
two shapes are in test alone (`cars.sampling`). Pictures are rendered once and cached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from gan3d_bench.assets.store import cache_dir
from gan3d_bench.cars.pack import CarPack
from gan3d_bench.cars.sampling import CarParameters, render_cars, sample_cars
from gan3d_bench.datamodules.base import SPLITS, Item, Split
from gan3d_bench.datamodules.rendered import (
    RENDER_BATCH,
    RenderedConfig,
    RenderedDataModule,
    RenderedDataset,
)
from gan3d_bench.datamodules.shards import decode, encode
from gan3d_bench.errors import unknown_name


@dataclass(frozen=True)
class CarsConfig(RenderedConfig):
    """What decides a data set of cars."""

    name = "cars"
    version = 1


def car_parameters(
    split: Split, numbers: Sequence[int], seed: int = 0, pack: CarPack | None = None
) -> CarParameters:
    """Some items of a split; the generator of item i is seeded by a hash of (seed, split, i).

    Raises:
        UserError: unknown split.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    generators = []
    for number in numbers:
        key = hashlib.sha256(f"cars/{seed}/{split}/{number}".encode()).digest()
        generators.append(torch.Generator().manual_seed(int.from_bytes(key[:8], "little") >> 1))
    return sample_cars(generators, split, pack)


class CarsDataset(RenderedDataset):
    """Cars of one split, read from the cache.

    Items are dicts of float32 tensors: image, albedo, normal (3, S, S), depth, mask (1, S, S)
    (see `render_cars`), the fields of `CarParameters` (shape and look int64), angles and
    translation of the same view, and the int ``index``.

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
        self.parameters = car_parameters(split, range(size), config.seed, pack)

    def draw(self, start: int, stop: int) -> dict[str, Tensor]:
        """See `RenderedDataset.draw`."""
        chosen = self.parameters[start:stop]
        return render_cars(chosen, self.config.image_size, self.config.supersample)

    def item(self, maps: Mapping[str, Tensor], index: int) -> Item:
        """See `RenderedDataset.item`."""
        return _item(maps, self.parameters, index, index)


def _item(maps: Mapping[str, Tensor], cars: CarParameters, row: int, index: int) -> Item:
    """What is known of car `index`: its maps, and its row of parameters."""
    view = cars[row : row + 1].view
    return {
        **maps,
        **{field.name: getattr(cars, field.name)[row] for field in fields(cars)},
        "angles": torch.cat((view.yaw, view.pitch, view.roll)),
        "translation": view.translation[0],
        "index": index,
    }


class CarsDataModule(RenderedDataModule[CarsDataset]):
    """Train, val and test cars, disjoint in look, rendered once and cached on disk."""

    settings = CarsConfig

    def build(self, split: Split) -> CarsDataset:
        """The data set of a split (its images exist after `prepare_data`)."""
        return CarsDataset(split, self.sizes[split], self.config, root=self.root)

    def anew(self, split: Split, numbers: Sequence[int]) -> list[Item]:
        """See `RenderedDataModule.anew`."""
        cars = car_parameters(split, numbers, self.config.seed)
        items = []
        for start in range(0, len(numbers), RENDER_BATCH):
            chosen = cars[start : start + RENDER_BATCH]
            with torch.no_grad():
                drawn = render_cars(chosen, self.config.image_size, self.config.supersample)
            maps = decode(encode(drawn))
            for row in range(len(chosen)):
                one = {name: batch[row] for name, batch in maps.items()}
                items.append(_item(one, cars, start + row, numbers[start + row]))
        return items
