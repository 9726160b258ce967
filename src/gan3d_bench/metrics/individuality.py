"""How much of what a network gives is the subject's own, and how much is the same for all."""

from __future__ import annotations

from torch import Tensor


def individual_ratio(outputs: Tensor) -> float:
    """Spread over subjects against spread over pixels, both standard deviations.

    The first is that between subjects (root of the mean variance of a pixel), the second that of
    the mean output over its pixels. 0 says that every subject gets the same. What is one number a
    subject, such as a discriminator's score, is compared with its mean.

    Args:
        outputs: (N, ...) for N subjects, at least two: maps, pictures or codes. "Pixels" are all
            entries behind the first dimension.

    Returns:
        0 or more; infinite where the mean output is the same everywhere, and subjects differ.

    Raises:
        ValueError: fewer than two subjects.
    """
    if len(outputs) < 2:
        raise ValueError(f"{len(outputs)} subjects: expected at least two")
    values = outputs.detach().double().flatten(1)
    mean = values.mean(0)
    between = float(values.var(0).mean().sqrt())
    across = float(mean.std(correction=0) if len(mean) > 1 else mean.abs().mean())
    rounding = 1e-6 * float(values.abs().max())  # what float32 leaves of two equal numbers
    if between <= rounding:
        return 0.0
    return between / across if across > rounding else float("inf")
