"""A block that gives the 2x2 means of another one's output at a quarter of its cost."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan3d_bench.generators.mobilestylegan import ops
from gan3d_bench.generators.mobilestylegan.layers import Block

SMOOTH, CHANGING = (1.0, 1.0), (1.0, -1.0)
BANDS = ((SMOOTH, SMOOTH), (CHANGING, SMOOTH), (SMOOTH, CHANGING), (CHANGING, CHANGING))
"""Signs of each wavelet band in a 2x2 block, along height and along width."""

Signs = tuple[float, float]


def downsample_kernels(kernels: Tensor, along_height: Signs, along_width: Signs) -> Tensor:
    """Return depthwise kernels for half the resolution, (C, 1, 3, 3).

    Each sample stands for a 2x2 block, the sample times the block's signs. Filtering these blocks
    and taking the mean of each block again is one filter.

    Args:
        kernels: (C, 1, 3, 3) for the full resolution.
        along_height, along_width: signs of the first and second element of a block.
    """
    return (
        _downsampling_matrix(along_height).to(kernels)
        @ kernels
        @ _downsampling_matrix(along_width).to(kernels).T
    )


def _downsampling_matrix(signs: Signs) -> Tensor:
    """Matrix from fine taps to coarse ones, along one axis, offsets -1, 0, 1 of both."""
    first, second = signs
    return 0.5 * torch.tensor(
        [[second, 0.0, 0.0], [first, first + second, second], [0.0, 0.0, first]]
    )


class DownsampledBlock(nn.Module):
    """Stands for a `Block`, without doubling: (B, Cin, H, W) -> (B, Cout, H, W).

    Exact but for two things: means of a leaky ReLU are taken for the leaky ReLU of means, and the
    second convolution sees nothing finer than its output.

    Args:
        block: gives its layers away.

    Source: our own; `downsample_kernels` says why it is the mean of the finer block's output.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.up, self.affine1, self.affine2 = block.up, block.affine1, block.affine2
        self.conv1, self.conv2 = block.conv1, block.conv2
        kernels = block.conv1.depthwise.detach()
        self.conv1.depthwise = nn.Parameter(
            torch.cat([downsample_kernels(kernels, *signs) for signs in BANDS])
        )
        kernels = block.conv2.depthwise.detach()
        self.conv2.depthwise = nn.Parameter(downsample_kernels(kernels, SMOOTH, SMOOTH))
        for conv in (self.conv1, self.conv2):
            conv.noise = F.avg_pool2d(conv.noise[None], 2)[0]
            conv.depthwise.requires_grad_(conv.pointwise.requires_grad)

    input_factors = Block.input_factors

    def forward(self, x: Tensor, inner: Tensor, outer: Tensor) -> Tensor:
        """Map (B, Cin, H, W) to (B, Cout, H, W); see `Block`."""
        x = ops.sum_bands(ops.depthwise(x, self.conv1.depthwise))
        return self.conv2(self.conv1.mix(x, inner), outer)
