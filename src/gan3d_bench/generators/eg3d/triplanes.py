"""Tri-planes: three feature planes that stand for a volume, and the decoder of what they hold."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan3d_bench.generators.stylegan2.layers import Linear

PLANE_AXES: dict[str, tuple[tuple[int, int], ...]] = {
    "released": ((0, 1), (0, 2), (2, 0)),
    "corrected": ((0, 1), (0, 2), (2, 1)),
}
"""Name -> for each plane the axes of space (0 x, 1 y, 2 z) along its width and its height.

The released third plane is the second one transposed, which its authors meant to be ZY
(NVlabs/eg3d, issue 67). All released networks were trained with it.
"""


def plane_coordinates(points: Tensor, box_warp: float, axes: str) -> Tensor:
    """Project points onto the planes.

    Args:
        points: (..., 3) world axes, scene units.
        box_warp: side of the cube that the planes cover, centred at the origin.
        axes: a name of `PLANE_AXES`.

    Returns:
        (3, ..., 2): for each plane the position along its width and height, within [-1, 1] in the
        cube.
    """
    scaled = points * (2 / box_warp)
    return torch.stack([scaled[..., list(pair)] for pair in PLANE_AXES[axes]])


def sample_planes(planes: Tensor, points: Tensor, box_warp: float, axes: str) -> Tensor:
    """Read the planes bilinearly at points; zero outside the cube.

    Args:
        planes: (N, 3, C, H, W).
        points: (N, P, 3).
        box_warp, axes: see `plane_coordinates`.

    Returns:
        (N, 3, C, P).

    Source: sample_from_planes in training/volumetric_rendering/renderer.py of NVlabs/eg3d.
    """
    batch, count = points.shape[:2]
    grid = plane_coordinates(points, box_warp, axes).transpose(0, 1)  # (N, 3, P, 2)
    features = F.grid_sample(
        planes.flatten(0, 1),
        grid.reshape(batch * 3, 1, count, 2).to(planes.dtype),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    return features.view(batch, 3, -1, count)


class Decoder(nn.Module):
    """Mean features of the planes at a point -> colour features and density, whatever the view.

    Args:
        channels: C of a plane.
        width: of the hidden layer.
        features: colour features; the first three are red, green and blue.
        lr_mul: learning-rate multiplier.

    Source: class OSGDecoder in training/triplane.py of NVlabs/eg3d.
    """

    def __init__(
        self, channels: int = 32, width: int = 64, features: int = 32, lr_mul: float = 1.0
    ) -> None:
        super().__init__()
        self.hidden = Linear(channels, width, lr_mul=lr_mul)
        self.out = Linear(width, 1 + features, lr_mul=lr_mul)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Decode.

        Args:
            x: (N, P, C), mean over the planes.

        Returns:
            colour features (N, P, F) within (-0.001, 1.001), and raw density (N, P).
        """
        out = self.out(F.softplus(self.hidden(x.flatten(0, 1)))).view(*x.shape[:2], -1)
        # as of MipNeRF, so that 0 and 1 can be reached
        return torch.sigmoid(out[..., 1:]) * 1.002 - 0.001, out[..., 0]


@dataclass(frozen=True)
class TriplaneField:
    """What a volume is made of: called with points, it says what is there.

    Attributes:
        planes: (N, 3, C, H, W).
        decoder: of their features.
        box_warp, axes: see `plane_coordinates`.
    """

    planes: Tensor
    decoder: Decoder
    box_warp: float = 1.0
    axes: str = "released"

    def __call__(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Points (N, P, 3) -> colour features (N, P, F) and raw density (N, P)."""
        sampled = sample_planes(self.planes, points, self.box_warp, self.axes)
        return self.decoder(sampled.mean(1).transpose(1, 2))

    def density(self, points: Tensor) -> Tensor:
        """Points (N, P, 3) -> raw density (N, P), before softplus(. - 1)."""
        return self(points)[1]
