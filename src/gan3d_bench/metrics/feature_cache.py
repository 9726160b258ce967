"""Features of data sets and their sums, kept in the cache folder."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gan3d_bench.assets.store import cache_dir
from gan3d_bench.errors import UserError
from gan3d_bench.metrics.inception import InceptionFeatures

T = TypeVar("T")


@dataclass(frozen=True)
class FeatureStatistics:
    """Sums over `n` feature vectors: all that FID needs of a data set. float64, on the CPU."""

    n: int
    total: Float[Tensor, " D"]
    outer: Float[Tensor, "D D"]

    @classmethod
    def over(cls, parts: Iterable[Float[Tensor, "N D"]]) -> FeatureStatistics:
        """Sum over a stream of features, in constant memory; at least one part."""
        n, total, outer = 0, torch.zeros(()), torch.zeros(())
        for part in parts:
            part = part.double().cpu()
            n, total, outer = n + len(part), total + part.sum(0), outer + part.T @ part
        return cls(n, total, outer)

    @property
    def mean(self) -> Float[Tensor, " D"]:
        return self.total / self.n

    @property
    def covariance(self) -> Float[Tensor, "D D"]:
        """The unbiased covariance (divided by n - 1)."""
        return (self.outer - self.n * torch.outer(self.mean, self.mean)) / (self.n - 1)

    def save(self, path: Path) -> None:
        """Write a ``.npz`` atomically."""
        _save_npz(path, n=self.n, total=self.total.numpy(), outer=self.outer.numpy())

    @classmethod
    def load(cls, path: Path) -> FeatureStatistics:
        """Read what :meth:`save` wrote.

        Raises:
            UserError: the file is absent, truncated or something else.
        """
        with _reading(path, "feature statistics") as data:
            n = int(data["n"])
            total, outer = (torch.from_numpy(data[key]).double() for key in ("total", "outer"))
            if total.ndim != 1 or outer.shape != (len(total), len(total)):
                raise ValueError("shapes do not fit")
        return cls(n, total, outer)


def cached_statistics(
    fingerprint: str,
    images: Callable[[], Iterable[Tensor]],
    features: InceptionFeatures,
    folder: Path | None = None,
) -> FeatureStatistics:
    """Return the statistics of a data set, computed once and kept as ``.npz`` (34 MB).

    Args:
        fingerprint: identifies the images wholly: data set, version, split, size, count.
        images: called only if nothing is stored; yields batches as :func:`fid_of` takes them.
        features: the network; its variant is part of the key.
        folder: where to keep them; None is the suite's cache.

    A stored file that cannot be read is replaced. Under several processes call it on rank zero
    first.
    """

    return _cached(
        _cache_path("statistics", fingerprint, features, folder),
        FeatureStatistics.load,
        lambda: FeatureStatistics.over(_each(images(), features)),
        FeatureStatistics.save,
    )


def cached_features(
    fingerprint: str,
    images: Callable[[], Iterable[Tensor]],
    features: InceptionFeatures,
    folder: Path | None = None,
) -> Float[Tensor, "N D"]:
    """Return the features of a data set, which KID needs; computed once and kept (8 kB an image).

    Arguments and behaviour are those of :func:`cached_statistics`; on the CPU, float32.
    """
    return _cached(
        _cache_path("features", fingerprint, features, folder),
        lambda path: load_features(path, features.num_features),
        lambda: torch.cat([part.cpu() for part in _each(images(), features)]),
        lambda rows, path: _save_npz(path, features=rows.numpy()),
    )


def load_features(path: Path, num_features: int) -> Float[Tensor, "N D"]:
    """Read what :func:`cached_features` stored.

    Raises:
        UserError: the file is absent, truncated or something else.
    """
    with _reading(path, "features") as data:
        rows = torch.from_numpy(data["features"]).float()
        if rows.ndim != 2 or rows.shape[1] != num_features:
            raise ValueError(f"shape {tuple(rows.shape)}, expected (N, {num_features})")
    return rows


@contextmanager
def _reading(path: Path, content: str) -> Iterator[Any]:
    """Open a ``.npz``; whatever is wrong with it becomes a UserError."""
    try:
        with np.load(path, allow_pickle=False) as data:
            yield data
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{path} holds no {content}: {error}") from error


def _save_npz(path: Path, **arrays: Any) -> None:
    """Write a ``.npz`` atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        try:
            np.savez(file, **arrays)
            file.close()
            os.replace(file.name, path)
        finally:
            Path(file.name).unlink(missing_ok=True)


def _each(images: Iterable[Tensor], features: InceptionFeatures) -> Iterator[Tensor]:
    device = next(features.parameters(), torch.zeros(())).device
    return (features(batch.to(device)) for batch in images)


def _cache_path(
    kind: str, fingerprint: str, features: InceptionFeatures, folder: Path | None
) -> Path:
    key = hashlib.sha256(f"{features.variant}\n{fingerprint}".encode()).hexdigest()[:24]
    return (folder or cache_dir() / "statistics") / f"{key}.{kind}.npz"


def _cached(
    path: Path,
    load: Callable[[Path], T],
    compute: Callable[[], T],
    save: Callable[[T, Path], None],
) -> T:
    if path.is_file():
        try:
            return load(path)
        except UserError:
            path.unlink()
    value = compute()
    save(value, path)
    return value
