"""Rates and betas of the two optimisers of adversarial training."""

from __future__ import annotations

import math

from gan3d_bench.adversarial.config import AdversarialConfig


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


def cosine(step: int, steps: int, end: float) -> float:
    """Half a cosine from 1 at step 0 to `end` at step `steps`."""
    return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps))))
