"""FID, streaming, and FID and KID of two sets of images together.

The features are :class:`~gan3d_bench.metrics.inception.InceptionFeatures`; state its
:attr:`variant` and both numbers of images with every result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from gan3d_bench.errors import UserError
from gan3d_bench.metrics.feature_cache import FeatureStatistics
from gan3d_bench.metrics.inception import InceptionFeatures, StoredFeatures
from gan3d_bench.metrics.kid import InceptionKID


def frechet_distance(
    mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor
) -> Tensor:
    """Return ``|ma - mb|^2 + tr(Ca + Cb - 2 (Ca Cb)^(1/2))`` (Heusel et al. 2017, eq. 6).

    With Ca = Q Q^T the trace of the root is the sum of the roots of the eigenvalues of Q^T Cb Q,
    which is symmetric: faster than a general eigenvalue problem and real by construction.
    Means (D,), covariances (D, D), positive semidefinite; float64 is advised. Never negative: what
    rounding leaves below zero, of a set and itself, is zero.
    """
    values, vectors = torch.linalg.eigh(covariance_a)
    root = vectors * values.clamp_min(0).sqrt()
    eigenvalues = torch.linalg.eigvalsh(root.T @ covariance_b @ root)
    trace_of_root = eigenvalues.clamp_min(0).sqrt().sum()
    trace = covariance_a.trace() + covariance_b.trace()
    distance = (mean_a - mean_b).square().sum() + trace - 2 * trace_of_root
    return distance.clamp_min(0)


def fid_of_statistics(generated: FeatureStatistics, real: FeatureStatistics) -> Tensor:
    """Return the FID of two data sets, a float64 scalar.

    Raises:
        RuntimeError: fewer than two images on one side.
    """
    if min(real.n, generated.n) < 2:
        raise RuntimeError(f"FID needs two images a side; got {real.n} real, {generated.n} fake")
    return frechet_distance(real.mean, real.covariance, generated.mean, generated.covariance)


class InceptionFID(FrechetInceptionDistance):
    """FID between real and generated images, streaming; sums in float64 add over ranks.

    Call ``update(images, real=True)`` and ``update(images, real=False)`` with images (B, 3, H, W)
    float in [-1, 1] or uint8, then ``compute()``. Small samples are biased upwards: state both
    numbers of images with every result, and use KID below some thousands.

    Args:
        features: feature network with ``num_features``; None builds :class:`InceptionFeatures`.
        kwargs: of ``torchmetrics.Metric``.

    Raises:
        UserError: the asset ``inception-fid`` is missing or damaged.
    """

    def __init__(self, features: nn.Module | None = None, **kwargs: Any) -> None:
        super().__init__(feature=features or InceptionFeatures(), **kwargs)

    def add_statistics(self, statistics: FeatureStatistics, real: bool) -> None:
        """Add the stored sums of a data set; under several processes, on one rank only."""
        added = (("num_samples", statistics.n), ("sum", statistics.total))
        for name, value in (*added, ("cov_sum", statistics.outer)):
            state = f"{_side(real)}_features_{name}"
            old = getattr(self, state)
            setattr(self, state, old + torch.as_tensor(value, device=old.device))
        self._update_count += 1  # so that torchmetrics discards a result computed before
        self._computed = None

    def statistics(self, real: bool) -> FeatureStatistics:
        """Return this process's sums of one side."""
        n, total, outer = (
            getattr(self, f"{_side(real)}_features_{name}").cpu()
            for name in ("num_samples", "sum", "cov_sum")
        )
        return FeatureStatistics(int(n), total.double(), outer.double())

    def compute(self) -> Tensor:
        """Return the FID, a float32 scalar.

        Raises:
            RuntimeError: fewer than two images on one side.
        """
        distance = fid_of_statistics(self.statistics(real=False), self.statistics(real=True))
        return distance.float().to(self.real_features_sum.device)


def _side(real: bool) -> str:
    return "real" if real else "fake"


@dataclass(frozen=True)
class FIDResult:
    """FID and KID with everything a reader needs to judge them.

    `kid_std` is the deviation of KID over its subsets, `kid_error` the standard error of the
    sample's KID (see `InceptionKID`). KID is NaN where a side's features were not kept.
    """

    fid: float
    kid: float
    kid_std: float
    kid_error: float
    num_generated: int
    num_real: int
    variant: str

    def sets(self) -> dict[str, dict[str, float]]:
        """FID and KID as stored results have metrics of whole sets; FID's error is unknown."""
        n = self.num_generated
        return {
            "fid": {"mean": self.fid, "standard_error": math.nan, "count": n},
            "kid": {"mean": self.kid, "standard_error": self.kid_error, "count": n},
        }


class ImageSetDistance(nn.Module):
    """FID and KID of two streams of images; each image goes through the network once.

    FID's sums take constant memory; KID keeps the features while a side has no more than
    `kid_limit` images. Any number of processes gives the numbers of one.

    Args:
        features: the network; None opens the asset.
        kid_limit: see `InceptionKID`.

    Raises:
        UserError: the asset ``inception-fid`` is missing or damaged.
    """

    def __init__(self, features: InceptionFeatures | None = None, kid_limit: int = 10_000) -> None:
        super().__init__()
        self.features = features or InceptionFeatures()
        stored = StoredFeatures(self.features.num_features)
        self.fid = InceptionFID(stored)
        self.kid = InceptionKID(stored, limit=kid_limit)

    def update(self, images: Tensor, real: bool) -> None:
        """Add images (B, 3, H, W), float in [-1, 1] or uint8, to one side."""
        self.add_features(self.features(images), real)

    def add_features(self, features: Float[Tensor, "N D"], real: bool) -> None:
        """Add stored features to one side; under several processes, on one rank only."""
        for metric in (self.fid, self.kid):
            metric.update(features, real=real)

    def add_statistics(self, statistics: FeatureStatistics, real: bool) -> None:
        """Add stored sums to one side, which leaves KID unknown; on one rank only."""
        self.fid.add_statistics(statistics, real)

    def compute(self) -> FIDResult:
        """Return FID and KID over all processes; every one of them has to call it.

        Raises:
            RuntimeError: fewer than two images on one side.
        """
        with self.fid.sync_context():
            fake, real = self.fid.statistics(real=False), self.fid.statistics(real=True)
        kid = self.kid.compute()
        return FIDResult(
            float(fid_of_statistics(fake, real)),
            float(kid["mean"]),
            float(kid["subset_deviation"]),
            float(kid["standard_error"]),
            fake.n,
            real.n,
            self.features.variant,
        )


def collect_features(
    images: Iterable[Tensor],
    n: int,
    features: InceptionFeatures,
    progress: Callable[[int, int], None] | None = None,
) -> Float[Tensor, "N D"]:
    """Return the features of the first `n` images of a stream, on the CPU.

    Args:
        images: batches (B, 3, H, W), float in [-1, 1] or uint8; taken to the network's device.
        n: how many images.
        features: the network.
        progress: called with (images done, n).

    Raises:
        UserError: the stream ends before; both numbers are given.
    """
    return torch.cat([part.cpu() for part in _features(images, n, features, progress)])


def _features(
    images: Iterable[Tensor],
    n: int,
    features: InceptionFeatures,
    progress: Callable[[int, int], None] | None,
) -> Iterator[Tensor]:
    """Yield the features of batches until there are `n`; see :func:`collect_features`."""
    device = next(features.parameters(), torch.zeros(())).device
    done = 0
    for batch in images:
        part = features(batch[: n - done].to(device))
        done += len(part)
        yield part
        if progress:
            progress(done, n)
        if done == n:
            return
    raise UserError(f"FID of {n} images asked, but there are only {done}")


def compare_features(
    generated: Float[Tensor, "N D"], real: Float[Tensor, "M D"], features: InceptionFeatures
) -> FIDResult:
    """Return FID and KID of two sets of features that the network `features` made.

    Raises:
        UserError: fewer than two of either.
    """
    if min(len(generated), len(real)) < 2:
        raise UserError(f"FID needs 2 images a side; got {len(generated)} and {len(real)}")
    distance = ImageSetDistance(features, kid_limit=max(len(generated), len(real)))
    distance.add_features(real, real=True)
    distance.add_features(generated, real=False)
    return distance.compute()


def fid_of(
    generated: Iterable[Tensor],
    real: Iterable[Tensor],
    n: int,
    features: InceptionFeatures | None = None,
    progress: Callable[[int, int], None] | None = None,
    kid_limit: int = 10_000,
) -> FIDResult:
    """Return FID and KID between the first `n` images of two streams, in one process.

    For streams, `features` and `progress` see :func:`collect_features`; without `features` the
    asset is opened. For `kid_limit` see :class:`ImageSetDistance`.

    Raises:
        UserError: a stream ends before `n` images; n below 2; the asset is missing.
    """
    if n < 2:
        raise UserError(f"FID needs 2 images a side; got {n}")
    distance = ImageSetDistance(features, kid_limit)
    for images, side in ((generated, False), (real, True)):
        for part in _features(images, n, distance.features, progress):
            distance.add_features(part, real=side)
    return distance.compute()
