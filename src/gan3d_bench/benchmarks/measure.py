"""What a table's measuring class must be; named by ``TableSpec.measure``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from gan3d_bench.benchmarks.results import Estimate
from gan3d_bench.errors import UserError
from gan3d_bench.files.run_folder import Run
from gan3d_bench.methods.base import Method
from gan3d_bench.scenes.base import Scene

Values = dict[str, list[float]]
"""Metric -> one number per item. Keys that are no column, ``metric@x``, are points of curves."""


@dataclass(frozen=True)
class Settings:
    """What `evaluate` was asked for.

    Attributes:
        samples: number of test items.
        batch_size: items measured at once. Batches are the same whatever the number of
            processes, so that the numbers are too.
        device: where to compute.
        networks: metric -> network to measure it with instead of its standard one: the name of an
            asset or of a variant, or a local file.
    """

    samples: int
    batch_size: int
    device: torch.device
    networks: Mapping[str, str] = field(default_factory=dict)


class Measure(ABC):
    """Measures the rows of one table. Built once per evaluation, from its `Settings`.

    Attributes:
        requires: what a row's kind of scene must be able to do, checked on the method's spec before
            work starts.
        baselines: rows the table measures by itself.
        exchangeable: keys of `Settings.networks` that the table knows.
        signed: metrics whose numbers are signed errors in degrees (`Result.signed`).
        data: data set and split, in words.
    """

    requires: ClassVar[frozenset[str]] = frozenset()
    baselines: ClassVar[tuple[str, ...]] = ()
    exchangeable: ClassVar[tuple[str, ...]] = ()
    signed: ClassVar[tuple[str, ...]] = ()
    data: str = ""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    def protocol(self) -> Mapping[str, Any]:
        """Return everything that must agree between two rows of one table; plain values.

        ``networks``, if there, maps metrics to the networks they are measured with.
        """

    @abstractmethod
    def items(self) -> list[int]:
        """Return the indices of the test items, ascending.

        Raises:
            UserError: there are fewer than `Settings.samples`.
        """

    def open(self, run: Run) -> None:  # noqa: B027
        """Read what a table needs of a run's folder besides its checkpoint.

        Called for every run before `items`, and again before each run's rows are measured.

        Raises:
            UserError: it is not there.
        """

    def begin(self, method: Method, kind: str, items: Sequence[int]) -> None:  # noqa: B027
        """Prepare for a method's row, of all of whose items `method` will be called with batches.

        Called by every process, without gradients.
        """

    def scene(self, method: Method, kind: str, images: Tensor) -> Scene:
        """The method's scene of the images, checked to know the view they were taken from.

        Raises:
            UserError: it does not.
        """
        scene = method.row_scene(kind, images)
        if scene.input_view is None:
            raise UserError(
                f"method '{method.config.method}' reconstructs a scene without an input view, "
                "which this table starts from"
            )
        return scene

    @abstractmethod
    def method(self, method: Method, kind: str, items: Sequence[int]) -> Values:
        """Measure a method's scene of a kind (`Method.row_scene`) on one batch of items."""

    @abstractmethod
    def baseline(self, row: str, items: Sequence[int]) -> Values:
        """Measure one of `baselines` on one batch of items."""

    def picture(self) -> Image.Image | None:
        """Return a picture of the row just measured, and forget it; None where there is none.

        Every process is asked; rank zero, which measures the first items, saves it.
        """
        return None

    def sets(self) -> dict[str, Estimate]:
        """Return the metrics of the whole set of items of a row, such as FID, and forget the row.

        Called by every process once its batches are measured; states of torchmetrics reduce over
        processes by themselves.
        """
        return {}
