"""The depth network: an encoder-decoder with skip connections."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DepthNetwork(nn.Module):
    """Image to depth map.

    The encoder halves the image down to 4 pixels; the decoder doubles it again, seeing at each
    size what the encoder saw there.

    Args:
        image_size: S, a power of two of at least 16.
        channels: channels at half the image size, a multiple of 8; doubled at each level, up to
            256.
        near, far: range of the depth, scene units.
    """

    def __init__(self, image_size: int, channels: int, near: float, far: float) -> None:
        super().__init__()
        self.near, self.far = near, far
        levels = int(math.log2(image_size)) - 2
        widths = [3, *(min(channels * 2**level, 256) for level in range(levels))]
        self.encoder = nn.ModuleList(
            _block(wide_in, wide_out, kernel=4, stride=2) for wide_in, wide_out in pairwise(widths)
        )
        self.decoder = nn.ModuleList()
        below = widths[-1]
        for skip in reversed(widths[:-1]):
            width = max(skip, channels)
            self.decoder.append(_block(below + skip, width, kernel=3, stride=1))
            below = width
        self.head = nn.Conv2d(below, 1, kernel_size=3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Depth (B, 1, S, S) within [near, far] of images (B, 3, S, S) in [-1, 1]."""
        seen, x = [], images
        for block in self.encoder:
            seen.append(x)
            x = block(x)
        for block, skip in zip(self.decoder, reversed(seen), strict=True):
            x = block(torch.cat((F.interpolate(x, scale_factor=2.0), skip), 1))
        middle, half = (self.near + self.far) / 2, (self.far - self.near) / 2
        return middle + half * torch.tanh(self.head(x).float())


def _block(wide_in: int, wide_out: int, *, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(wide_in, wide_out, kernel, stride, padding=1, bias=False),
        nn.GroupNorm(wide_out // 8, wide_out),
        nn.LeakyReLU(0.2),
    )
