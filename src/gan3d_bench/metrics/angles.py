"""Errors of angles that count without the mean error of their set. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean


def wrap(degrees: float) -> float:
    """The angle in [-180, 180) that differs by whole turns."""
    return (degrees + 180) % 360 - 180


def without_mean(errors: Sequence[float]) -> list[float]:
    """Absolute errors, degrees in [0, 180], once their mean is taken away.

    That is each side's average: methods differ in what they call frontal (LiftedGAN, Table 2).

    Args:
        errors: signed, degrees, of one method over the whole set; NaN stays NaN and does not count.
    """
    known = [math.radians(error) for error in errors if math.isfinite(error)]
    if not known:
        return [math.nan] * len(errors)
    # a mean of angles needs a cut: opposite to their mean direction
    middle = math.degrees(math.atan2(fmean(map(math.sin, known)), fmean(map(math.cos, known))))
    turned = [wrap(error - middle) if math.isfinite(error) else math.nan for error in errors]
    mean = fmean(error for error in turned if math.isfinite(error))
    return [abs(wrap(error - mean)) if math.isfinite(error) else math.nan for error in turned]
