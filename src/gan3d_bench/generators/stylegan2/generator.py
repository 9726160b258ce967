"""The generator: mapping network, and synthesis network with skip connections to RGB."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

import torch
from torch import Tensor, nn

from gan3d_bench.errors import UserError
from gan3d_bench.generators import base
from gan3d_bench.generators.stylegan2 import ops
from gan3d_bench.generators.stylegan2.layers import Linear, StyledConv, ToRGB

Noise = Literal["const", "random", "none"] | torch.Generator | Sequence[Tensor]
"""Where noise maps come from: the network's buffers, PyTorch's global random state, nowhere, a
random generator, or explicit maps (`Synthesis.noise_sizes` gives their sides)."""


def channel_table(image_size: int, channel_base: int, channel_max: int = 512) -> dict[int, int]:
    """Return resolution -> channels by the rule min(channel_base // resolution, channel_max).

    16384 and 32768 with maximum 512 are the official tables.
    """
    return {size: min(channel_base // size, channel_max) for size in resolutions(image_size)}


def resolutions(image_size: int) -> list[int]:
    """Return 4, 8, ..., `image_size`.

    Raises:
        UserError: `image_size` is not a power of two of at least 8.
    """
    if image_size < 8 or image_size & (image_size - 1):
        raise UserError(f"image_size={image_size}: expected a power of two of at least 8")
    return [2**k for k in range(2, int(math.log2(image_size)) + 1)]


def head_channels() -> dict[int, int]:
    """Return the channels of the 64-pixel head teacher."""
    return {4: 128, 8: 192, 16: 128, 32: 64, 64: 32}


@dataclass(frozen=True)
class GeneratorConfig:
    """Architecture of a generator.

    Attributes:
        image_size: side of the images, a power of two.
        z_dim, w_dim: sizes of latents and stylecodes.
        mapping_layers: fully connected layers of the mapping network.
        channels: resolution -> channels of the features.
        conv_clamp: limit of the activations (256 in networks trained in float16), None for none.
    """

    image_size: int = 64
    z_dim: int = 256
    w_dim: int = 256
    mapping_layers: int = 8
    channels: dict[int, int] = field(default_factory=head_channels)
    conv_clamp: float | None = None


class Mapping(nn.Module):
    """z -> w: normalisation, then fully connected layers with learning rate x 0.01."""

    def __init__(self, z_dim: int, w_dim: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Linear(z_dim if i == 0 else w_dim, w_dim, lr_mul=0.01, activation=True)
            for i in range(layers)
        )

    def forward(self, z: Tensor) -> Tensor:
        """Map latents (B, z_dim) to stylecodes (B, w_dim), in float32 under autocast too."""
        with torch.autocast(z.device.type, enabled=False):
            w = normalize_latent(z.float())
            for layer in self.layers:
                w = layer(w)
            return w


def normalize_latent(z: Tensor) -> Tensor:
    """Return z (..., z_dim) divided by its root mean square."""
    return z * torch.rsqrt(z.square().mean(-1, keepdim=True) + ops.EPSILON)


class SynthesisBlock(nn.Module):
    """Features and RGB of one resolution. The block of 4x4 has one convolution, others two."""

    conv0: StyledConv | None
    conv1: StyledConv
    to_rgb: ToRGB

    def __init__(self, config: GeneratorConfig, size: int) -> None:
        super().__init__()
        channels, clamp = config.channels[size], config.conv_clamp
        self.conv0 = (
            None
            if size == 4
            else StyledConv(
                config.channels[size // 2], channels, config.w_dim, size, up=True, clamp=clamp
            )
        )
        self.conv1 = StyledConv(channels, channels, config.w_dim, size, clamp=clamp)
        self.to_rgb = ToRGB(channels, config.w_dim, clamp)


class Synthesis(nn.Module):
    """w -> image. Blocks are keyed by resolution."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        sizes = resolutions(config.image_size)
        self.num_ws = 2 * len(sizes)
        self.image_size = config.image_size
        self.constant = nn.Parameter(torch.randn(config.channels[4], 4, 4))
        self.blocks = nn.ModuleDict({str(size): SynthesisBlock(config, size) for size in sizes})

    @property
    def stages(self) -> list[SynthesisBlock]:
        """The blocks from 4x4 upwards."""
        return cast("list[SynthesisBlock]", list(self.blocks.values()))

    @property
    def convs(self) -> list[StyledConv]:
        """The styled convolutions in order; the i-th takes stylecode i."""
        pairs = [(block.conv0, block.conv1) for block in self.stages]
        return [conv for pair in pairs for conv in pair if conv is not None]

    @property
    def noise_sizes(self) -> list[int]:
        """Sides of the noise maps in order."""
        return [conv.noise.shape[-1] for conv in self.convs]

    def forward(self, w: Tensor, noise: Noise = "const") -> Tensor:
        """Synthesise images.

        Args:
            w: (B, w_dim), used by every layer, or (B, num_ws, w_dim).
            noise: see `Noise`; explicit maps broadcast to (B, 1, s, s).

        Returns:
            (B, 3, image_size, image_size), nominally in [-1, 1], not clamped.
        """
        return self.run(w, noise)[-1][1]

    def run(self, w: Tensor, noise: Noise = "const") -> list[tuple[Tensor, Tensor]]:
        """Return per resolution the features (B, C, R, R) and the RGB image so far (B, 3, R, R)."""
        ws = [w] * self.num_ws if w.ndim == 2 else w.unbind(1)
        maps = iter(self.noise_maps(len(w), noise))
        x = self.constant.expand(len(w), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        outputs: list[tuple[Tensor, Tensor]] = []
        index = 0
        for block in self.stages:
            if block.conv0 is not None:
                x = block.conv0(x, ws[index], next(maps))
                index += 1
            # between a block's convolutions features are nobody else's
            x = block.conv1(x, ws[index], next(maps), overwrite=block.conv0 is not None)
            index += 1
            # the next block's first convolution takes the same stylecode
            rgb = block.to_rgb(x, ws[index])
            if outputs:
                rgb = ops.upsample(outputs[-1][1]) + rgb
            outputs.append((x, rgb))
        return outputs

    def noise_maps(self, batch: int, noise: Noise) -> list[Tensor] | list[None]:
        """Return the maps `noise` stands for, each broadcastable to (batch, 1, s, s)."""
        convs = self.convs
        if isinstance(noise, torch.Generator):
            return [
                torch.randn(batch, 1, size, size, generator=noise, device=noise.device).to(
                    self.constant.device
                )
                for size in self.noise_sizes
            ]
        if not isinstance(noise, str):
            if len(noise) != len(convs):
                raise UserError(f"noise: {len(noise)} maps given, expected {len(convs)}")
            return list(noise)
        if noise == "const":
            return [conv.noise for conv in convs]
        if noise == "random":
            return [
                torch.randn(batch, 1, size, size, device=self.constant.device)
                for size in self.noise_sizes
            ]
        if noise == "none":
            return [None] * len(convs)
        raise UserError(f"noise={noise!r}: expected const, random or none")


class Generator(base.Generator):
    """StyleGAN2 generator.

    `num_ws` is 2 log2(image_size) - 2; `w_mean` is a moving average during training.

    Raises:
        UserError: the config's channels do not fit its image size.
    """

    mapping: Mapping
    synthesis: Synthesis

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        config = config or GeneratorConfig()
        super().__init__(config.z_dim, config.w_dim)
        self.config = config
        if sorted(config.channels) != resolutions(config.image_size):
            raise UserError(
                f"channels={config.channels}: expected one entry for each of "
                f"{resolutions(config.image_size)}"
            )
        self.mapping = Mapping(config.z_dim, config.w_dim, config.mapping_layers)
        self.synthesis = Synthesis(config)

    @property
    def feature_channels(self) -> int:
        """Of the highest resolution."""
        return self.config.channels[self.image_size]

    def style_weights(self) -> list[Tensor]:
        """As the released code of SeFa: of the first ToRGB layer, too, but of no other."""
        layers = [*self.synthesis.convs, self.synthesis.stages[0].to_rgb]
        return [layer.affine.weight for layer in layers]

    def forward(
        self, z: Tensor, psi: float = 1.0, cutoff: int | None = None, noise: Noise = "const"
    ) -> Tensor:
        """Return images (B, 3, S, S) of latents z (B, z_dim), truncated by `psi`."""
        return self.synthesis(self.truncate(self.mapping(z), psi, cutoff), noise)

    def image_and_features(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """See `base.Generator`: features after the last styled convolution, noise and activation.

        Under autocast features have its type; images are float32. Noise is that of the buffers.
        """
        features, images = self.synthesis.run(w)[-1]
        return images, features

    def features(self, w: Tensor, sizes: Sequence[int], noise: Noise = "const") -> list[Tensor]:
        """Return the features (B, C, R, R) after the last convolution of each resolution R.

        Args:
            w: (B, w_dim) or (B, num_ws, w_dim).
            sizes: resolutions R.
        """
        outputs = {x.shape[-1]: x for x, _ in self.synthesis.run(w, noise)}
        return [outputs[size] for size in sizes]
