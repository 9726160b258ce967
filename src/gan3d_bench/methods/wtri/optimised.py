"""Inversion of EG3D without an encoder: projection into W+, and pivotal tuning (PTI).

What encoders are compared with (Table 1). Projection is StyleGAN2's (`generators.inversion`), a
stylecode a layer, seen by the picture's camera; pivotal tuning then fits a copy of the generator to
each picture, its stylecodes held (Roich et al. 2021). Noise maps stay those of the generator.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Adam

from gan3d_bench.generators.eg3d.generator import EG3DGenerator
from gan3d_bench.generators.inversion.config import PivotalConfig, ProjectionConfig
from gan3d_bench.generators.inversion.projection import (
    learning_rate_factor,
    noise_scale,
    projection_terms,
    squared_error,
)

Compare = Callable[[Tensor], Tensor]
"""Pictures (B, 3, S, S) -> their distance (B,) from those that are inverted."""


def project(
    generator: EG3DGenerator,
    images: Tensor,
    cameras: Tensor,
    start: tuple[Tensor, Tensor],
    config: ProjectionConfig,
    distance: Compare,
    rng: torch.Generator,
) -> Tensor:
    """Find stylecodes (B, num_ws, w_dim) whose pictures, as cameras see them, are those given.

    Args:
        generator: left as it is.
        images: (B, 3, S, S) in [-1, 1].
        cameras: (B, 25).
        start: mean and deviation (w_dim,) of w.
        config: the steps.
        distance: perceptual, from `images`.
        rng: draws the noise on w.
    """
    mean, deviation = start
    codes = mean.expand(len(images), generator.num_ws, -1).clone().requires_grad_()
    optimiser = Adam([codes], lr=config.lr, betas=(0.9, 0.999))
    for step in range(config.steps):
        for group in optimiser.param_groups:
            group["lr"] = config.lr * learning_rate_factor(config, step)
        drawn = torch.randn(codes.shape, generator=rng).to(codes)
        noisy = codes + noise_scale(config, step) * deviation.norm() * drawn
        made = generator.synthesis(noisy, cameras)
        terms = projection_terms(made, images, distance, config.pixel)
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward(inputs=[codes])
        optimiser.step()
    return codes.detach()


def tune(
    generator: EG3DGenerator,
    codes: Tensor,
    image: Tensor,
    camera: Tensor,
    config: PivotalConfig,
    distance: Compare,
) -> EG3DGenerator:
    """Return a copy of the generator fitted to one picture (1, 3, S, S), its codes held.

    Args:
        generator: left as it is.
        codes: (1, num_ws, w_dim), the pivot.
        image: in [-1, 1].
        camera: (1, 25).
        config: steps and weights; its locality term is left out.
        distance: perceptual, from `image`.
    """
    tuned = copy.deepcopy(generator)
    weights = list(tuned.synthesis.parameters())
    for weight in weights:
        weight.requires_grad_()
    optimiser = Adam(weights, lr=config.lr)
    for _ in range(config.steps):
        made = tuned.synthesis(codes, camera).float()
        seen = distance(made).sum()
        if config.stop and seen.item() <= config.stop:
            break
        loss = config.perceptual * seen + config.pixel * squared_error(made, image).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return tuned.requires_grad_(False)
