"""MobileStyleGAN: StyleGAN2's mapping network and a synthesis network of wavelets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gan3d_bench.errors import UserError
from gan3d_bench.generators import base
from gan3d_bench.generators.mobilestylegan import ops
from gan3d_bench.generators.mobilestylegan.downsampled_block import DownsampledBlock
from gan3d_bench.generators.mobilestylegan.layers import Affine, Block, DenseConv, Head
from gan3d_bench.generators.stylegan2.generator import Mapping

REDUCTIONS = 5
"""How many image sizes there are, each half the one before."""


@dataclass(frozen=True)
class MobileStyleGANConfig:
    """Architecture; the defaults are the released network's.

    Attributes:
        z_dim, w_dim: sizes of latents and stylecodes.
        mapping_layers: fully connected layers of the mapping network.
        channels: of the features at 4, 8, 16 ... pixels; all but the last divisible by 4. Images
            are twice as large as the last features.

    Raises:
        ValueError: `channels` are too few or not divisible.
    """

    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    channels: tuple[int, ...] = (512, 512, 512, 512, 512, 256, 128, 64)

    def __post_init__(self) -> None:
        if len(self.channels) < 3 or any(c < 4 or c % 4 for c in self.channels[:-1]):
            raise ValueError(f"channels {self.channels}")

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return 4 << len(self.channels)


class Synthesis(nn.Module):
    """w -> image. See `MobileStyleGAN` for W+ and for smaller images."""

    def __init__(self, config: MobileStyleGANConfig) -> None:
        super().__init__()
        channels, w_dim = config.channels, config.w_dim
        self.full_size = self.image_size = config.image_size
        self.num_ws = 3 * (len(channels) - 1) + 2
        self.checkpointing = False
        self.constant = nn.Parameter(torch.randn(channels[0], 4, 4))
        self.affine = Affine(w_dim, channels[0], 1 / math.sqrt(9 * channels[0]))
        self.conv = DenseConv(channels[0], channels[0], 4)
        self.blocks = nn.ModuleList(
            Block(before, after, w_dim, 8 << i)
            for i, (before, after) in enumerate(pairwise(channels))
        )
        self.head = Head(channels[-1], w_dim)

    @property
    def stages(self) -> list[Block | DownsampledBlock]:
        """The blocks from 4 pixels upwards."""
        return list(cast("Iterable[Block | DownsampledBlock]", self.blocks))

    def forward(self, w: Tensor) -> Tensor:
        """Synthesise images.

        Args:
            w: (B, w_dim), used by every layer, or (B, num_ws, w_dim).

        Returns:
            (B, 3, image_size, image_size) float32, nominally in [-1, 1], not clamped.
        """
        ws = self._codes(w)
        return self._image(self._run(ws, self.head.affine(ws[-2])))

    def image_and_features(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Return images and the features of the last convolution; see `MobileStyleGAN`."""
        ws = self._codes(w)
        factors = self.head.affine(ws[-2])
        x = self._run(ws, torch.ones_like(factors))
        image = self._image(x * factors.to(x.dtype)[:, :, None, None])
        if x.shape[-1] < self.image_size:
            return image, F.interpolate(x, scale_factor=2.0)
        return image, self._reduced(x)

    def _codes(self, w: Tensor) -> Sequence[Tensor]:
        return [w] * self.num_ws if w.ndim == 2 else w.unbind(1)

    def _run(self, ws: Sequence[Tensor], outer: Tensor) -> Tensor:
        """Features (B, C, H, W) of the last convolution, multiplied by `outer` (B, C)."""
        inputs = [block.input_factors(ws[3 * i + 1]) for i, block in enumerate(self.stages)]
        inputs.append(outer)
        x = self.constant * self.affine(ws[0])[:, :, None, None]
        x = self.conv(x.contiguous(memory_format=torch.channels_last), inputs[0])
        for i, block in enumerate(self.stages):
            factors = block.affine2(ws[3 * i + 2]), inputs[i + 1]
            if self.checkpointing and torch.is_grad_enabled():
                x = cast(Tensor, checkpoint(block, x, *factors, use_reentrant=False))
            else:
                x = block(x, *factors)
        return x

    def _image(self, x: Tensor) -> Tensor:
        if self.image_size == self.full_size:
            return ops.inverse_haar(self.head(x)).contiguous()
        return self._reduced(self.head(x, bands=1).contiguous())

    def _reduced(self, x: Tensor) -> Tensor:
        """Area means of `x` at the images' size."""
        scale = x.shape[-1] // self.image_size
        return x if scale == 1 else F.avg_pool2d(x, scale)


class MobileStyleGAN(base.Generator):
    """MobileStyleGAN (Belousov 2021, arXiv:2104.04767), distilled from StyleGAN2.

    W is that of the StyleGAN2 it was distilled from. Noise is fixed: images are a function of w.

    W+ has the official layout: stylecode 0 for the first convolution; 3i + 1 for the transform and
    the first convolution of block i, 3i + 2 for its second one; 3i + 3 for an image at its size,
    of which the released network has only the last. So `num_ws` is 23, of which 16 act; the last
    one never does. This is not StyleGAN2's order: its codes do not fit.

    Mixed precision: under autocast convolutions, transforms and activations run in the reduced
    type; mapping network, affine layers, their gradients' sums over pixels, the image's bias and
    pooling stay float32. Nothing is clamped.

    Features lie in the wavelet domain: those that the head reads, before their modulation. Half
    the full size is theirs; at smaller ones they are area means, from which the head would make
    the same image; at the full size each is repeated 2x2.

    It cannot be run block by block: the factors of a block's input are multiplied into the output
    of the block before, and the last block alone makes an image. Its `blocks` is None.

    Source: bes-dev/MobileStyleGAN.pytorch, core/models/mobile_synthesis_network.py.
    """

    mapping: Mapping
    synthesis: Synthesis

    def __init__(self, config: MobileStyleGANConfig | None = None) -> None:
        config = config or MobileStyleGANConfig()
        super().__init__(config.z_dim, config.w_dim)
        self.config = config
        self.mapping = Mapping(config.z_dim, config.w_dim, config.mapping_layers)
        self.synthesis = Synthesis(config)

    @property
    def feature_channels(self) -> int:
        """Of the last convolution."""
        return self.config.channels[-1]

    @property
    def sizes(self) -> list[int]:
        """The sides of images it can make, the full one first."""
        return [self.synthesis.full_size >> k for k in range(REDUCTIONS)]

    @property
    def checkpointing(self) -> bool:
        """Whether the backward pass computes blocks again, instead of keeping their features."""
        return self.synthesis.checkpointing

    @checkpointing.setter
    def checkpointing(self, value: bool) -> None:
        self.synthesis.checkpointing = value

    def image_and_features(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """See `base.Generator`, and above."""
        return self.synthesis.image_and_features(w)

    def style_weights(self) -> list[Tensor]:
        """Of the 23 affine layers: the first convolution's, three a block, the head's."""
        synthesis = self.synthesis
        blocks = [(block.up, block.affine1, block.affine2) for block in synthesis.stages]
        layers = [synthesis.affine, *(layer for block in blocks for layer in block)]
        return [layer.weight for layer in [*layers, synthesis.head.affine]]

    def resize(self, image_size: int, exact: bool = False) -> MobileStyleGAN:
        """Make images of another size from now on.

        Half the full size is the image's low-pass band, the exact area mean of the full image and
        cheaper than it. Further down there are two ways, area means of that band, and a last block
        run at half its resolution, from which there is no way back. PSNR (peak 2) of the latter to
        the area means of the full image, 12 stylecodes, truncation 1, 0.7, 0.5 in equal parts
        (``perf/mobilestylegan.py``):

        ========  ==========  ==========
        pixels    mean, dB    worst, dB
        ========  ==========  ==========
        256       37.8        34.2
        128       38.8        34.6
        64        39.4        34.9
        ========  ==========  ==========

        Args:
            image_size: one of `sizes`.
            exact: take area means at all sizes.

        Returns:
            itself.

        Raises:
            UserError: another size; or exact or large images after the last block was replaced by a
                `DownsampledBlock`.
        """
        if image_size not in self.sizes:
            raise UserError(f"image_size={image_size}: expected one of {self.sizes}")
        synthesis = self.synthesis
        last = synthesis.stages[-1]
        downsampled = not exact and image_size <= synthesis.full_size // 4
        if isinstance(last, Block) and downsampled:
            synthesis.blocks[-1] = DownsampledBlock(last)
        elif isinstance(last, DownsampledBlock) and not downsampled:
            raise UserError(f"image_size={image_size}: the last block runs at half its resolution")
        synthesis.image_size = image_size
        return self
