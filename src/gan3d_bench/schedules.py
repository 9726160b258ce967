"""Factors on a learning rate, step by step."""

from __future__ import annotations

import math


def cosine(step: int, steps: int, end: float = 0.0) -> float:
    """Half a cosine from 1 at step 0 to `end` at step `steps`."""
    return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps))))


def warmed_cosine(step: int, steps: int, end: float, warmup: int) -> float:
    """`cosine` with a linear rise over the first `warmup` steps."""
    return min(1.0, (step + 1) / max(1, warmup)) * cosine(step, steps, end)
