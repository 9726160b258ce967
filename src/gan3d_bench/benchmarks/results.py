"""Measured rows as files, and the table they make together. Imports no torch."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gan3d_bench.benchmarks.result_files import read_rows
from gan3d_bench.errors import UserError
from gan3d_bench.files.atomic import atomic_write
from gan3d_bench.metrics.angles import without_mean


@dataclass(frozen=True)
class Estimate:
    """A mean over `count` instances and its standard error (NaN below two instances)."""

    mean: float
    standard_error: float
    count: int

    @classmethod
    def over(cls, values: Sequence[float]) -> Estimate:
        """Estimate from one value per instance (at least one); to twelve digits, since those after
        them depend on the version of Python, and stored tables must not."""
        n = len(values)
        error = statistics.stdev(values) / math.sqrt(n) if n > 1 else math.nan
        return cls(float(f"{statistics.fmean(values):.12g}"), float(f"{error:.12g}"), n)


@dataclass(frozen=True)
class Result:
    """One measured row of a table, as stored.

    Attributes:
        table, row: where it belongs.
        run: run folder, or "baseline".
        data: data set and split, in words.
        protocol: everything that must agree between two rows of one table.
        items: indices of the test items, ascending.
        values: metric -> one number per item; none that is finite where an item could not be
            compared. Keys that are no column, ``metric@x``, are points of curves.
        sets: metric -> estimate for the whole set of items (FID, KID).
        signed: metric -> signed error in degrees, one per item: what counts of them is what their
            mean over the items leaves (`metrics.angles.without_mean`).
        provenance: method, preset, seed, config hash, commit, versions, machine, time, networks.
    """

    table: str
    row: str
    run: str
    data: str
    protocol: Mapping[str, Any]
    items: Sequence[int]
    values: Mapping[str, Sequence[float]]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    sets: Mapping[str, Estimate] = field(default_factory=dict)
    signed: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def by_item(self, metric: str) -> bool:
        """Whether a metric has a number for each item."""
        return metric in self.values or metric in self.signed

    def estimate(self, metric: str, items: Sequence[int]) -> Estimate | None:
        """Return the mean over `items`, or the estimate for the set if it is of just these items.

        None where an item could not be compared, or the metric was not measured.
        """
        if metric in self.sets:
            return self.sets[metric] if list(items) == list(self.items) else None
        if not self.by_item(metric):
            return None
        values = self.at(metric, items)
        return None if any(math.isnan(value) for value in values) else Estimate.over(values)

    def at(self, metric: str, items: Iterable[int]) -> list[float]:
        """Return the values of `metric` for `items`; NaN where one could not be compared."""
        column = self.signed[metric] if metric in self.signed else self.values[metric]
        by_item = dict(zip(self.items, column, strict=True))
        found = [by_item[item] if math.isfinite(by_item[item]) else math.nan for item in items]
        return without_mean(found) if metric in self.signed else found

    def to_json(self) -> dict[str, Any]:
        """Return plain data; NaN and infinity become null, and means are added for the reader."""
        content = asdict(self)
        for name, columns in (("values", self.values), ("signed", self.signed)):
            content[name] = {
                key: [value if math.isfinite(value) else None for value in values]
                for key, values in columns.items()
            }
        content["sets"] = {key: _finite(asdict(value)) for key, value in self.sets.items()}
        content["summary"] = {}
        for key in (*self.values, *self.signed):
            known = [value for value in self.at(key, self.items) if math.isfinite(value)]
            if known:
                content["summary"][key] = _finite(asdict(Estimate.over(known)))
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Result:
        """Inverse of `to_json`. Raises KeyError, TypeError or ValueError on anything else."""
        values, signed = (
            {
                key: [math.nan if value is None else float(value) for value in column]
                for key, column in content.get(name, {}).items()
            }
            for name in ("values", "signed")
        )
        items = [int(item) for item in content["items"]]
        if any(len(column) != len(items) for column in (*values.values(), *signed.values())):
            raise ValueError("items and values differ in number")
        sets = {
            key: Estimate(
                float(value["mean"]),
                math.nan if value["standard_error"] is None else float(value["standard_error"]),
                int(value["count"]),
            )
            for key, value in content.get("sets", {}).items()
        }
        words = {key: str(content[key]) for key in ("table", "row", "run", "data")}
        return cls(
            **words,
            protocol=dict(content["protocol"]),
            items=items,
            values=values,
            provenance=dict(content["provenance"]),
            sets=sets,
            signed=signed,
        )


def save_result(result: Result, path: Path) -> None:
    """Write `result` to `path` as JSON, in one piece."""
    write_text(path, json.dumps(result.to_json(), indent=1, ensure_ascii=False) + "\n")


def load_results(path: Path) -> list[Result]:
    """Read the rows stored in a row's JSON file or in a table's.

    Raises:
        UserError: the file is missing, or holds no results, see `read_rows`.
    """
    try:
        return [Result.from_json(row) for row in read_rows(path)]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: not stored results of a table ({type(error).__name__}: {error})"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file in one piece.

    Raises:
        UserError: it cannot be written.
    """
    try:
        with atomic_write(path) as draft:
            draft.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: not written: {error.strerror}") from error


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {key: value if math.isfinite(value) else None for key, value in values.items()}
