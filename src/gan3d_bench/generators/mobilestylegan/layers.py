"""Layers of MobileStyleGAN's synthesis network.

Source: bes-dev/MobileStyleGAN.pytorch, core/models/mobile_synthesis_network.py and the modules
modulated_conv2d.py, modulated_dw_conv2d.py and idwt_upsample.py beside it.

Everything that depends on w multiplies activations, never weights. What multiplies a layer's input
is applied together with the activation of the layer before. Demodulation does not depend on w in
this network; it lies in the weights.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan3d_bench.generators.mobilestylegan import ops
from gan3d_bench.generators.stylegan2.ops import full_precision


class Affine(nn.Linear):
    """Stylecodes (B, w_dim) -> float32 factors of channels (B, C), near `gain` at first.

    `gain` multiplies the result; `weight` and `bias` are without it.
    """

    def __init__(self, w_dim: int, channels: int, gain: float) -> None:
        super().__init__(w_dim, channels)
        self.gain = gain
        nn.init.normal_(self.weight, std=1 / math.sqrt(w_dim))
        nn.init.ones_(self.bias)

    def forward(self, w: Tensor) -> Tensor:
        with full_precision(w.device):
            return super().forward(w.float()) * self.gain


class DenseConv(nn.Module):
    """3x3 convolution, noise, bias, leaky ReLU."""

    noise: Tensor

    def __init__(self, in_channels: int, out_channels: int, image_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("noise", torch.zeros(image_size, image_size))

    def forward(self, x: Tensor, factors: Tensor) -> Tensor:
        """Map (B, Cin, H, W) to (B, Cout, H, W); `factors` (B, Cout) multiply the result."""
        x = F.conv2d(x, self.weight, self.bias, padding=1)
        return ops.activate(x, self.noise, factors)


class SeparableConv(nn.Module):
    """Depthwise 3x3 convolution, pointwise convolution, noise, bias, leaky ReLU."""

    noise: Tensor

    def __init__(self, in_channels: int, out_channels: int, image_size: int) -> None:
        super().__init__()
        # undoes the gain of the factors that its input is multiplied by
        self.depthwise = nn.Parameter(torch.randn(in_channels, 1, 3, 3) * math.sqrt(in_channels))
        self.pointwise = nn.Parameter(
            torch.randn(out_channels, in_channels) / math.sqrt(in_channels)
        )
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("noise", torch.zeros(image_size, image_size))

    def forward(self, x: Tensor, factors: Tensor) -> Tensor:
        """Map (B, Cin, H, W) to (B, Cout, H, W); `factors` (B, Cout) multiply the result."""
        return self.mix(ops.depthwise(x, self.depthwise), factors)

    def mix(self, x: Tensor, factors: Tensor) -> Tensor:
        """All that follows the depthwise convolution."""
        return ops.activate(ops.pointwise(x, self.pointwise, self.bias), self.noise, factors)


class Block(nn.Module):
    """Inverse Haar transform, which doubles the size, and two convolutions.

    Args:
        in_channels, out_channels, w_dim: sizes.
        image_size: side of the output.
    """

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, image_size: int) -> None:
        super().__init__()
        narrow = in_channels // 4
        self.up = Affine(w_dim, in_channels, 0.5)  # the transform's own factor
        self.affine1 = Affine(w_dim, narrow, 1 / math.sqrt(9 * narrow))
        self.affine2 = Affine(w_dim, out_channels, 1 / math.sqrt(9 * out_channels))
        self.conv1 = SeparableConv(narrow, out_channels, image_size)
        self.conv2 = SeparableConv(out_channels, out_channels, image_size)

    def input_factors(self, w: Tensor) -> Tensor:
        """Return what the input is to be multiplied by, (B, Cin), from stylecodes (B, w_dim).

        The factors of the first convolution's input go the same way through the transform.
        """
        return (self.up(w).unflatten(1, (4, -1)) * self.affine1(w)[:, None]).flatten(1)

    def forward(self, x: Tensor, inner: Tensor, outer: Tensor) -> Tensor:
        """Map features multiplied by `input_factors`, (B, Cin, H, W), to (B, Cout, 2H, 2W).

        Args:
            inner: (B, Cout) `affine2`'s factors.
            outer: (B, Cout) factors of the next layer's input, which multiply the result.
        """
        return self.conv2(self.conv1(ops.inverse_haar(x), inner), outer)


class Head(nn.Module):
    """1x1 convolution to the wavelet bands of an RGB image."""

    def __init__(self, in_channels: int, w_dim: int) -> None:
        super().__init__()
        self.affine = Affine(w_dim, in_channels, 0.5 / math.sqrt(in_channels))
        self.weight = nn.Parameter(torch.randn(12, in_channels))
        self.bias = nn.Parameter(torch.zeros(12))

    def forward(self, x: Tensor, bands: int = 4) -> Tensor:
        """Map features multiplied by `affine`'s factors to halves of the first bands.

        Args:
            x: (B, C, H, W).

        Returns:
            (B, 3 bands, H, W) float32.
        """
        channels = 3 * bands
        return ops.pointwise(x, self.weight[:channels], 0.5 * self.bias[:channels]).float()
