"""Stylecodes brought to the most probable ones by Levenberg and Marquardt's steps.

Adam finds pictures that look like the given ones, but not the stylecode: there are many, most of
them improbable. Few steps with the whole Jacobian weigh picture and prior as their deviations say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.inversion.config import RefinementConfig
from gan3d_bench.generators.latents import sample_z
from gan3d_bench.rendering.images import resize

SAMPLES = 8192  # of w, for its principal directions
DIFFERENCE = 0.1  # deviations of w between the two ends of a finite difference
TRIES = 4  # dampings a step tries
CHUNK = 32  # pictures at once


@dataclass(frozen=True)
class Principal:
    """Where stylecodes lie: mean and principal directions, a standard deviation each.

    Attributes:
        mean: (w_dim,).
        directions: (K, w_dim), largest first, orthogonal.
    """

    mean: Tensor
    directions: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, generator: Generator, count: int) -> Principal:
        """The first `count` directions of a generator's w; the same whenever it is asked for."""
        z = sample_z(SAMPLES, generator.z_dim, torch.Generator().manual_seed(0))
        w = torch.cat([generator.mapping(part.to(generator.w_mean)) for part in z.split(1024)])
        mean = w.mean(0)
        variance, axes = (x.to(w) for x in torch.linalg.eigh(torch.cov(w.double().T)))
        first = variance.flip(0)[:count].clamp(min=1e-10).sqrt()
        return cls(mean, first[:, None] * axes.flip(1).T[:count])

    def weights(self, w: Tensor) -> Tensor:
        """Stylecodes (B, w_dim) as weights (B, K) of the directions."""
        length = self.directions.square().sum(1)
        return (w - self.mean) @ self.directions.T / length

    def codes(self, weights: Tensor) -> Tensor:
        """Weights (B, K) as stylecodes (B, w_dim)."""
        return self.mean + weights @ self.directions


@torch.no_grad()
def refine(
    generator: Generator,
    w: Tensor,
    targets: Tensor,
    config: RefinementConfig,
    space: Principal,
    progress: Callable[[], None] = lambda: None,
) -> Tensor:
    """Move stylecodes towards the maximum of the posterior, each on its own.

    What is minimised: squared differences of all colours over `config.deviation` squared, plus
    squared weights of the principal directions. A step is taken only where it lowers that.

    Args:
        generator: makes the pictures.
        w: (B, w_dim) to begin with; what lies outside of `space` is left behind.
        targets: (B, 3, T, T) in [-1, 1], T at most the generator's size.
        config: how.
        space: of the generator.
        progress: told after each step of an image.

    Returns:
        (B, w_dim).
    """

    def pictures(weights: Tensor) -> Tensor:
        made = [generator.synthesis(space.codes(part)).float() for part in weights.split(CHUNK)]
        return resize(torch.cat(made), targets.shape[-1]).flatten(1) / config.deviation

    found = []
    for code, target in zip(space.weights(w), targets, strict=True):
        one = _Posterior(pictures, target.flatten() / config.deviation, code)
        for _ in range(config.steps):
            one.step()
            progress()
        found.append(one.weights)
    return space.codes(torch.stack(found))


class _Posterior:
    """One image's search: `weights` are the best so far."""

    def __init__(
        self, pictures: Callable[[Tensor], Tensor], target: Tensor, weights: Tensor
    ) -> None:
        self.pictures, self.target, self.weights = pictures, target, weights
        self.damping = 0.1
        self.seen = pictures(weights[None])[0]
        self.cost = self._cost(self.seen, weights)

    def _cost(self, seen: Tensor, weights: Tensor) -> Tensor:
        return (seen - self.target).square().sum() + weights.square().sum()

    def step(self) -> None:
        """One step, with as little damping as lowers the cost; none if nothing does."""
        count = len(self.weights)
        moved = self.weights + DIFFERENCE * torch.eye(count, device=self.weights.device)
        jacobian = (self.pictures(moved) - self.seen) / DIFFERENCE  # (K, P)
        normal = jacobian @ jacobian.T
        diagonal = normal.diag() + 1
        downhill = jacobian @ (self.seen - self.target) + self.weights
        for _ in range(TRIES):
            system = normal + torch.diag(1 + self.damping * diagonal)
            weights = self.weights - torch.linalg.solve(system, downhill)
            seen = self.pictures(weights[None])[0]
            cost = self._cost(seen, weights)
            if cost < self.cost:
                self.weights, self.seen, self.cost = weights, seen, cost
                self.damping *= 0.3
                return
            self.damping *= 4
