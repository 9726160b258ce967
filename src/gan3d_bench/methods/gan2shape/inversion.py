"""Projection of images onto one stylecode w each (facts gan2shape, section 7).

The projector of Karras et al. 2020 as used for GAN2Shape: Adam on w from its mean, learning rate
ramped up and down, decaying Gaussian noise on w, a perceptual distance, stored noise maps left
alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gan3d_bench.generators.stylegan2.generator import Generator
from gan3d_bench.losses.perceptual import PerceptualLoss
from gan3d_bench.methods.gan2shape.config import InversionConfig
from gan3d_bench.methods.gan2shape.teacher import resize


class Latents(nn.Module):
    """Stylecodes of N instances, as one parameter `w` (N, w_dim)."""

    def __init__(self, n: int, w_dim: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(n, w_dim))


def learning_rate_factor(config: InversionConfig, step: int) -> float:
    """Cosine ramp down over the last share of the steps, linear ramp up over the first."""
    t = step / config.steps
    down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / config.ramp_down))
    return down * min(1.0, t / config.ramp_up)


def noise_scale(config: InversionConfig, step: int) -> float:
    """Deviation of the noise on w relative to that of w itself, falling to zero."""
    t = step / config.steps
    return config.noise * max(0.0, 1 - t / config.noise_ramp) ** 2


def inversion_loss(
    generator: Generator,
    w: Tensor,
    targets: Tensor,
    perceptual: PerceptualLoss,
    config: InversionConfig,
) -> dict[str, Tensor]:
    """Distance of G(w) and the targets, summed over images: each is fitted as if alone.

    Args:
        generator: the teacher.
        w: (B, w_dim) noisy stylecodes.
        targets: (B, 3, T, T) whole images in [-1, 1] at the teacher's size.
        perceptual: distance of image pairs.
        config: weights and sizes.
    """
    size = min(generator.image_size, config.compare_size)
    images = resize(generator.synthesis(w, noise="const"), size)
    targets = resize(targets, size)
    terms = {"perceptual": perceptual(images, targets).sum()}
    if config.pixel:
        mse = (images.float() - targets).square().mean((1, 2, 3))
        terms["pixel"] = config.pixel * mse.sum()
    return terms
