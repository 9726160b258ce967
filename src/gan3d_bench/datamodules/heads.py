"""Synthetic heads with exact ground truth: shape, albedo, normals, view and light of every image.

Item i of a split depends only on (seed, split, i), so a larger data set contains the smaller one,
and the identities of train, val and test never meet. Pictures are rendered once and cached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.data import Dataset

from gan3d_bench.assets.store import cache_dir
from gan3d_bench.config import SEEDS, require
from gan3d_bench.datamodules.base import SPLITS, DataModule, Item, Split, require_counts
from gan3d_bench.errors import unknown_name
from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.heads.cache import Shard, decode, encode, write_shard
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

SHARD_SIZE = 256
RENDER_BATCH = 32
# Raise it when rendering changes, so that old caches are not read.
CACHE_VERSION = 1


def head_latents(split: Split, indices: Sequence[int], seed: int = 0) -> Tensor:
    """Standard normals of some items of a split: (len(indices), NUM_LATENTS).

    The generator of item i is seeded by a hash of (seed, split, i).

    Raises:
        UserError: unknown split.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    rows = []
    for index in indices:
        key = hashlib.sha256(f"heads/{seed}/{split}/{index}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "little") >> 1)
        rows.append(torch.randn(NUM_LATENTS, generator=generator))
    return torch.stack(rows) if rows else torch.empty(0, NUM_LATENTS)


@dataclass(frozen=True)
class HeadsConfig:
    """What decides a rendered data set, and hence where it is cached.

    Attributes:
        image_size: pixels per side, 8 to 2048.
        seed: of all splits.
        supersample: sub-pixels along each axis, 1 to 8.
    """

    image_size: int = 64
    seed: int = 0
    supersample: int = 2

    def __post_init__(self) -> None:
        require("image_size", self.image_size, least=8, most=2048)
        require("supersample", self.supersample, least=1, most=8)
        require("seed", self.seed, least=0, below=SEEDS)

    def folder(self, root: Path, model: MorphableModel) -> Path:
        """The cache folder of this data set; its name hashes the settings and the head model."""
        digest = hashlib.sha256(f"{CACHE_VERSION} {self} {SHARD_SIZE}".encode())
        for tensor in model.tensors():
            digest.update(tensor.contiguous().numpy().tobytes())
        return root / "heads" / f"{self.image_size}px-{digest.hexdigest()[:16]}"


class HeadsDataset(Dataset[dict[str, Any]]):
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

    def __init__(
        self,
        split: Split,
        size: int,
        config: HeadsConfig | None = None,
        *,
        root: Path | None = None,
        model: MorphableModel | None = None,
    ) -> None:
        require_counts(1, **{f"{split}_size": size})
        self.split: Split = split
        self.size = size
        self.config = config or HeadsConfig()
        self.model = model or MorphableModel.load_heads()
        self.folder = self.config.folder(root or cache_dir(), self.model) / split
        self.latents = head_latents(split, range(size), self.config.seed)
        self.parameters = sample_heads(self.latents, self.model)
        self._open: dict[int, Shard] = {}

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < self.size:
            raise IndexError(index)
        number, offset = divmod(index, SHARD_SIZE)
        if number not in self._open:
            start, stop = self._bounds(number)
            self._open[number] = Shard(self._path(number), stop - start)
        maps = decode(self._open[number][offset])
        return _item(maps, self.parameters, self.latents, index, index)

    def __getstate__(self) -> dict[str, Any]:
        # Memory maps do not travel to worker processes; they are opened again there.
        return {**self.__dict__, "_open": {}}

    def missing(self) -> list[int]:
        """Numbers of the shards that are not yet rendered."""
        return [n for n in range(-(-self.size // SHARD_SIZE)) if not self._path(n).is_file()]

    def render(self, numbers: list[int]) -> Iterator[int]:
        """Render shards and write them; yields the number of images done after each batch."""
        for number in numbers:
            start, stop = self._bounds(number)
            batches = []
            for first in range(start, stop, RENDER_BATCH):
                chosen = self.parameters[first : min(first + RENDER_BATCH, stop)]
                with torch.inference_mode():
                    batches.append(
                        encode(
                            render_heads(
                                chosen,
                                self.config.image_size,
                                self.config.supersample,
                                self.model,
                            )
                        )
                    )
                if first + RENDER_BATCH < stop:
                    yield len(chosen)
            whole = {name: torch.cat([b[name] for b in batches]) for name in batches[0]}
            write_shard(self._path(number), whole)
            yield len(chosen)

    def _bounds(self, number: int) -> tuple[int, int]:
        return number * SHARD_SIZE, min((number + 1) * SHARD_SIZE, self.size)

    def _path(self, number: int) -> Path:
        start, stop = self._bounds(number)
        return self.folder / f"{start:07d}-{stop:07d}.safetensors"


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


class HeadsDataModule(DataModule[HeadsDataset]):
    """Train, val and test heads, disjoint in identity, rendered once and cached on disk.

    The cache lies under ``GAN3D_BENCH_HOME`` or the platform's cache folder; a run that was
    killed renders only the missing shards.

    Args:
        image_size, seed, supersample: see `HeadsConfig`.
        train_size, val_size, test_size: number of images of each split.
        batch_size: images a batch.
        num_workers: worker processes of each loader.
        root: folder of caches; None is the suite's cache folder.

    Raises:
        UserError: a setting out of range; no space; a damaged shard (when it is read).
    """

    def __init__(
        self,
        image_size: int = 64,
        *,
        train_size: int = 8192,
        val_size: int = 256,
        test_size: int = 512,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
        supersample: int = 2,
        root: Path | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers)
        require_counts(1, train_size=train_size, val_size=val_size, test_size=test_size)
        self.config = HeadsConfig(image_size, seed, supersample)
        self.sizes: dict[Split, int] = {"train": train_size, "val": val_size, "test": test_size}
        self.root = root

    @classmethod
    def open(
        cls, path: str, image_size: int, *, counts: Mapping[Split, int], seed: int
    ) -> HeadsDataModule:
        """See `DataModule.open`; needs no path."""
        sizes: dict[str, Any] = {f"{split}_size": count for split, count in counts.items()}
        return cls(image_size, seed=seed, **sizes)

    def build(self, split: Split) -> HeadsDataset:
        """The data set of a split (its images exist after `prepare_data`)."""
        return HeadsDataset(split, self.sizes[split], self.config, root=self.root)

    def prepare(self, split: Split) -> None:
        """Render what the cache lacks, with a progress bar."""
        data = self.dataset(split)
        missing = data.missing()
        if not missing:
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                   TimeRemainingColumn())  # fmt: skip
        with Progress(*columns, transient=True) as progress:
            total = sum(min(SHARD_SIZE, data.size - n * SHARD_SIZE) for n in missing)
            task = progress.add_task(f"rendering heads ({split})", total=total)
            for done in data.render(missing):
                progress.advance(task, done)

    def read(self, split: Split, numbers: Sequence[int]) -> list[Item]:
        """Heads of any number, from the cache or rendered afresh: bit for bit the same."""
        if split in SPLITS and max(numbers, default=0) < self.sizes[split]:
            data = self.dataset(split)
            if not data.missing():
                return [data[number] for number in numbers]
        model = MorphableModel.load_heads()
        latents = head_latents(split, numbers, self.config.seed)
        heads = sample_heads(latents, model)
        size, supersample = self.config.image_size, self.config.supersample
        items = []
        for start in range(0, len(numbers), RENDER_BATCH):
            with torch.no_grad():
                chosen = heads[start : start + RENDER_BATCH]
                maps = decode(encode(render_heads(chosen, size, supersample, model)))
            for row in range(len(chosen)):
                one = {name: batch[row] for name, batch in maps.items()}
                items.append(_item(one, heads, latents, start + row, numbers[start + row]))
        return items
