"""The camera of a picture that comes without one.

The paper has cameras from a 3D face reconstruction network; a small network of our own, trained on
the same pictures with their exact cameras, takes its place.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan3d_bench.distributed.batch_norm import share_statistics
from gan3d_bench.faces.irse import REDUCTION, IRSETrunk
from gan3d_bench.generators.eg3d.cameras import CameraOrbit
from gan3d_bench.geometry.views import View

NUMBERS = 6  # yaw, pitch, roll in degrees; translation in scene units
FARTHEST = 4.0  # standard deviations from the mean that a camera is at most
LEAST_DEVIATION = 1e-4  # of data whose cameras never move along an axis


class CameraNetwork(IRSETrunk):
    """Pictures -> views of an orbit, by a small IR-SE trunk and a linear layer.

    Args:
        image_size: S of the pictures.
        orbit: whose views are told; all have its focal length.
        width, depths: of `IRSETrunk`.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, image_size: int, orbit: CameraOrbit, width: int, depths: Sequence[int]
    ) -> None:
        super().__init__(3, width, depths)
        self.orbit = orbit
        self.out = nn.Linear(self.channels[-1] * (image_size // REDUCTION) ** 2, NUMBERS)
        self.register_buffer("mean", torch.zeros(NUMBERS))
        self.register_buffer("deviation", torch.ones(NUMBERS))
        share_statistics(self)

    def learn_range(self, cameras: Tensor) -> None:
        """Take mean and deviation from cameras (N, 25) as they occur."""
        numbers = self._numbers(cameras)
        self.mean.copy_(numbers.mean(0))
        self.deviation.copy_(numbers.std(0, correction=0).clamp(min=LEAST_DEVIATION))

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) in [-1, 1] -> numbers (B, 6) in deviations from their means."""
        return self.out(self.stages(pictures)[-1].flatten(1)).float()

    def loss(self, pictures: Tensor, cameras: Tensor) -> Tensor:
        """How far the cameras of pictures are from the truth (B, 25): smooth L1, a scalar."""
        truth = (self._numbers(cameras) - self.mean) / self.deviation
        return F.smooth_l1_loss(self(pictures), truth)

    def cameras(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) -> cameras (B, 25), not far from those that occurred."""
        numbers = self.mean + self.deviation * self(pictures).clamp(-FARTHEST, FARTHEST)
        yaw, pitch, roll = numbers[:, :3].unbind(1)
        depth = self.orbit.centre_depth
        view = View.from_angles(yaw, pitch, roll, numbers[:, 3:], centre_depth=depth)
        return self.orbit.labels(view)

    def _numbers(self, cameras: Tensor) -> Tensor:
        view = self.orbit.view(cameras)
        angles = torch.stack((view.yaw, view.pitch, view.roll), 1)
        return torch.cat((angles, view.translation), 1)
