"""Tri-plane offsets from the picture: what no code of the generator can say.

Beyond W_tri; the idea is TriPlaneNet's (Bhattarai, Nießner and Sevastopolsky 2024, section 3.2),
whose second branch sees the picture, what is still wrong with it, and the planes.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan3d_bench.rendering.images import resize

HALVINGS = 3  # of the planes' side: there the network sees all of a picture at once


class PlaneOffsets(nn.Module):
    """A U-Net whose last layer starts at zero: at first nothing is added.

    Nothing in it depends on the other pictures of a batch.

    Args:
        channels: of a subject's planes together, 3 C.
        size: P, their side in texels, a multiple of 2^HALVINGS.
        width: channels of the first stage, a multiple of 4; each next stage has twice as many.
    """

    def __init__(self, channels: int, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        widths = [width * 2**i for i in range(HALVINGS + 1)]
        self.first = _stage(channels + 6, widths[0])
        self.down = nn.ModuleList(_stage(a, b) for a, b in pairwise(widths))
        self.up = nn.ModuleList(_stage(a + b, b) for a, b in pairwise(reversed(widths)))
        self.last = nn.Conv2d(width, channels, 1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, targets: Tensor, made: Tensor, planes: Tensor) -> Tensor:
        """What is to be added to planes.

        Args:
            targets: (B, 3, S, S) in [-1, 1].
            made: what the planes show there, alike.
            planes: (B, 3, C, P, P).

        Returns:
            (B, 3, C, P, P).
        """
        pictures = resize(torch.cat((targets, targets - made), 1), self.size)
        x = self.first(torch.cat((pictures, planes.flatten(1, 2)), 1))
        kept = []
        for stage in self.down:
            kept.append(x)
            x = stage(F.avg_pool2d(x, 2))
        for stage, beside in zip(self.up, reversed(kept), strict=True):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = stage(torch.cat((x, beside), 1))
        return self.last(x).unflatten(1, (3, -1))


def _stage(channels: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for given in (channels, width):
        layers += [nn.Conv2d(given, width, 3, padding=1), nn.GroupNorm(4, width), nn.SiLU()]
    return nn.Sequential(*layers)
