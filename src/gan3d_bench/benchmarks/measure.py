"""What a table's measuring class must be; named by ``TableSpec.measure``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from gan3d_bench.methods.base import Method

Values = dict[str, list[float]]
"""Metric -> one number per item."""


@dataclass(frozen=True)
class Settings:
    """What `evaluate` was asked for.

    Attributes:
        samples: number of test items.
        batch_size: items measured at once. Batches are the same whatever the number of
            processes, so that the numbers are too.
        device: where to compute.
    """

    samples: int
    batch_size: int
    device: torch.device


class Measure(ABC):
    """Measures the rows of one table. Built once per evaluation, from its `Settings`.

    Attributes:
        requires: capabilities a method must have, checked on its spec before work starts.
        baselines: rows the table measures by itself.
        data: data set and split, in words.
    """

    requires: ClassVar[frozenset[str]] = frozenset()
    baselines: ClassVar[tuple[str, ...]] = ()
    data: str = ""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    def protocol(self) -> Mapping[str, Any]:
        """Return everything that must agree between two rows of one table; plain values."""

    @abstractmethod
    def items(self) -> list[int]:
        """Return the indices of the test items, ascending.

        Raises:
            UserError: there are fewer than `Settings.samples`.
        """

    @abstractmethod
    def method(self, method: Method, items: Sequence[int]) -> Values:
        """Measure a method on one batch of items."""

    @abstractmethod
    def baseline(self, row: str, items: Sequence[int]) -> Values:
        """Measure one of `baselines` on one batch of items."""
