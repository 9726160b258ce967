"""Wavelet transform, depthwise convolution and modulated activation, lean in memory traffic.

On a CPU, once matrix products run at full speed, the rest of this network is bound by memory. So
features lie channels last, in which depthwise convolutions take a third of the time, and operations
on single elements that follow one another run piece by piece, in the cache. On a GPU all is one
piece.

The four wavelet bands of 4C channels are grouped by band: low-pass, then those whose sign changes
along height, along width, along both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight

leaky_relu_backward = torch.ops.aten.leaky_relu_backward.grad_input

SLOPE = 0.2
"""Negative slope of every leaky ReLU. No gain follows it."""

PIECE = 1 << 18
"""Elements that fit a CPU core's cache together with those computed from them."""


def inverse_haar(x: Tensor) -> Tensor:
    """Inverse Haar transform without its factor 1/2: (B, 4C, H, W) by band -> (B, C, 2H, 2W).

    The mean over each 2x2 block of the output is the low-pass band.
    """
    return cast(Tensor, _InverseHaar.apply(x))


def haar(x: Tensor) -> Tensor:
    """The transpose of `inverse_haar`: (B, C, 2H, 2W) -> (B, 4C, H, W)."""
    return cast(Tensor, _Haar.apply(x))


def sum_bands(x: Tensor) -> Tensor:
    """Sum four bands, (B, 4C, H, W) -> (B, C, H, W)."""
    x = x.permute(0, 2, 3, 1)
    for _ in range(2):  # tensors' own `sum` is slow along an axis in the middle
        first, second = x.chunk(2, dim=3)
        x = first + second
    return x.permute(0, 3, 1, 2)


def depthwise(x: Tensor, kernels: Tensor) -> Tensor:
    """Convolve each channel of `x` (B, C, H, W) with its kernel (C, 1, k, k), k odd, zero padding.

    Computed in the type of `x`, under autocast too.
    """
    return cast(Tensor, _Depthwise.apply(x, kernels.to(x.dtype)))


def pointwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """1x1 convolution: (B, Cin, H, W), weight (Cout, Cin), bias (Cout,) -> (B, Cout, H, W)."""
    return F.linear(x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)


def activate(x: Tensor, noise: Tensor, factors: Tensor) -> Tensor:
    """Return ``leaky_relu(x + noise) * factors``, differentiable once.

    Args:
        x: (B, C, H, W).
        noise: (H, W); has no gradient.
        factors: (B, C), what modulates the next layer.
    """
    return cast(Tensor, _Activate.apply(x, noise, factors))


class _InverseHaar(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = _channels_last(x)
        batch, height, width, channels = x.shape
        channels //= 4
        out = x.new_empty(batch, height, 2, width, 2, channels)
        for piece in _pieces(x):
            bands = x[piece]
            across = bands.new_empty(*bands.shape[:3], 2, 2 * channels)
            _butterfly(bands.split(2 * channels, 3), across.unbind(3))
            _butterfly(across.split(channels, 4), out[piece].unbind(2))
        return out.view(batch, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Any:
        return haar(grad[0])


class _Haar(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = _channels_last(x)
        batch, height, width, channels = x.shape
        height, width = height // 2, width // 2
        blocks = x.view(batch, height, 2, width, 2, channels)
        out = x.new_empty(batch, height, width, 4 * channels)
        for piece in _pieces(out):
            bands = out[piece]
            across = bands.new_empty(*bands.shape[:3], 2, 2 * channels)
            _butterfly(blocks[piece].unbind(2), across.split(channels, 4))
            _butterfly(across.unbind(3), bands.split(2 * channels, 3))
        return out.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Any:
        return inverse_haar(grad[0])


class _Depthwise(torch.autograd.Function):
    """PyTorch's own gradient takes twice as long, and keeps an input no frozen kernel needs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor) -> Tensor:
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, kernels)
        return F.conv2d(x, kernels, padding=kernels.shape[-1] // 2, groups=len(kernels))

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Any:
        x, kernels = ctx.saved_tensors
        to_x = depthwise(grad[0], kernels.flip(2, 3)) if ctx.needs_input_grad[0] else None
        if x is None:
            return to_x, None
        padding, groups = kernels.shape[-1] // 2, len(kernels)
        return to_x, conv2d_weight(x, list(kernels.shape), grad[0], padding=padding, groups=groups)


class _Activate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, noise: Tensor, factors: Tensor) -> Tensor:
        x = _channels_last(x)
        noise, factors = noise[None, :, :, None].to(x.dtype), factors[:, None, None].to(x.dtype)
        ctx.save_for_backward(x, noise, factors)
        out = torch.empty_like(x)
        for samples, rows in _pieces(x):
            part = torch.add(x[samples, rows], noise[:, rows], out=out[samples, rows])
            F.leaky_relu_(part, SLOPE).mul_(factors[samples])
        return out.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, noise, factors = ctx.saved_tensors
        grad, out = _channels_last(grads[0]), torch.empty_like(x)
        precise = torch.promote_types(x.dtype, torch.float32)
        to_factors = torch.zeros(len(x), x.shape[3], dtype=precise, device=x.device)
        for samples, rows in _pieces(x):
            values, part = x[samples, rows] + noise[:, rows], out[samples, rows]
            leaky_relu_backward(grad[samples, rows], values, SLOPE, False, grad_input=part)
            # the leaky ReLU is its slope times its input, so this is grad times its output
            to_factors[samples] += values.mul_(part).sum((1, 2), dtype=precise)
            part.mul_(factors[samples])
        return out.permute(0, 3, 1, 2), None, to_factors


def _channels_last(x: Tensor) -> Tensor:
    """Return (B, H, W, C), contiguous."""
    return x.permute(0, 2, 3, 1).contiguous()


def _pieces(x: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield samples and rows of `x` (B, H, W, C) that are to be worked on together."""
    batch, height = x.shape[:2]
    if x.device.type != "cpu" or x.numel() <= PIECE:
        yield slice(0, batch), slice(0, height)
        return
    row = x[0, 0].numel()
    rows = max(1, PIECE * torch.get_num_threads() // row)
    for sample in range(batch):
        for start in range(0, height, rows):
            yield slice(sample, sample + 1), slice(start, start + rows)


def _butterfly(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> None:
    """Write sum and difference of two tensors to where they belong."""
    torch.add(*inputs, out=outputs[0])
    torch.sub(*inputs, out=outputs[1])
