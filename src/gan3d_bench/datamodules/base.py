"""What a data module is: where a method's images come from, whatever they are.

A method asks for data by a registered name (`open_data`) and knows no data module by its class, so
that a plug-in's works like the suite's own. A data module

- is opened by `DataModule.open`, the same call for all;
- gives map-style data sets for the splits ``train``, ``val`` and ``test``, whose items are
  dictionaries of tensors under the names of `datamodules.specs.KEYS`; its spec says which of these
  every item has (`DataModuleSpec.gives`);
- makes or checks what a split needs in `prepare`, and reads a few items without in `read`.

Item i of a split is the same in every process and at every call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar, get_args

import lightning as L
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gan3d_bench.config import MOST_BATCH, MOST_ITEMS, require
from gan3d_bench.datamodules.specs import ON_BAD, OnBad
from gan3d_bench.errors import UserError, unknown_name
from gan3d_bench.registry import registry
from gan3d_bench.spec import DataModuleSpec, load

MOST_WORKERS = 1024

Item = dict[str, Any]
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
_STAGES: dict[str | None, tuple[Split, ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
}

DatasetT = TypeVar("DatasetT", bound=Dataset[Item])


class DataModule(L.LightningDataModule, ABC, Generic[DatasetT]):
    """Data sets built once each, and their loaders; only training shuffles and drops a rest.

    Subclasses implement `open` and `build`, and `prepare` where something is made or checked.

    Attributes:
        on_bad: what modules of somebody's pictures do with those that cannot be used.
        on_bad_key: the key that says so, for errors.

    Args:
        batch_size: images a batch.
        num_workers: worker processes of each loader.

    Raises:
        UserError: one of these out of range.
    """

    def __init__(self, batch_size: int, num_workers: int) -> None:
        super().__init__()
        require("batch_size", batch_size, least=1, most=MOST_BATCH)
        require("num_workers", num_workers, least=0, most=MOST_WORKERS)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.on_bad: OnBad = "refuse"
        self.on_bad_key = "on_bad"
        self._datasets: dict[Split, DatasetT] = {}

    @classmethod
    @abstractmethod
    def open(
        cls, path: str, image_size: int, *, counts: Mapping[Split, int], seed: int
    ) -> DataModule[Any]:
        """Make the data module. Nothing is rendered or looked through yet.

        Args:
            path: where the data lies; "" for sources whose spec asks for no path.
            image_size: S, pixels a side.
            counts: items wanted of some splits. Sources that make their items make as many; the
                others give the first ones, at most so many. A split that is left out has as many
                as the source itself says.
            seed: of what is drawn.

        Raises:
            UserError: nothing usable at `path`, or a number out of range.
        """

    @abstractmethod
    def build(self, split: Split) -> DatasetT:
        """Build the data set of a split."""

    def described(self, latents: Tensor) -> Tensor:
        """What pictures of the train split show, in numbers that determine them smoothly: (B, D).

        Args:
            latents: (B, Z), distributed as those of the items.
        """
        return latents

    def dataset(self, split: Split) -> DatasetT:
        """The data set of a split.

        Raises:
            UserError: no such split, or its data is missing or damaged.
        """
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        if split not in self._datasets:
            self._datasets[split] = self.build(split)
        return self._datasets[split]

    def prepare(self, split: Split) -> None:
        """Make or check what a split needs, in one process of a machine; by default nothing.

        Raises:
            UserError: its data is missing or damaged.
        """

    def prepare_data(self) -> None:
        """Prepare every split."""
        for split in SPLITS:
            self.prepare(split)

    def read(self, split: Split, numbers: Sequence[int]) -> list[Item]:
        """Items of a split by number, as `dataset` has them: for previews and for methods that are
        fitted to their images. Sources for which preparing takes long read these alone.

        Items may have a further key ``original``: (3, H, H) float in [-1, 1], the image before it
        was resized to S, each of its own size.

        Raises:
            UserError: no such split or item, or its data is missing or damaged.
        """
        self.prepare(split)
        data = self.dataset(split)
        require_items(numbers, len(data), split)  # type: ignore[arg-type]
        return [data[number] for number in numbers]

    def setup(self, stage: str | None = None) -> None:
        """Build the data sets that a stage needs, so that what is wrong with them is found now."""
        for split in _STAGES.get(stage, SPLITS):
            self.dataset(split)

    def train_dataloader(self) -> DataLoader[Item]:
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[Item]:
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Item]:
        return self._loader("test")

    def _loader(self, split: Split, *, shuffle: bool = False) -> DataLoader[Item]:
        data = self.dataset(split)
        return DataLoader(
            data,
            batch_size=self.batch_size,
            shuffle=shuffle,
            drop_last=shuffle and len(data) >= self.batch_size,  # type: ignore[arg-type]
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )


def require_counts(least: int = 0, **counts: int | None) -> None:
    """Raise a `UserError` unless each number of items, by name, is in range; None is allowed."""
    for name, count in counts.items():
        require(name, count, least=least, most=MOST_ITEMS, also=(None,))


def require_items(numbers: Sequence[int], count: int, where: str, what: str = "items") -> None:
    """Raise a `UserError` unless all `numbers` are below `count`, the size of `where`."""
    if any(number >= count for number in numbers):
        raise UserError(f"{where} has only {count} {what}")


def open_data(
    name: str,
    path: str,
    image_size: int,
    *,
    counts: Mapping[Split, int] | None = None,
    seed: int = 0,
    on_bad: str = "refuse",
    on_bad_key: str = "on_bad",
) -> DataModule[Any]:
    """Open a registered data module by its name; see `DataModule` and `DataModule.open`.

    Raises:
        UserError: no such data module, or one that cannot be imported; as `DataModule.open`.
    """
    spec: DataModuleSpec = registry("datamodules").get(name)
    try:
        module = load(spec.module)
    except (ImportError, AttributeError) as error:
        raise UserError(f"datamodule '{name}': {spec.module} cannot be loaded ({error})") from error
    if not (isinstance(module, type) and issubclass(module, DataModule)):
        raise UserError(
            f"datamodule '{name}': {spec.module} is no gan3d_bench.datamodules.base.DataModule"
        )
    if on_bad not in ON_BAD:
        raise unknown_name(on_bad_key, on_bad, ON_BAD)
    opened = module.open(path, image_size, counts=counts or {}, seed=seed)
    opened.on_bad, opened.on_bad_key = on_bad, on_bad_key
    return opened
