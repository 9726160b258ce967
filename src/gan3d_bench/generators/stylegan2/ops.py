"""FIR resampling and modulated convolution with ordinary PyTorch operators.

Everything is differentiable to any order, runs under autocast, and keeps its input's memory format,
which in both networks is channels last: the fastest on CPUs and in reduced precision.
Parity: vectors ``upfirdn2d``, ``stylegan2_rosinality``, ``stylegan2_nvidia``.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

SLOPE = 0.2
"""Negative slope of every leaky ReLU."""

GAIN = math.sqrt(2.0)
"""Gain after every leaky ReLU, which keeps the variance of its input."""

EPSILON = 1e-8


def binomial_kernel(gain: float = 1.0) -> Tensor:
    """Return the (4, 4) kernel outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64 times `gain`."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(taps, taps) * (gain / 64.0)


def upfirdn2d(
    x: Tensor,
    kernel: Tensor,
    up: int | tuple[int, int] = 1,
    down: int | tuple[int, int] = 1,
    pad: tuple[int, int, int, int] = (0, 0, 0, 0),
    gain: float = 1.0,
    flip: bool = False,
) -> Tensor:
    """Upsample by zero insertion, pad, convolve, and keep every `down`-th sample.

    Args:
        x: (B, C, H, W).
        kernel: (kh, kw), or (k,) applied along both axes.
        up: factor, or (x, y) factors; a block of zeros follows every sample, the last included.
        down: factor, or (x, y) factors; sampling starts at index 0.
        pad: (left, right, top, bottom) in upsampled pixels; negative values crop.
        gain: factor on the result.
        flip: False convolves (the kernel is mirrored), True correlates.

    Returns:
        (B, C, (H up + top + bottom - kh) // down + 1, likewise for W).
    """
    if kernel.ndim == 1:
        (up_x, up_y), (down_x, down_y) = _pair(up), _pair(down)
        across = upfirdn2d(
            x, kernel[None], (up_x, 1), (down_x, 1), (pad[0], pad[1], 0, 0), gain, flip
        )
        return upfirdn2d(
            across, kernel[:, None], (1, up_y), (1, down_y), (0, 0, pad[2], pad[3]), 1.0, flip
        )
    (up_x, up_y), (down_x, down_y) = _pair(up), _pair(down)
    channels = x.shape[1]
    if up_x > 1 or up_y > 1:
        batch, _, height, width = x.shape
        x = F.pad(x[:, :, :, None, :, None], (0, up_x - 1, 0, 0, 0, up_y - 1))
        x = x.reshape(batch, channels, height * up_y, width * up_x)
    x = F.pad(x, pad)
    kernel = kernel if flip else kernel.flip((0, 1))
    weight = (kernel * gain).to(x.dtype).expand(channels, 1, *kernel.shape)
    return F.conv2d(x, weight, stride=(down_y, down_x), groups=channels)


def blur(x: Tensor, kernel: Tensor, padding: int, stride: int = 1) -> Tensor:
    """Filter each channel of `x` (B, C, H, W) with a symmetric `kernel` (kh, kw).

    The fast path of `upfirdn2d` for equal padding on all sides: one depthwise convolution.
    """
    channels = x.shape[1]
    weight = kernel.expand(channels, 1, *kernel.shape)
    if stride > 1 and x.device.type == "cpu" and x.dtype == torch.bfloat16:
        # the gradient of a strided depthwise convolution takes ten times as long in bfloat16
        with full_precision(x.device):
            out = F.conv2d(x.float(), weight, stride=stride, padding=padding, groups=channels)
        return out.to(x.dtype)
    return F.conv2d(x, weight.to(x.dtype), stride=stride, padding=padding, groups=channels)


def upsample(x: Tensor) -> Tensor:
    """Double the size of `x` (B, C, H, W) with the binomial kernel.

    Equal to ``upfirdn2d(x, binomial_kernel(4.0), up=2, pad=(2, 1, 2, 1))``: along either axis, the
    two new samples of each old one lie a quarter of the way to its neighbours.
    """
    return _double(_double(F.pad(x, (1, 1, 1, 1)), 2), 3)


def _double(x: Tensor, dim: int) -> Tensor:
    """Interpolate n + 2 samples along `dim` to 2n."""
    before, here, after = (x.narrow(dim, start, x.shape[dim] - 2) for start in range(3))
    pairs = torch.stack((here.lerp(before, 0.25), here.lerp(after, 0.25)), dim + 1)
    return pairs.flatten(dim, dim + 1)


def demodulation(weight: Tensor, styles: Tensor) -> Tensor:
    """Return the factor that gives every output channel unit variance, (B, Cout).

    Args:
        weight: (Cout, Cin, k, k).
        styles: (B, Cin), the factors on the input channels, runtime weight gain included.

    Source: Karras et al. 2020, eq. 3.
    """
    if weight.stride(0) < weight.stride(1):  # of a transposed convolution: in order of memory
        energy = weight.transpose(0, 1).square().sum(dim=(2, 3))
    else:
        energy = weight.square().sum(dim=(2, 3)).t()
    return torch.rsqrt(styles.square() @ energy + EPSILON)


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    up_kernel: Tensor | None = None,
    overwrite: bool = False,
) -> Tensor:
    """Convolve each sample with `weight` scaled by its own `styles`, without demodulation.

    Scaling the activations instead of the weight lets one ordinary convolution serve the whole
    batch, which on a CPU is several times faster than a grouped one.

    Args:
        x: (B, Cin, H, W).
        weight: (Cout, Cin, k, k).
        styles: (B, Cin).
        up_kernel: (4, 4) with gain 4 doubles the size: transposed convolution, then blur.
        overwrite: see `scale_channels`.

    Returns:
        (B, Cout, H, W), or (B, Cout, 2H, 2W) with `up_kernel`.
    """
    x = scale_channels(x, styles, overwrite)
    if up_kernel is None:
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    return blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), up_kernel, padding=1)


def scale_channels(x: Tensor, factors: Tensor, overwrite: bool = False) -> Tensor:
    """Multiply each channel of each sample of `x` (B, C, H, W) by its factor (B, C).

    Args:
        overwrite: nothing else reads `x`: without gradients the result takes its memory, which is
            still in the cache, where new memory is not.
    """
    factors = factors.to(x.dtype).view(*factors.shape, 1, 1)
    overwrite &= not (torch.is_grad_enabled() and (x.requires_grad or factors.requires_grad))
    return torch.mul(x, factors, out=x if overwrite else None)


def modulated_pointwise(x: Tensor, weight: Tensor, styles: Tensor) -> Tensor:
    """1x1 modulated convolution to few channels, without demodulation.

    Args:
        x: (B, Cin, H, W).
        weight: (Cout, Cin).
        styles: (B, Cin).

    Returns:
        (B, Cout, H, W).
    """
    weights = (weight * styles.unsqueeze(1)).to(x.dtype)
    return torch.bmm(weights, x.flatten(2)).view(len(x), -1, *x.shape[2:])


def full_precision(device: torch.device) -> AbstractContextManager:
    """Return a context in which autocast is off on `device`."""
    # entering autocast costs as much as several small operations
    active = torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if active else nullcontext()


def activate(x: Tensor, clamp: float | None = None) -> Tensor:
    """Leaky ReLU in place, then clamp to +-`clamp`. Its gain is applied before it by the caller,
    which is the same for a positively homogeneous function and saves a pass over the image."""
    x = F.leaky_relu(x, SLOPE, inplace=True)
    return x if clamp is None else x.clamp(-clamp, clamp)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value
