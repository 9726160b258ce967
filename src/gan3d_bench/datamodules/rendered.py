"""Data that is made: rendered once in shards, cached, and rendered on where a run was killed."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from gan3d_bench.config import SEEDS, require
from gan3d_bench.datamodules.base import SPLITS, DataModule, Item, Split, require_counts
from gan3d_bench.datamodules.shards import Shard, decode, encode, write_shard
from gan3d_bench.errors import unknown_name
from gan3d_bench.generators.latents import numbered_normals
from gan3d_bench.progress import StepProgress

if TYPE_CHECKING:
    from typing_extensions import Self

SHARD_SIZE = 256
RENDER_BATCH = 32


@dataclass(frozen=True)
class RenderedConfig:
    """What decides a rendered data set, and hence where it is cached.

    Subclasses set `name`, the cache's folder, and `version`, which is raised when rendering or
    sampling changes, so that old caches are not read.

    Attributes:
        image_size: pixels per side, 8 to 2048.
        seed: of all splits.
        supersample: sub-pixels along each axis, 1 to 8.
    """

    name: ClassVar[str]
    version: ClassVar[int]

    image_size: int = 64
    seed: int = 0
    supersample: int = 2

    def __post_init__(self) -> None:
        require("image_size", self.image_size, least=8, most=2048)
        require("supersample", self.supersample, least=1, most=8)
        require("seed", self.seed, least=0, below=SEEDS)

    def folder(self, root: Path, tensors: Iterable[Tensor]) -> Path:
        """The cache folder of this data set.

        Args:
            root: of all caches.
            tensors: what is rendered; hashed into the name, with the settings.
        """
        digest = hashlib.sha256(f"{self.version} {self} {SHARD_SIZE}".encode())
        for tensor in tensors:
            digest.update(tensor.contiguous().numpy().tobytes())
        return root / self.name / f"{self.image_size}px-{digest.hexdigest()[:16]}"


def split_normals(name: str, split: Split, numbers: Sequence[int], count: int, seed: int) -> Tensor:
    """Standard normals (N, count) of some items of a split.

    Those of item i depend on (name, seed, split, i) alone.

    Args:
        name: of the data.
        split: of the items.
        numbers: N of them.
        count: normals of each.
        seed: of the data.

    Raises:
        UserError: unknown split.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    return numbered_normals(f"{name}/{seed}/{split}", numbers, count)


class RenderedDataset(Dataset[Item], ABC):
    """Items of one split, read from the cache.

    Subclasses implement `draw` and `item`.

    Args:
        split: train, val or test.
        size: number of items.
        folder: of the data set's cache; the split is a folder in it.

    Raises:
        UserError: a size below 1; on reading, a missing or damaged shard.
    """

    def __init__(self, split: Split, size: int, folder: Path) -> None:
        require_counts(1, **{f"{split}_size": size})
        self.split: Split = split
        self.size = size
        self.folder = folder / split
        self._open: dict[int, Shard] = {}

    @abstractmethod
    def draw(self, start: int, stop: int) -> dict[str, Tensor]:
        """Render the maps of some items, as `heads.sampling.exact_maps`."""

    @abstractmethod
    def item(self, maps: Mapping[str, Tensor], index: int) -> Item:
        """All that is known of item `index`, its maps among it."""

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < self.size:
            raise IndexError(index)
        number, offset = divmod(index, SHARD_SIZE)
        if number not in self._open:
            start, stop = self._bounds(number)
            self._open[number] = Shard(self._path(number), stop - start)
        return self.item(decode(self._open[number][offset]), index)

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
            batches, done = [], start
            while done < stop:
                first, done = done, min(done + RENDER_BATCH, stop)
                with torch.inference_mode():
                    batches.append(encode(self.draw(first, done)))
                if done == stop:
                    whole = {name: torch.cat([b[name] for b in batches]) for name in batches[0]}
                    write_shard(self._path(number), whole)
                yield done - first

    def _bounds(self, number: int) -> tuple[int, int]:
        return number * SHARD_SIZE, min((number + 1) * SHARD_SIZE, self.size)

    def _path(self, number: int) -> Path:
        start, stop = self._bounds(number)
        return self.folder / f"{start:07d}-{stop:07d}.safetensors"


RenderedT = TypeVar("RenderedT", bound=RenderedDataset)


class RenderedDataModule(DataModule[RenderedT]):
    """Data modules whose splits are `RenderedDataset`.

    The cache lies under ``GAN3D_BENCH_HOME`` or the platform's cache folder; a run that was
    killed renders only the missing shards. Subclasses set `settings`, and implement `build` and
    `anew`.

    Args:
        image_size, seed, supersample: see `RenderedConfig`.
        train_size, val_size, test_size: number of images of each split.
        batch_size: images a batch.
        num_workers: worker processes of each loader.
        root: folder of caches; None is the suite's cache folder.

    Raises:
        UserError: a setting out of range; no space; a damaged shard (when it is read).
    """

    settings: ClassVar[type[RenderedConfig]]

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
        self.sizes: dict[Split, int] = {"train": train_size, "val": val_size, "test": test_size}
        self.config = self.settings(image_size, seed, supersample)
        self.root = root

    @classmethod
    def open(cls, path: str, image_size: int, *, counts: Mapping[Split, int], seed: int) -> Self:
        """See `DataModule.open`; needs no path."""
        sizes: dict[str, Any] = {f"{split}_size": count for split, count in counts.items()}
        return cls(image_size, seed=seed, **sizes)

    @abstractmethod
    def anew(self, split: Split, numbers: Sequence[int]) -> list[Item]:
        """Render items of any number, without the cache; bit for bit what the cache has.

        Raises:
            UserError: no such split.
        """

    def prepare(self, split: Split) -> None:
        """Render what the cache lacks, and show how far it is."""
        data = self.dataset(split)
        missing = data.missing()
        if not missing:
            return
        total = sum(min(SHARD_SIZE, data.size - n * SHARD_SIZE) for n in missing)
        done, what = 0, f"rendering {self.config.name} ({split})"
        with StepProgress(total, passing=True) as progress:
            progress.update(what, done)
            for more in data.render(missing):
                done += more
                progress.update(what, done)

    def read(self, split: Split, numbers: Sequence[int]) -> list[Item]:
        """Items of any number, from the cache or rendered afresh: bit for bit the same."""
        if split in SPLITS and max(numbers, default=0) < self.sizes[split]:
            data = self.dataset(split)
            if not data.missing():
                return [data[number] for number in numbers]
        return self.anew(split, numbers)
