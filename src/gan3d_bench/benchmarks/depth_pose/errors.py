"""What both tables of depth and pose compute."""

from __future__ import annotations

from torch import Tensor

from gan3d_bench.benchmarks.measure import Values
from gan3d_bench.benchmarks.results import Estimate
from gan3d_bench.geometry.views import View
from gan3d_bench.metrics.depth import NormalisedDepthError
from gan3d_bench.metrics.pose import PoseError

CONSTANT = "Constant depth and pose"
ANGLES = "absolute, less the set's mean error"


class DepthPoseErrors:
    """Depth errors of each item, and angle errors of the whole set."""

    def __init__(self) -> None:
        self.depth = NormalisedDepthError()
        self.pose = PoseError()

    def __call__(
        self, depth: Tensor, target: Tensor, valid: Tensor, view: View, true_view: View
    ) -> Values:
        """Measure a batch.

        Args:
            depth, target, valid: see `NormalisedDepthError.update`.
            view, true_view: input views.
        """
        self.pose.update(view.to("cpu"), true_view.to("cpu"))
        return {"depth": self.depth.instances(depth, target, valid).tolist()}

    def sets(self) -> dict[str, Estimate]:
        """Return the errors of yaw, pitch and roll over all batches, and forget them."""
        angles = self.pose.compute()
        self.pose.reset()
        return {
            name: Estimate(
                float(error["mean"]), float(error["standard_error"]), int(error["count"])
            )
            for name, error in angles.items()
        }
