"""What a student misses of a teacher's outputs: of what all subjects share, and of what is theirs.

In maps of faces nearly all variance is that of the mean face over its pixels. A student that gives
everybody the mean has an error of 1 % of it, and has lost everything that tells people apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.metrics.individuality import individual_ratio

LEAST_SPREAD = 0.01


class DistillationError:
    """Errors of a student in units of how much the teacher's outputs vary.

    Args:
        targets: (N, ...) the teacher's outputs for N subjects: maps, pictures or codes.

    Raises:
        UserError: the teacher gives every subject nearly the same; there is nothing to learn.
    """

    def __init__(self, targets: Tensor) -> None:
        self.spread = individual_ratio(targets)
        if self.spread < LEAST_SPREAD:
            raise UserError(
                f"the teacher's outputs vary {self.spread:.1g} as much over subjects as over "
                f"pixels, expected at least {LEAST_SPREAD:g}: it gives everybody the same"
            )
        self.variance = targets.var()
        self.individual_variance = targets.var(0).mean()
        self.slope_variance, self.individual_slope_variance = torch.zeros(2)
        if targets.ndim == 4:
            slopes = _slopes(targets)
            self.slope_variance = slopes.square().mean()
            self.individual_slope_variance = slopes.var(0).mean()

    def loss(self, found: Tensor, targets: Tensor) -> Tensor:
        """The loss of a batch (B, ...), B at least 2; of one mean output for all it is about 1.

        The squared error of the batch's mean in units of the whole variance, and that of the
        deviations from the mean in units of the variance between subjects. Maps (B, C, H, W) are
        compared by their slopes, too, or the surface comes out rough.
        """
        error = found - targets
        loss = _shared(error) / self.variance + _own(error) / self.individual_variance
        if self.individual_slope_variance > 0:
            slopes = _slopes(error)
            loss = loss + _shared(slopes) / self.slope_variance
            loss = loss + _own(slopes) / self.individual_slope_variance
        return loss

    def lost(self, found: Tensor, targets: Tensor) -> dict[str, float]:
        """What a trained student misses, of outputs (N, ...) for subjects it was not taught on.

        Returns:
            ``of_variance``: mean squared error by the variance of the targets. ``of_individual``:
            that of output less mean output by the variance between subjects: 0 is perfect, 1 is
            one output for all. ``spread``: of the student, see `individual_ratio`.
        """
        error = (found - targets).double()
        return {
            "of_variance": round(float(error.square().mean() / self.variance), 4),
            "of_individual": round(float(_own(error) / self.individual_variance), 4),
            "spread": round(individual_ratio(found), 4),
        }


def _shared(error: Tensor) -> Tensor:
    return error.mean(0).square().mean()


def _own(error: Tensor) -> Tensor:
    return error.var(0).mean()


def _slopes(maps: Tensor) -> Tensor:
    """Differences to the next row and to the next column: (B, C, H, W) -> (B, M)."""
    return torch.cat([maps.diff(dim=axis).flatten(1) for axis in (2, 3)], 1)
