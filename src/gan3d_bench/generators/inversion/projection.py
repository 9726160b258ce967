"""What projecting images onto stylecodes is made of: schedules, losses, noise maps.

The projector of Karras et al. 2020 (appendix D) as released (stylegan2-ada-pytorch, projector.py):
Adam from the mean of w, the learning rate ramped up and down, decaying Gaussian noise on w.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.generators.inversion.config import ProjectionConfig
from gan3d_bench.rendering.images import resize

COARSEST = 8  # side of the coarsest level at which noise maps are regularised


def learning_rate_factor(config: ProjectionConfig, step: int) -> float:
    """Cosine ramp down over the last share of the steps, linear ramp up over the first."""
    t = step / config.steps
    down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / config.ramp_down))
    return down * min(1.0, t / config.ramp_up)


def noise_scale(config: ProjectionConfig, step: int) -> float:
    """Deviation of the noise on w relative to that of w itself, falling to zero."""
    t = step / config.steps
    return config.noise * max(0.0, 1 - t / config.noise_ramp) ** 2


def projection_terms(
    images: Tensor,
    targets: Tensor,
    distance: Callable[[Tensor], Tensor],
    pixel: float,
) -> dict[str, Tensor]:
    """Distance of images and targets, summed over the batch: each is fitted as if alone.

    Args:
        images: (B, 3, S, S) generated, S at least T.
        targets: (B, 3, T, T) in [-1, 1].
        distance: perceptual distance (B,) of images (B, 3, T, T) from the targets.
        pixel: weight of the mean squared error; 0 leaves it out.
    """
    images = resize(images, targets.shape[-1]).float()
    terms = {"perceptual": distance(images).sum()}
    if pixel:
        terms["pixel"] = pixel * squared_error(images, targets).sum()
    return terms


def squared_error(images: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error (B,) of images (B, C, H, W)."""
    return (images - targets).square().mean((1, 2, 3))


def code_terms(
    w: Tensor, mean: Tensor, deviation: Tensor, prior: float, spread: float
) -> dict[str, Tensor]:
    """What keeps stylecodes where the generator knows them, summed over the batch.

    Both are squared distances over the squared deviation of w, so that a random w has `prior` 1.

    Args:
        w: (B, w_dim), or (B, num_ws, w_dim) in W+.
        mean: (w_dim,) of w.
        deviation: norm of its standard deviation per channel.
        prior: weight of the distance from `mean`, averaged over layers; 0 leaves it out.
        spread: weight of that of a layer's stylecode from the layers' mean; 0 leaves it out.
    """
    terms = {}
    layers = w if w.ndim == 3 else w[:, None]
    for name, weight, centre in (
        ("prior", prior, mean),
        ("spread", spread, layers.mean(1, keepdim=True)),
    ):
        if weight:
            squared = ((layers - centre) / deviation).square().sum(2)
            terms[name] = weight * squared.mean(1).sum()
    return terms


def noise_regulariser(maps: Sequence[Tensor]) -> Tensor:
    """Squared correlation of noise maps with themselves one pixel on, at all scales down to 8x8.

    Keeps an image's detail from being written into its noise maps.

    Args:
        maps: each (B, 1, s, s), s a power of two.

    Returns:
        (B,).
    """
    total = maps[0].new_zeros(len(maps[0]))
    for level in maps:
        while True:
            for axis in (2, 3):
                total = total + (level * level.roll(1, axis)).mean((1, 2, 3)).square()
            if level.shape[-1] <= COARSEST:
                break
            level = F.avg_pool2d(level, 2)
    return total


@torch.no_grad()
def normalise(maps: Sequence[Tensor]) -> None:
    """Give noise maps (B, 1, s, s) mean 0 and deviation 1 each, in place."""
    for level in maps:
        level -= level.mean((1, 2, 3), keepdim=True)
        level /= level.std((1, 2, 3), keepdim=True)
