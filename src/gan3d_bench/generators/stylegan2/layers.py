"""Layers with equalised learning rate, shared by generator and discriminator."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan3d_bench.generators.stylegan2 import ops


def filters(out_channels: int, in_channels: int, size: int, transposed: bool = False) -> Tensor:
    """Draw convolution weights N(0, 1), (out, in, size, size), laid out as convolutions read them.

    Channels last, of the weight itself or, if it serves a transposed convolution, of its
    transpose: otherwise each call would reorder them.
    """
    weight = torch.randn(out_channels, in_channels, size, size)
    if transposed:
        return weight.transpose(0, 1).contiguous(memory_format=torch.channels_last).transpose(0, 1)
    return weight.contiguous(memory_format=torch.channels_last)


class Linear(nn.Module):
    """Fully connected layer: stored weights N(0, 1) / `lr_mul`, scaled at run time.

    Args:
        in_features, out_features: sizes.
        bias: initial value of the bias.
        lr_mul: learning-rate multiplier of weight and bias (0.01 in the mapping network).
        activation: leaky ReLU with gain sqrt(2) on the output.
        gain: factor on the output.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: float = 0.0,
        lr_mul: float = 1.0,
        activation: bool = False,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_mul)
        self.bias = nn.Parameter(torch.full((out_features,), bias))
        self.activation = activation
        gain = gain * ops.GAIN if activation else gain
        self.weight_gain = gain * lr_mul / math.sqrt(in_features)
        self.bias_gain = gain * lr_mul

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.t()
        x = torch.addmm(self.bias, x, weight, beta=self.bias_gain, alpha=self.weight_gain)
        return ops.activate(x) if self.activation else x


class Conv2d(nn.Module):
    """Convolution with equalised learning rate, optional blur and stride 2, bias and activation.

    Args:
        in_channels, out_channels, kernel_size: sizes; the output keeps the input's size.
        down: halve the size: blur, then stride 2.
        activation: bias and leaky ReLU with gain sqrt(2); without it there is no bias either.
        clamp: limit of the activations, None for no limit.
    """

    kernel: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        down: bool = False,
        activation: bool = True,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(filters(out_channels, in_channels, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if activation else None
        self.down = down
        self.clamp = clamp
        self.gain = ops.GAIN if activation else 1.0
        self.weight_gain = self.gain / math.sqrt(in_channels * kernel_size**2)
        self.register_buffer("kernel", ops.binomial_kernel(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        size = self.weight.shape[-1]
        weight = self.weight * self.weight_gain
        bias = None if self.bias is None else self.bias * self.gain
        if not self.down:
            x = F.conv2d(x, weight, bias, padding=size // 2)
        elif size == 1:
            # decimating first gives the same and filters a quarter of the pixels
            x = F.conv2d(ops.blur(x, self.kernel, padding=1, stride=2), weight, bias)
        else:
            x = F.conv2d(ops.blur(x, self.kernel, padding=2), weight, bias, stride=2)
        return x if bias is None else ops.activate(x, self.clamp)


class StyledConv(nn.Module):
    """Modulated and demodulated 3x3 convolution, noise, bias, activation.

    Args:
        in_channels, out_channels, w_dim: sizes.
        image_size: side of the output; the noise map has it.
        up: double the size.
        clamp: limit of the activations, None for no limit.

    Source: Karras et al. 2020, section 2 and figure 2d.
    """

    noise: Tensor
    kernel: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        image_size: int,
        up: bool = False,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(filters(out_channels, in_channels, 3, transposed=up))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        # the gain of `weight` is applied to the styles
        self.affine = Linear(w_dim, in_channels, bias=1.0, gain=1.0 / math.sqrt(in_channels * 9))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.clamp = clamp
        self.up = up
        self.register_buffer("noise", torch.randn(image_size, image_size))
        self.register_buffer("kernel", ops.binomial_kernel(gain=4.0), persistent=False)

    def forward(
        self, x: Tensor, w: Tensor, noise: Tensor | None, overwrite: bool = False
    ) -> Tensor:
        """Map features (B, Cin, H, W) and stylecodes (B, w_dim) to (B, Cout, H', W').

        Args:
            noise: broadcastable to (B, 1, H', W'); None adds none.
            overwrite: nobody else needs `x`; without gradients, its memory is used again.
        """
        # styles stay in float32: they are small, and their rounding would move the whole image
        with ops.full_precision(x.device):
            styles = self.affine(w.float())
            scale = ops.demodulation(self.weight, styles) * ops.GAIN
            shift = (self.bias * ops.GAIN).view(1, 1, 1, -1)
            if noise is not None:
                maps = noise.reshape(-1, *noise.shape[-2:], 1)
                shift = torch.addcmul(shift, maps, self.noise_strength, value=ops.GAIN)
            shift = shift.to(x.dtype)
        kernel = self.kernel if self.up else None
        x = ops.modulated_conv2d(x, self.weight, styles, kernel, overwrite)
        x = ops.scale_channels(x, scale, overwrite=True)
        # added in place, which spares memory and forbids no gradient
        return ops.activate(x.add_(shift.permute(0, 3, 1, 2)), self.clamp)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to the image, without demodulation, noise or activation.

    Args:
        in_channels, w_dim: sizes.
        clamp: limit of the output, None for no limit.
        image_channels: C of the image; 3 for RGB.
    """

    def __init__(
        self, in_channels: int, w_dim: int, clamp: float | None = None, image_channels: int = 3
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(image_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(image_channels))
        self.affine = Linear(w_dim, in_channels, bias=1.0, gain=1.0 / math.sqrt(in_channels))
        self.clamp = clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Map features (B, Cin, H, W) and stylecodes (B, w_dim) to a float32 image (B, C, H, W)."""
        with ops.full_precision(x.device):
            styles = self.affine(w.float())
        rgb = ops.modulated_pointwise(x, self.weight.flatten(1), styles)
        rgb = rgb.float() + self.bias.view(-1, 1, 1)
        return rgb if self.clamp is None else rgb.clamp(-self.clamp, self.clamp)
