"""Terms of LiftedGAN's objective that need no network of their own (Shi et al. 2021, 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.losses.cosine_perceptual import CosinePerceptualLoss, Description
from gan3d_bench.methods.liftedgan.image_formation import (
    FOREGROUND_MARGIN,
    ROTATION_RANGE,
    TRANSLATION_RANGE,
    CanonicalFactors,
    Geometry,
    blur,
)

CYCLE_ANGLES = 3  # the cycle term looks at rotations only


@dataclass(frozen=True)
class StyleStatistics:
    """Where stylecodes lie: mean (w_dim,), and ``0.5 / s^2`` with s their mean deviation."""

    mean: Tensor
    precision: Tensor

    @classmethod
    def of(cls, w: Tensor) -> StyleStatistics:
        """Of stylecodes (N, w_dim)."""
        return cls(w.mean(0), 0.5 / w.std(0).mean().square())


@dataclass(frozen=True)
class Share:
    """The part of a global batch that one process, or one micro-batch, works on.

    Every term is defined so that the terms of all shares, weighted by their `fraction`, add up to
    the term of the whole batch. Means over images do so by themselves; sums are divided by what
    the whole batch divides them by, and then by the fraction.

    Attributes:
        rows: of the whole batch that are in the share.
        batch: size of the whole batch.
    """

    rows: slice
    batch: int

    @classmethod
    def whole(cls, batch: int) -> Share:
        """All of a batch."""
        return cls(slice(0, batch), batch)

    @classmethod
    def of_process(cls, rank: int, processes: int, batch: int) -> Share:
        """What a process works on: consecutive rows, as equally many as may be."""
        return cls(slice(rank * batch // processes, (rank + 1) * batch // processes), batch)

    @property
    def fraction(self) -> float:
        return (self.rows.stop - self.rows.start) / self.batch

    def part_of(self, count: int) -> slice:
        """The share's rows of something else that there are `count` of in a step."""
        first, last = (row * count // self.batch for row in (self.rows.start, self.rows.stop))
        return slice(first, last)

    def split(self, size: int) -> list[Share]:
        """Shares of at most `size` rows each; 0 keeps it in one."""
        first, last = self.rows.start, self.rows.stop
        size = size or last - first
        ends = [*range(first, last, size), last]
        return [Share(slice(a, b), self.batch) for a, b in pairwise(ends)]


def photometric(
    x: Tensor, y: Tensor, mask: Tensor | None = None, total: Tensor | None = None
) -> Tensor:
    """Mean of ``|x - y|`` (B, 3, H, W) over a mask (B, 1, H, W), a scalar.

    `total` replaces the mask's own sum (see `CosinePerceptualLoss.distance`).
    """
    if mask is None:
        return (x - y).abs().mean()
    whole = mask.sum() if total is None else total
    return ((x - y).abs() * mask).sum() / (whole * x.shape[1]).clamp(min=1e-6)


class ImageLoss:
    """``d(x, y)``: photometric plus weighted perceptual distance (Eq. 2)."""

    def __init__(self, perceptual: CosinePerceptualLoss | None, weight: float) -> None:
        self.perceptual = perceptual if weight else None
        self.weight = weight

    def describe(self, images: Tensor) -> ImageFeatures:
        """Images (B, 3, S, S) with their features."""
        return ImageFeatures(images, self.perceptual.describe(images) if self.perceptual else None)

    def __call__(
        self,
        x: ImageFeatures,
        y: ImageFeatures,
        mask: Tensor | None = None,
        total: Tensor | None = None,
    ) -> Tensor:
        """A scalar; mask and total as in `photometric`."""
        loss = photometric(x.images, y.images, mask, total)
        if self.perceptual is None or x.features is None or y.features is None:
            return loss
        return loss + self.weight * self.perceptual.distance(x.features, y.features, mask, total)


@dataclass(frozen=True)
class ImageFeatures:
    """Images and what the perceptual network sees in them."""

    images: Tensor
    features: Description | None

    def detach(self) -> ImageFeatures:
        """The same, cut from the autograd graph."""
        features = None if self.features is None else self.features.detach()
        return ImageFeatures(self.images.detach(), features)


def perturbed_view(uniform: Tensor, pitch: float, yaw: float) -> Tensor:
    """Random raw views V' (B, 6) of numbers (B, 3) uniform in [0, 1).

    Pitch and yaw are uniform within +-`pitch` and +-`yaw` degrees, roll is 0; the subject is moved
    sideways with its yaw, as heads do that turn about the neck.
    """
    ranges = uniform.new_tensor([pitch, yaw, 0.0])
    degrees = (2 * uniform - 1) * ranges
    zero = torch.zeros_like(degrees[:, 0])
    # 0.02 sin(yaw) scene units, in raw translations
    sideways = 0.02 / TRANSLATION_RANGE[0] * degrees[:, 1].deg2rad().sin()
    return torch.cat((degrees / ROTATION_RANGE, torch.stack((sideways, zero, zero), 1)), 1)


def shuffled_light(light: Tensor, strength: Tensor, direction: Tensor) -> Tensor:
    """Lights L' (B, 4) put together from those of a batch: weights and directions, each permuted.

    Args:
        light: (B, 4) raw.
        strength, direction: permutations (B,) of the batch.
    """
    return torch.cat((light[strength, :2], light[direction, 2:]), 1)


def stylecode_prior(w: Tensor, statistics: StyleStatistics) -> Tensor:
    """``mean (w - mean)^2 / (2 s^2)`` of stylecodes (B, w_dim), a scalar (Eq. 3, second term)."""
    return (w - statistics.mean).square().mean() * statistics.precision


def light_prior(light: Tensor) -> Tensor:
    """Mean squared ambient and diffuse weight of raw lights (B, 4), a scalar; ours.

    The common scale of the two is free: de-lighting divides by what relighting multiplies with. The
    cycle term is least where all lights are alike, so that both drift until their tanh saturates,
    and lit and unlit sides then differ by a factor of at most 2.
    """
    return light[:, :2].square().mean()


def cycle_consistency(
    light: Tensor,
    view: Tensor,
    light_target: Tensor,
    view_target: Tensor,
    light_weight: float = 1.0,
) -> Tensor:
    """Squared error of raw lights (B, 4) and of raw angles (B, 6, first three), Eq. 5.

    `light_weight` is that of light beside view's; 1 in the paper.
    """
    angles, angles_target = view[:, :CYCLE_ANGLES], view_target[:, :CYCLE_ANGLES]
    return light_weight * F.mse_loss(light, light_target) + F.mse_loss(angles, angles_target)


def identity_distance(x: Tensor, y: Tensor, chosen: Tensor, share: Share) -> Tensor:
    """Mean squared distance of unit embeddings (b, D) over the chosen pairs, a scalar (Eq. 6).

    Args:
        x, y: of the share's images.
        chosen: (B,) bool over the whole batch; 0 is returned where none is.
        share: which of them are here.
    """
    squared = (x - y).square().sum(1) * chosen[share.rows]
    return squared.sum() / chosen.sum().clamp(min=1) / share.fraction


def albedo_residuals(canonical: CanonicalFactors, geometry: Geometry, pooling: int) -> Tensor:
    """Rows (B, P) of the matrix K_A of Eq. 7: fine detail of grey albedo on the foreground.

    What a Gaussian takes away (the paper says a Laplacian), mean-pooled.
    """
    grey = canonical.albedo.mean(1, keepdim=True)
    foreground = (canonical.depth.detach() <= geometry.border - FOREGROUND_MARGIN).to(grey)
    residual = (grey - blur(grey, geometry)) * foreground
    return F.avg_pool2d(residual, pooling).flatten(1)


def nuclear_norm(rows: Tensor, all_rows: Tensor, share: Share) -> Tensor:
    """The share's part of the nuclear norm of a matrix, divided by its fraction, a scalar.

    The norm's gradient is U V^T of the thin SVD, the same for every process that knows all rows.
    ``<U V^T, K>`` is the norm, so the rows of a share contribute their part of that product: the
    parts add up to the norm, their gradients to its gradient. U V^T comes from the small Gram
    matrix, in double precision.

    Args:
        rows: (b, P) of the share; gradients flow to them.
        all_rows: (B, P) of the whole batch, `rows` among them.
        share: which of them are `rows`.
    """
    known = all_rows.detach().double()
    values, vectors = torch.linalg.eigh(known @ known.T)
    # a direction without any extent has no gradient
    usable = values > values.max() * 1e-12
    inverse_root = torch.where(usable, values.clamp(min=1e-300).rsqrt(), 0.0)
    gradient = (vectors * inverse_root) @ vectors.T @ known
    return (gradient[share.rows].to(rows) * rows).sum() / share.fraction
