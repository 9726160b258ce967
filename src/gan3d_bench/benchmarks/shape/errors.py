"""SIDE and MAD of depth maps, and the mean of true ones, for every table of shapes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from gan3d_bench.benchmarks.measure import Values
from gan3d_bench.metrics.depth import (
    MAD,
    RELEASED_NORMAL_EPSILON,
    SIDE,
    filled,
    foreground,
    left_out,
)

CONSTANT = "Constant depth"
AVERAGE, AVERAGE_SUBJECT = "Average ground-truth depth", "Average ground-truth depth, subject only"
NORMALS = f"central differences, {RELEASED_NORMAL_EPSILON:g} added to their length"


class ShapeErrors:
    """Errors of depth maps over the true subject.

    Args:
        fov: of the true depth's camera, in degrees.
    """

    def __init__(self, fov: float) -> None:
        self.fov = fov
        self.side = SIDE()
        self.mad = MAD(fov=fov, normal_epsilon=RELEASED_NORMAL_EPSILON)

    def __call__(self, depth: Tensor, target: Tensor, fov: float | None = None) -> Values:
        """``side`` and ``mad`` of B depth maps (B, 1, S, S).

        Args:
            depth: at every pixel.
            target: true depth, the background at its maximum.
            fov: of the camera that took `depth`, if it is another one.
        """
        whole = torch.ones_like(target)
        fov = self.fov if fov is None else fov
        return {
            "side": self.side.instances(depth, target, whole).tolist(),
            "mad": self.mad.instances(depth, target, whole, fov).tolist(),
        }

    def of_shape(
        self, depth: Tensor, mask: Tensor, target: Tensor, fov: float | None = None
    ) -> Values:
        """``side``, ``mad`` and ``left_out`` of B depth maps known where they were rendered.

        Args:
            depth: (B, 1, S, S); the nearest one counts where nothing was rendered.
            mask: (B, 1, S, S) in [0, 1], where it was.
            target, fov: see `__call__`.
        """
        missing = left_out(mask, foreground(target)).tolist()
        return {**self(filled(depth, mask), target, fov), "left_out": missing}


def average_depths(maps: Iterable[Tensor], far: float) -> dict[str, Tensor]:
    """Means (1, S, S) of true depth maps (1, S, S), by row.

    `AVERAGE`: of the maps as they are, background at the far plane. `AVERAGE_SUBJECT`: over the
    subjects that cover a pixel; the far plane where none does. Silhouettes move with the view, so
    that near them the first is a blend with the background.

    Args:
        maps: at least one.
        far: depth of the background.
    """
    total = covered = subjects = torch.zeros(())
    count = 0
    for depth in maps:
        total = total + depth.double()
        covered = covered + torch.where(depth < far, depth.double(), 0.0)
        subjects = subjects + (depth < far)
        count += 1
    subject = torch.where(subjects > 0, covered / subjects, far)
    return {AVERAGE: (total / count).float(), AVERAGE_SUBJECT: subject.float()}
