"""Pivotal tuning (Roich et al. 2021): the generator is bent around a stylecode to hit its image."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Adam

from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.inversion.config import PivotalConfig
from gan3d_bench.generators.inversion.projection import squared_error
from gan3d_bench.losses.perceptual import PerceptualLoss
from gan3d_bench.rendering.images import resize


def tune(
    generator: Generator,
    w: Tensor,
    target: Tensor,
    config: PivotalConfig,
    perceptual: PerceptualLoss,
    compare_size: int,
    rng: torch.Generator,
    synthesis: Callable[[Generator, Tensor], Tensor],
    progress: Callable[[int], None],
) -> Generator:
    """Return a copy of the generator fitted to one image, its stylecode held.

    Args:
        generator: left as it is.
        w: (1, w_dim) or (1, num_ws, w_dim) the pivot.
        target: (1, 3, S, S) in [-1, 1]; the pixel term is of this size.
        config: steps and weights.
        perceptual: distance of image pairs.
        compare_size: side at most of the images that `perceptual` compares.
        rng: draws the stylecodes at which the locality term is asked.
        synthesis: images of a generator at the pivot, with the noise of the projection.
        progress: told of every step: how many are done.
    """
    tuned = copy.deepcopy(generator)
    weights = list(tuned.synthesis.parameters())
    for weight in weights:
        weight.requires_grad_()
    optimiser = Adam(weights, lr=config.lr)
    small = resize(target, min(compare_size, target.shape[-1]))
    distance = perceptual.against(small)
    for step in range(config.steps):
        images = resize(synthesis(tuned, w), target.shape[-1]).float()
        seen = distance(resize(images, small.shape[-1])).sum()
        if config.stop and seen.item() <= config.stop:
            progress(config.steps)
            break
        loss = config.perceptual * seen + config.pixel * squared_error(images, target).sum()
        if config.locality:
            there = _around(generator, w, config, rng)
            with torch.no_grad():
                before = resize(generator.synthesis(there), target.shape[-1]).float()
            after = resize(tuned.synthesis(there), target.shape[-1]).float()
            pair = [resize(x, small.shape[-1]) for x in (after, before)]
            change = squared_error(after, before).sum() + perceptual(*pair).sum()
            loss = loss + config.locality * change
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        progress(step + 1)
    return tuned.requires_grad_(False)


@torch.no_grad()
def _around(generator: Generator, w: Tensor, config: PivotalConfig, rng: torch.Generator) -> Tensor:
    """A stylecode (1, num_ws, w_dim) at a distance from the pivot, in a random direction."""
    pivot = w if w.ndim == 3 else w[:, None].expand(-1, generator.num_ws, -1)
    z = torch.randn(1, generator.z_dim, generator=rng).to(w)
    other = generator.truncate(generator.mapping(z), config.locality_truncation)
    offset = other[:, None] - pivot
    return pivot + config.locality_radius * offset / offset.norm()
