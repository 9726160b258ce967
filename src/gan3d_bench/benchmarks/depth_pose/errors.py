"""What both tables of depth and pose compute."""

from __future__ import annotations

import torch
from torch import Tensor

from gan3d_bench.benchmarks.measure import Values
from gan3d_bench.benchmarks.results import Estimate
from gan3d_bench.geometry.views import View
from gan3d_bench.metrics.depth import NormalisedDepthError, filled, foreground, left_out
from gan3d_bench.metrics.pose import PoseError

CONSTANT = "Constant depth and pose"
ANGLES = "absolute, less the set's mean error"


class DepthPoseErrors:
    """Depth errors of each item, and angle errors of the whole set."""

    def __init__(self) -> None:
        self.depth = NormalisedDepthError()
        self.pose = PoseError()
        self._posed = False

    def __call__(
        self, depth: Tensor, target: Tensor, valid: Tensor, view: View, true_view: View
    ) -> Values:
        """Measure a batch.

        Args:
            depth, target, valid: see `NormalisedDepthError.update`; pixels that `valid` leaves out
                count with the nearest depth.
            view, true_view: input views.
        """
        self.pose.update(view.to("cpu"), true_view.to("cpu"))
        self._posed = True
        return self.of_depth(depth, target, valid)

    def of_depth(self, depth: Tensor, target: Tensor, valid: Tensor) -> Values:
        """Measure a batch of shapes that are told their view."""
        whole = torch.ones_like(target)
        return {
            "depth": self.depth.instances(filled(depth, valid), target, whole).tolist(),
            "left_out": left_out(valid, foreground(target)).tolist(),
        }

    def sets(self) -> dict[str, Estimate]:
        """Return the errors of yaw, pitch and roll over all batches, and forget them.

        Nothing where no batch had views.
        """
        if not self._posed:
            return {}
        self._posed = False
        angles = self.pose.compute()
        self.pose.reset()
        return {
            name: Estimate(
                float(error["mean"]), float(error["standard_error"]), int(error["count"])
            )
            for name, error in angles.items()
        }
