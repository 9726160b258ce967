"""Rates and betas of the two optimisers of adversarial training."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.optim import Adam, Optimizer

from gan3d_bench.adversarial.config import AdversarialConfig
from gan3d_bench.generators.stylegan2.ops import EPSILON
from gan3d_bench.schedules import cosine


def lazy_adam(lr: float, interval: int) -> tuple[float, tuple[float, float]]:
    """Return Adam's rate and betas for a network regularised every `interval` steps (0: never).

    Source: Karras et al. 2020, appendix B, lazy regularisation.
    """
    ratio = interval / (interval + 1) if interval else 1.0
    return lr * ratio, (0.0, 0.99**ratio)


def discriminator_rate(config: AdversarialConfig, step: int) -> float:
    """Factor on the discriminator's rate at a step of the phase: a cosine to `lr_end`."""
    return cosine(step, config.steps, config.lr_end)


def generator_rate(config: AdversarialConfig, step: int) -> float:
    """Factor on the generator's rate: 0 in the delay, then a linear warm-up; with the cosine."""
    ramp = min(1.0, (step - config.delay + 1) / max(1, config.warmup))
    return max(0.0, ramp) * cosine(step, config.steps, config.lr_end)


def generator_adam(
    mapping: nn.Module, lr: float, betas: tuple[float, float], mapping_lr: float
) -> Callable[[list[nn.Parameter]], Optimizer]:
    """Return what makes Adam of a generator's parameters, its mapping network at a rate of its own.

    Args:
        mapping: the network, whose parameters are among those that Adam is made of.
        lr: rate of the others.
        betas: of all.
        mapping_lr: factor on the rate of `mapping`.
    """

    def build(parameters: list[nn.Parameter]) -> Optimizer:
        own = list(mapping.parameters())
        inside = {id(p) for p in own}
        rest = [p for p in parameters if id(p) not in inside]
        groups = [{"params": rest}, {"params": own, "lr": lr * mapping_lr}]
        return Adam(groups, lr=lr, betas=betas, eps=EPSILON)

    return build
