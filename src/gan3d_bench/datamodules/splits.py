"""What every data module with train, val and test splits does the same way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, Literal, TypeVar, get_args

import lightning as L
from torch.utils.data import DataLoader, Dataset

from gan3d_bench.errors import unknown_name

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
_STAGES: dict[str | None, tuple[Split, ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
}

DatasetT = TypeVar("DatasetT", bound=Dataset[dict[str, Any]])


class SplitDataModule(L.LightningDataModule, ABC, Generic[DatasetT]):
    """Data sets built once each, and their loaders; only training shuffles and drops a rest.

    Args:
        batch_size: images a batch.
        num_workers: worker processes of each loader.
    """

    def __init__(self, batch_size: int, num_workers: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.num_workers = num_workers
        self._datasets: dict[Split, DatasetT] = {}

    @abstractmethod
    def build(self, split: Split) -> DatasetT:
        """Build the data set of a split."""

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

    def setup(self, stage: str | None = None) -> None:
        """Build the data sets that a stage needs, so that what is wrong with them is found now."""
        for split in _STAGES.get(stage, SPLITS):
            self.dataset(split)

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        return self._loader("test")

    def _loader(self, split: Split, *, shuffle: bool = False) -> DataLoader[dict[str, Any]]:
        data = self.dataset(split)
        return DataLoader(
            data,
            batch_size=self.batch_size,
            shuffle=shuffle,
            drop_last=shuffle and len(data) >= self.batch_size,  # type: ignore[arg-type]
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )
