"""FID and KID with the 2015-12-05 Inception network.

The network is the asset ``inception-fid`` (facts/assets.md section 2): the TensorFlow weights that
"FID" means in the literature, 2048-d pool features. Images are quantised to 8 bits and resized to
299 pixels as float; *how* they are resized moves FID by some tenths, so every result carries its
:attr:`InceptionFeatures.variant`. The default is the original's, TensorFlow 1 bilinear.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from gan3d_bench.assets.store import asset_path, cache_dir
from gan3d_bench.errors import UserError, unknown_name

Resize = Literal["tf1", "half-pixel", "antialias"]
INPUT_SIZE = 299
NUM_FEATURES = 2048


class InceptionFeatures(nn.Module):
    """Images -> 2048-d Inception features, frozen, in float32.

    Args:
        resize: ``tf1`` (source coordinate i*in/out, the original), ``half-pixel`` (pytorch-fid) or
            ``antialias`` (torchmetrics' default).
        network: a module from (B, 3, 299, 299) in [-1, 1) to (B, 2048); None opens the asset.

    Raises:
        UserError: unknown `resize`, or the asset is missing or damaged.
    """

    num_features = NUM_FEATURES

    def __init__(self, resize: Resize = "tf1", network: nn.Module | None = None) -> None:
        super().__init__()
        if resize not in get_args(Resize):
            raise unknown_name("FID resize variant", resize, get_args(Resize))
        self.resize = resize
        self.network = (network or _open_asset()).eval()
        for parameter in self.network.parameters():  # ScriptModules have no requires_grad_
            parameter.requires_grad = False

    @property
    def variant(self) -> str:
        """What a result made with these features has to state."""
        return f"Inception 2015-12-05, 2048-d, 8-bit, {self.resize} bilinear to {INPUT_SIZE}"

    def train(self, mode: bool = True) -> InceptionFeatures:
        return super().train(False)  # the network is a measuring device

    @torch.no_grad()
    def forward(self, images: Tensor) -> Float[Tensor, "B 2048"]:
        """Return the features of images (B, 3, H, W), float in [-1, 1] or uint8.

        Raises:
            ValueError: another shape or type, or values that are not finite.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images: expected (B, 3, H, W), got {tuple(images.shape)}")
        with (
            torch.autocast(images.device.type, enabled=False),
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
        ):
            x = self._resize(to_uint8(images).float())
            # Another size gives wrong features without an error.
            assert x.shape[-2:] == (INPUT_SIZE, INPUT_SIZE)
            features = self.network((x - 128) / 128)
        return features.float()

    def _resize(self, x: Tensor) -> Tensor:
        size = (INPUT_SIZE, INPUT_SIZE)
        if x.shape[-2:] == size:
            return x
        if self.resize == "tf1":
            return _tf1_resize(_tf1_resize(x, -1), -2)
        return F.interpolate(
            x, size, mode="bilinear", align_corners=False, antialias=self.resize == "antialias"
        )


def _open_asset() -> nn.Module:
    path = asset_path("inception-fid")
    with warnings.catch_warnings():  # TorchScript is deprecated, but supported by our torch range
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(path, map_location="cpu")


def _tf1_resize(x: Tensor, dim: int) -> Tensor:
    """Resize one axis as TensorFlow 1 did: source coordinate i*in/out, clamped at the edge."""
    size = x.shape[dim]
    source = torch.arange(INPUT_SIZE, device=x.device) * (size / INPUT_SIZE)
    low = source.long()
    part = (source - low).view(-1, *[1] * (-dim - 1))
    high = (low + 1).clamp_max(size - 1)
    return torch.lerp(x.index_select(dim, low), x.index_select(dim, high), part)


def to_uint8(images: Tensor) -> Tensor:
    """Quantise images in [-1, 1] (float) to [0, 255] (uint8), to nearest; uint8 passes through."""
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise ValueError(f"images: expected float in [-1, 1] or uint8, got {images.dtype}")
    if not images.isfinite().all():
        raise ValueError("images: values are not finite")
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class FeatureStatistics:
    """Sums over `n` feature vectors: all that FID needs of a data set. float64, on the CPU."""

    n: int
    total: Float[Tensor, " D"]
    outer: Float[Tensor, "D D"]

    @property
    def mean(self) -> Float[Tensor, " D"]:
        return self.total / self.n

    @property
    def covariance(self) -> Float[Tensor, "D D"]:
        """The unbiased covariance (divided by n - 1)."""
        return (self.outer - self.n * torch.outer(self.mean, self.mean)) / (self.n - 1)

    def save(self, path: Path) -> None:
        """Write a ``.npz`` atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            try:
                np.savez(file, n=self.n, total=self.total.numpy(), outer=self.outer.numpy())
                file.close()
                os.replace(file.name, path)
            finally:
                Path(file.name).unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> FeatureStatistics:
        """Read what :meth:`save` wrote.

        Raises:
            UserError: the file is absent, truncated or something else.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                n = int(data["n"])
                total, outer = (torch.from_numpy(data[key]).double() for key in ("total", "outer"))
        except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile, EOFError) as error:
            raise UserError(f"{path} holds no feature statistics: {error}") from error
        if total.ndim != 1 or outer.shape != (len(total), len(total)):
            raise UserError(f"{path} holds no feature statistics: shapes do not fit")
        return cls(n, total, outer)


def frechet_distance(
    mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor
) -> Tensor:
    """Return ``|ma - mb|^2 + tr(Ca + Cb - 2 (Ca Cb)^(1/2))`` (Heusel et al. 2017, eq. 6).

    With Ca = Q Q^T the trace of the root is the sum of the roots of the eigenvalues of Q^T Cb Q,
    which is symmetric: faster than a general eigenvalue problem and real by construction.
    Means (D,), covariances (D, D), positive semidefinite; float64 is advised.
    """
    values, vectors = torch.linalg.eigh(covariance_a)
    root = vectors * values.clamp_min(0).sqrt()
    eigenvalues = torch.linalg.eigvalsh(root.T @ covariance_b @ root)
    trace_of_root = eigenvalues.clamp_min(0).sqrt().sum()
    trace = covariance_a.trace() + covariance_b.trace()
    return (mean_a - mean_b).square().sum() + trace - 2 * trace_of_root


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
        real, fake = self.statistics(real=True), self.statistics(real=False)
        if min(real.n, fake.n) < 2:
            raise RuntimeError(f"FID needs two images a side; got {real.n} real, {fake.n} fake")
        distance = frechet_distance(real.mean, real.covariance, fake.mean, fake.covariance)
        return distance.float().to(self.real_features_sum.device)


def _side(real: bool) -> str:
    return "real" if real else "fake"


class _Identity(nn.Module):
    """Lets a torchmetrics metric take features that are computed already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


@dataclass(frozen=True)
class FIDResult:
    """FID and KID with everything a reader needs to judge them."""

    fid: float
    kid: float
    kid_std: float
    num_generated: int
    num_real: int
    variant: str


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
    device = next(features.parameters(), torch.zeros(())).device
    parts: list[Tensor] = []
    done = 0
    for batch in images:
        parts.append(features(batch[: n - done].to(device)).cpu())
        done += len(parts[-1])
        if progress:
            progress(done, n)
        if done == n:
            return torch.cat(parts)
    raise UserError(f"FID of {n} images asked, but there are only {done}")


def compare_features(
    generated: Float[Tensor, "N D"], real: Float[Tensor, "M D"], variant: str
) -> FIDResult:
    """Return FID and KID of two sets of features. `variant`: of the network that made them.

    Raises:
        UserError: fewer than two of either.
    """
    if min(len(generated), len(real)) < 2:
        raise UserError(f"FID needs 2 images a side; got {len(generated)} and {len(real)}")
    network = _Identity(real.shape[1])
    fid = InceptionFID(network)
    with warnings.catch_warnings():  # that KID keeps all features: 8 kB an image
        warnings.simplefilter("ignore", UserWarning)
        kid = KernelInceptionDistance(network, subset_size=min(1000, len(generated), len(real)))
    for metric in (fid, kid):
        metric.update(real, real=True)
        metric.update(generated, real=False)
    with torch.random.fork_rng(devices=[]):  # KID draws subsets: the same ones every time
        torch.manual_seed(0)
        kid_mean, kid_std = kid.compute()
    return FIDResult(
        float(fid.compute()), float(kid_mean), float(kid_std), len(generated), len(real), variant
    )


def fid_of(
    generated: Iterable[Tensor],
    real: Iterable[Tensor],
    n: int,
    features: InceptionFeatures | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FIDResult:
    """Return FID and KID between the first `n` images of two streams, in one process.

    For streams, `features` and `progress` see :func:`collect_features`; without `features` the
    asset is opened.

    Raises:
        UserError: a stream ends before `n` images; n below 2; the asset is missing.
    """
    features = features or InceptionFeatures()
    fakes = collect_features(generated, n, features, progress)
    return compare_features(fakes, collect_features(real, n, features, progress), features.variant)


def cached_statistics(
    fingerprint: str,
    images: Callable[[], Iterable[Tensor]],
    features: InceptionFeatures,
    folder: Path | None = None,
) -> FeatureStatistics:
    """Return the statistics of a data set, computed once and kept as ``.npz``.

    Args:
        fingerprint: identifies the images wholly: data set, version, split, size, count.
        images: called only if nothing is stored; yields batches as :func:`fid_of` takes them.
        features: the network; its variant is part of the key.
        folder: where to keep them; None is the suite's cache.

    A stored file that cannot be read is replaced.
    """
    key = hashlib.sha256(f"{features.variant}\n{fingerprint}".encode()).hexdigest()[:24]
    path = (folder or cache_dir() / "statistics") / f"{key}.npz"
    if path.is_file():
        try:
            return FeatureStatistics.load(path)
        except UserError:
            path.unlink()
    metric = InceptionFID(_Identity(features.num_features))
    for batch in images():
        metric.update(features(batch).cpu(), real=True)
    statistics = metric.statistics(real=True)
    statistics.save(path)
    return statistics
