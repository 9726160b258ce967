"""What both tables of depth and pose compute."""

from __future__ import annotations

import torch
from torch import Tensor

from gan3d_bench.benchmarks.measure import Values
from gan3d_bench.geometry.views import View
from gan3d_bench.metrics.depth import NormalisedDepthError, filled, foreground, left_out
from gan3d_bench.metrics.pose import angle_differences

CONSTANT = "Constant depth and pose"
ANGLES = "absolute, less the set's mean error"
SIGNED = ("yaw", "pitch", "roll")


class DepthPoseErrors:
    """Depth errors and signed angle errors of each item."""

    def __init__(self) -> None:
        self.depth = NormalisedDepthError()

    def __call__(
        self, depth: Tensor, target: Tensor, valid: Tensor, view: View, true_view: View
    ) -> Values:
        """Measure a batch.

        Args:
            depth, target, valid: see `NormalisedDepthError.update`; pixels that `valid` leaves out
                count with the nearest depth.
            view, true_view: input views.
        """
        angles = angle_differences(view.to("cpu"), true_view.to("cpu"))
        signed = {name: errors.tolist() for name, errors in angles.items()}
        return {**self.of_depth(depth, target, valid), **signed}

    def of_depth(self, depth: Tensor, target: Tensor, valid: Tensor) -> Values:
        """Measure a batch of shapes that are told their view."""
        whole = torch.ones_like(target)
        return {
            "depth": self.depth.instances(filled(depth, valid), target, whole).tolist(),
            "left_out": left_out(valid, foreground(target)).tolist(),
        }
