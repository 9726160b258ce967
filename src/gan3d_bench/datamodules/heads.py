"""Synthetic heads with exact ground truth: shape, albedo, normals, view and light of every image.

Item i of a split depends only on (seed, split, i), so a larger data set contains the smaller one,
and the identities of train, val and test never meet. Pictures are rendered once and cached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from gan3d_bench.assets.store import cache_dir
from gan3d_bench.datamodules.base import Item, Split
from gan3d_bench.datamodules.rendered import (
    RENDER_BATCH,
    RenderedConfig,
    RenderedDataModule,
    RenderedDataset,
    split_normals,
)
from gan3d_bench.datamodules.shards import decode, encode
from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.heads.sampling import (
    LAYOUT,
    NUM_LATENTS,
    HeadParameters,
    render_heads,
    sample_heads,
)

__all__ = [
    "LAYOUT", "NUM_LATENTS", "HeadParameters", "HeadsConfig", "HeadsDataModule", "HeadsDataset",
    "head_latents", "render_heads", "sample_heads",
]  # fmt: skip


def head_latents(split: Split, indices: Sequence[int], seed: int = 0) -> Tensor:
    """Standard normals of some items of a split: (len(indices), NUM_LATENTS).

    Raises:
        UserError: unknown split.
    """
    return split_normals("heads", split, indices, NUM_LATENTS, seed)


@dataclass(frozen=True)
class HeadsConfig(RenderedConfig):
    """What decides a data set of heads."""

    name = "heads"
    version = 1


class HeadsDataset(RenderedDataset):
    """Heads of one split, read from the cache.

    Items are dicts of float32 tensors: image, albedo, normal (3, S, S), depth, mask (1, S, S)
    (see `render_heads`), latents (146,), the fields of `HeadParameters` (the albedo coefficients
    as ``albedo_coefficients``), and the int ``index``.

    Args:
        split: train, val or test.
        size: number of items.
        config: resolution and seed.
        root: folder of caches; None is the suite's cache folder.
        model: the head model; None loads the bundled one.

    Raises:
        UserError: unknown split, or a size below 1; on reading, a missing or damaged shard.
    """

    settings: ClassVar[type[RenderedConfig]] = HeadsConfig

    def __init__(
        self,
        split: Split,
        size: int,
        config: RenderedConfig | None = None,
        *,
        root: Path | None = None,
        model: MorphableModel | None = None,
    ) -> None:
        config, model = config or self.settings(), model or MorphableModel.load_heads()
        super().__init__(split, size, config.folder(root or cache_dir(), model.tensors()))
        self.config, self.model = config, model
        self.latents = self.normals(split, range(size), self.config.seed)
        self.parameters = self.sampled(self.latents, self.model)

    @staticmethod
    def normals(split: Split, numbers: Sequence[int], seed: int) -> Tensor:
        """Standard normals of some items of a split, a row each."""
        return head_latents(split, numbers, seed)

    @staticmethod
    def sampled(latents: Tensor, model: MorphableModel) -> HeadParameters:
        """The heads of such normals (B, ...)."""
        return sample_heads(latents, model)

    @staticmethod
    def more(latents: Tensor, model: MorphableModel) -> Item:
        """What else is known of the head of one such row."""
        return {}

    def draw(self, start: int, stop: int) -> dict[str, Tensor]:
        """See `RenderedDataset.draw`."""
        chosen = self.parameters[start:stop]
        return render_heads(chosen, self.config.image_size, self.config.supersample, self.model)

    def item(self, maps: Mapping[str, Tensor], index: int) -> Item:
        """See `RenderedDataset.item`."""
        known = _item(maps, self.parameters, self.latents, index, index)
        return {**known, **self.more(self.latents[index], self.model)}


def _item(
    maps: Mapping[str, Tensor], heads: HeadParameters, latents: Tensor, row: int, index: int
) -> Item:
    """What is known of head `index`: its maps, and its row of parameters and latents."""
    coefficients = {
        ("albedo_coefficients" if field.name == "albedo" else field.name): getattr(
            heads, field.name
        )[row]
        for field in fields(HeadParameters)
    }
    return {**maps, **coefficients, "latents": latents[row], "index": index}


class HeadsDataModule(RenderedDataModule[HeadsDataset]):
    """Train, val and test heads, disjoint in identity, rendered once and cached on disk."""

    settings = HeadsConfig
    kind: ClassVar[type[HeadsDataset]] = HeadsDataset

    def build(self, split: Split) -> HeadsDataset:
        """The data set of a split (its images exist after `prepare_data`)."""
        return self.kind(split, self.sizes[split], self.config, root=self.root)

    def anew(self, split: Split, numbers: Sequence[int]) -> list[Item]:
        """See `RenderedDataModule.anew`."""
        model = MorphableModel.load_heads()
        latents = self.kind.normals(split, numbers, self.config.seed)
        heads = self.kind.sampled(latents, model)
        size, supersample = self.config.image_size, self.config.supersample
        items = []
        for start in range(0, len(numbers), RENDER_BATCH):
            with torch.no_grad():
                chosen = heads[start : start + RENDER_BATCH]
                maps = decode(encode(render_heads(chosen, size, supersample, model)))
            for row in range(len(chosen)):
                one = {name: batch[row] for name, batch in maps.items()}
                known = _item(one, heads, latents, start + row, numbers[start + row])
                items.append({**known, **self.kind.more(latents[start + row], model)})
        return items
