"""Turning a stylecode's face: the yaw direction of W and F_yaw (section 3.2.2)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gan3d_bench.generators.directions import yaw_hyperplane
from gan3d_bench.methods.uv3dmm.networks import YawStep

EDGES = (0.02, 0.98)
"""Quantiles of the yaw between which F_yaw learns."""
CHUNK = 4096

Yaw = Callable[[Tensor], Tensor]
"""Stylecodes (B, w_dim) to the yaw (B,) of their pictures, radians."""


class StyleRotation(nn.Module):
    """``w' = w + F_yaw(w, alpha) d`` (Eq. 2).

    Args:
        w_dim: numbers of a stylecode.

    Attributes:
        step: F_yaw.
        direction: (w_dim,) unit vector d; yaw grows with it.
        range: (2,) least and largest yaw that was trained for, radians.
    """

    direction: Tensor
    range: Tensor

    def __init__(self, w_dim: int) -> None:
        super().__init__()
        self.step = YawStep(w_dim)
        self.register_buffer("direction", torch.zeros(w_dim))
        self.register_buffer("range", torch.zeros(2))

    @torch.no_grad()
    def find_direction(self, w: Tensor, yaw: Yaw, share: float, cost: float) -> None:
        """Set the direction, and the scales of `step`, from samples.

        Args:
            w: (N, w_dim) stylecodes.
            yaw: tells theirs.
            share: of the samples on either side of the hyperplane (2 %).
            cost: C of the linear SVM.
        """
        angles = torch.cat([yaw(part) for part in w.split(CHUNK)])
        self.direction.copy_(yaw_hyperplane(w, angles, share, cost))
        self.range.copy_(torch.quantile(angles, angles.new_tensor(EDGES)))
        self.step.w_mean.copy_(w.mean(0))
        self.step.w_deviation.copy_((w - w.mean(0)).square().mean().sqrt())
        self.step.unit.copy_((w @ self.direction).std())

    def forward(self, w: Tensor, yaw: Tensor) -> Tensor:
        """Stylecodes (B, w_dim) whose pictures show the yaw (B,), radians."""
        return w + self.step(w, yaw)[:, None] * self.direction

    def symmetric(self, w: Tensor, yaw: Yaw) -> Tensor:
        """Stylecodes that show the same faces from the other side: Eq. 2 with minus their yaw."""
        return self(w, -yaw(w))

    def terms(self, w: Tensor, alpha: Tensor, yaw: Yaw, penalty: float) -> dict[str, Tensor]:
        """Losses of `step`: the yaw that is reached, and the length of the step.

        Args:
            w: (B, w_dim).
            alpha: (B,) yaws asked for.
            yaw: with gradients to the stylecodes.
            penalty: weight of the squared step.
        """
        step = self.step(w, alpha)
        reached = yaw(w + step[:, None] * self.direction)
        return {
            "yaw": (reached - alpha).abs().mean(),
            "step": penalty * step.square().mean(),
        }
