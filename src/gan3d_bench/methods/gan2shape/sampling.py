"""Distributions of the pseudo samples' views and lights (paper, A.2.3; released
gan2shape/model.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from gan3d_bench.errors import UserError, nearest
from gan3d_bench.files.weights import read_torch
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.gan2shape.factors import view_from_raw
from gan3d_bench.rendering.shading import LambertLight

YAW = 1


class Gaussian(NamedTuple):
    """Mean (n,) and covariance (n, n) in raw network-output units."""

    mean: Tensor
    cov: Tensor


def _diagonal(mean: Sequence[float], std: Sequence[float]) -> Gaussian:
    return Gaussian(torch.tensor(mean), torch.diag(torch.tensor(std) ** 2))


# Raw units: angles (pitch, yaw, roll) / 60 degrees, shifts / 0.1. "heads" are the moments of the
# synthetic heads' own distributions, as the paper takes those of its data sets. "ffhq": yaw as
# `gan3d-bench directions` measures it on samples of MobileStyleGAN-FFHQ, the rest by eye.
BUILTIN_VIEWS = {
    "heads": _diagonal((0.0,) * 6, (8 / 60, 19 / 60, 3 / 60, 0.025, 0.025, 0.0)),
    "ffhq": _diagonal((0.0,) * 6, (5 / 60, 15 / 60, 2 / 60, 0.02, 0.02, 0.0)),
}
BUILTIN_LIGHTS = {
    "heads": _diagonal((-0.2, 0.2, 0.0, 0.35), (0.23, 0.23, 0.7, 0.45)),
    "frontal": _diagonal((0.0,) * 4, (0.0,) * 4),
}


def load_statistics(name: str, size: int) -> Gaussian:
    """Return built-in view (`size` 6) or light (4) statistics, or those of a released file.

    Args:
        name: built-in name, or path of a file with a dict ``{mean: (n,), cov: (n, n)}``.
        size: 6 or 4.

    Raises:
        UserError: no such name or file, or the file's content does not fit.
    """
    builtin = BUILTIN_VIEWS if size == 6 else BUILTIN_LIGHTS
    key = "view.statistics" if size == 6 else "light.statistics"
    if name in builtin:
        return builtin[name]
    if not Path(name).is_file():
        raise UserError(
            f"{key}={name!r}: no such file, and not one of {', '.join(builtin)}"
            f"{nearest(name, builtin)}"
        )
    expected = f"a dict with mean ({size},) and cov ({size}, {size})"
    try:
        state = read_torch(Path(name), expected)
        mean = torch.as_tensor(state["mean"]).float().reshape(size)
        cov = torch.as_tensor(state["cov"]).float().reshape(size, size)
    except UserError as error:
        raise UserError(f"{key}={name!r}: {error}") from error
    except Exception as error:  # whatever else lies in the file
        raise UserError(f"{key}={name!r}: expected {expected}") from error
    if not (mean.isfinite().all() and cov.isfinite().all() and (cov.diagonal() >= 0).all()):
        raise UserError(
            f"{key}={name!r}: expected {expected} of finite numbers, no variance below 0"
        )
    return Gaussian(mean, cov)


@dataclass(frozen=True)
class ViewDistribution:
    """Gaussian over raw views; `yaw_scale` widens yaw, its mean included, as the code does."""

    statistics: Gaussian
    yaw_scale: float = 1.0

    def sample_raw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw raw views (n, 6), yaw already scaled."""
        values, vectors = torch.linalg.eigh(self.statistics.cov.double())
        root = vectors * values.clamp(min=0).sqrt()
        noise = torch.randn(n, 6, generator=generator).double()
        raw = (self.statistics.mean.double() + noise @ root.T).float()
        raw[:, YAW] *= self.yaw_scale
        return raw

    def sample(self, n: int, generator: torch.Generator) -> View:
        """Draw `n` views."""
        return view_from_raw(self.sample_raw(n, generator))


@dataclass(frozen=True)
class LightDistribution:
    """Uniform slopes x, y and diffuse offset k; the ambient offset is ``ambient_factor * k``.

    Attributes:
        x, y: ranges of the slopes (raw, as the light network's).
        diffuse: range of k, added to the instance's own diffuse weight.
        ambient_factor: negative, so that more directional light means less ambient light.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    diffuse: tuple[float, float]
    ambient_factor: float

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw (n, 3): slope x, slope y, k."""
        low, high = torch.tensor([self.x, self.y, self.diffuse]).unbind(1)
        return low + (high - low) * torch.rand(n, 3, generator=generator)

    def apply(self, sample: Tensor, own: LambertLight) -> LambertLight:
        """Lights of samples (B, 3) on top of the instances' own B lights."""
        x, y, k = sample.unbind(1)
        return LambertLight.from_slopes(
            own.ambient + self.ambient_factor * k, own.diffuse + k, x, y
        )
