"""Synthetic heads seen from all round, with exact ground truth, as the cars are.

Item i of a split depends only on (seed, split, i); the identities of the splits never meet.
Pictures are rendered once and cached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from gan3d_bench.datamodules.base import Item, Split
from gan3d_bench.datamodules.heads import HeadsDataModule, HeadsDataset
from gan3d_bench.datamodules.rendered import RenderedConfig, split_normals
from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.heads.all_round import LAYOUT, NUM_LATENTS, sample_all_round
from gan3d_bench.heads.sampling import HeadParameters

__all__ = ["LAYOUT", "NUM_LATENTS", "Heads360Config", "Heads360DataModule", "Heads360Dataset"]


@dataclass(frozen=True)
class Heads360Config(RenderedConfig):
    """What decides a data set of heads from all round."""

    name = "heads-360"
    version = 1


class Heads360Dataset(HeadsDataset):
    """Heads of one split from all round: `HeadsDataset` with latents (144,) of another layout.

    Items have ``azimuth`` and ``elevation``, too, in degrees.
    """

    settings = Heads360Config

    @staticmethod
    def normals(split: Split, numbers: Sequence[int], seed: int) -> Tensor:
        """See `HeadsDataset.normals`: (len(numbers), NUM_LATENTS)."""
        return split_normals(Heads360Config.name, split, numbers, NUM_LATENTS, seed)

    @staticmethod
    def sampled(latents: Tensor, model: MorphableModel) -> HeadParameters:
        """See `HeadsDataset.sampled`."""
        return sample_all_round(latents, model).heads

    @staticmethod
    def more(latents: Tensor, model: MorphableModel) -> Item:
        """See `HeadsDataset.more`: azimuth and elevation of one head."""
        found = sample_all_round(latents[None], model)
        return {"azimuth": found.azimuth[0], "elevation": found.elevation[0]}


class Heads360DataModule(HeadsDataModule):
    """Train, val and test heads from all round, disjoint in identity."""

    settings = Heads360Config
    kind = Heads360Dataset
