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
from torch_fidelity.interpolate_compat_tensorflow import (
    interpolate_bilinear_2d_like_tensorflow1x,
)
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
        if network is None:
            with warnings.catch_warnings():  # the asset is TorchScript, deprecated but supported
                warnings.simplefilter("ignore", DeprecationWarning)
                network = torch.jit.load(asset_path("inception-fid"), map_location="cpu")
        self.network = network.eval()
        for parameter in network.parameters():  # ScriptModules have no requires_grad_
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
            return interpolate_bilinear_2d_like_tensorflow1x(x, size, align_corners=False)
        return F.interpolate(
            x, size, mode="bilinear", align_corners=False, antialias=self.resize == "antialias"
        )


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

    def update(self, images: Tensor, real: bool) -> None:
        self.update_features(self.inception(images), real)

    def update_features(self, features: Float[Tensor, "B D"], real: bool) -> None:
        """Add features computed elsewhere."""
        features = features.double()
        side = _side(real)
        self._add(side, len(features), features.sum(0), features.T @ features)

    def update_statistics(self, statistics: FeatureStatistics, real: bool) -> None:
        """Add the sums of a data set (stored ones); under several processes, on one rank only."""
        total = self.real_features_sum
        self._add(
            _side(real),
            statistics.n,
            statistics.total.to(total.device),
            statistics.outer.to(total.device),
        )

    def _add(self, side: str, n: int, total: Tensor, outer: Tensor) -> None:
        for name, value in (("num_samples", n), ("sum", total), ("cov_sum", outer)):
            state = f"{side}_features_{name}"
            setattr(self, state, getattr(self, state) + value)

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


class _Identity(nn.Identity):
    """Lets torchmetrics' KID take features that are computed already."""

    num_features = NUM_FEATURES


@dataclass(frozen=True)
class FIDResult:
    """FID and KID with everything a reader needs to judge them."""

    fid: float
    kid: float
    kid_std: float
    num_generated: int
    num_real: int
    variant: str


def fid_of(
    generated: Iterable[Tensor],
    real: Iterable[Tensor],
    n: int,
    *,
    features: InceptionFeatures | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FIDResult:
    """Return FID and KID between the first `n` images of two streams, in one process.

    Args:
        generated: batches (B, 3, H, W), float in [-1, 1] or uint8.
        real: the same; its batches decide no result.
        n: images of either side, at least 2.
        features: the network; None opens the asset. Images go to its device.
        progress: called with (images done, images in all).

    Raises:
        UserError: a stream ends before `n` images (both counts are given); the asset is missing.
    """
    if n < 2:
        raise UserError(f"FID needs at least 2 images, got n={n}")
    features = features or InceptionFeatures()
    device = next(features.parameters(), torch.zeros(())).device
    fid = InceptionFID(_Identity()).to(device)
    # KID draws its subsets at random: fixed here, so that a result repeats.
    kid = KernelInceptionDistance(feature=_Identity(), subset_size=min(1000, n)).to(device)
    for is_real, images in ((True, real), (False, generated)):
        done = 0
        for batch in images:
            part = features(batch[: n - done].to(device))
            fid.update_features(part, is_real)
            kid.update(part, is_real)
            done += len(part)
            if progress:
                progress(done + (0 if is_real else n), 2 * n)
            if done == n:
                break
        if done < n:
            raise UserError(f"FID of {n} images asked, but there are {done} {_side(is_real)} ones")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kid_mean, kid_std = kid.compute()
    return FIDResult(float(fid.compute()), float(kid_mean), float(kid_std), n, n, features.variant)


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
    metric = InceptionFID(_Identity())
    for batch in images():
        metric.update_features(features(batch).cpu(), real=True)
    statistics = metric.statistics(real=True)
    statistics.save(path)
    return statistics
