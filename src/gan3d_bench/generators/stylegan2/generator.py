"""The generator: mapping network, and synthesis network with skip connections to RGB."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, cast

import torch
from torch import Tensor, nn

from gan3d_bench.errors import UserError
from gan3d_bench.generators import base
from gan3d_bench.generators.base import BlockState, require_labels
from gan3d_bench.generators.stylegan2 import ops
from gan3d_bench.generators.stylegan2.layers import Linear, StyledConv, ToRGB

Noise = Literal["const", "random", "none"] | torch.Generator | Sequence[Tensor]
"""Where noise maps come from: the network's buffers, PyTorch's global random state, nowhere, a
random generator, or explicit maps (`Synthesis.noise_sizes` gives their sides), one for each
styled convolution, that broadcast to (B, 1, side, side)."""


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
        image_channels: channels of the images; 3 for RGB.
        label_dim: size of the labels that stylecodes depend on; 0 for none.
    """

    image_size: int = 64
    z_dim: int = 256
    w_dim: int = 256
    mapping_layers: int = 8
    channels: dict[int, int] = field(default_factory=head_channels)
    conv_clamp: float | None = None
    image_channels: int = 3
    label_dim: int = 0


class Mapping(nn.Module):
    """z -> w: normalisation, then fully connected layers with learning rate x 0.01.

    Labels, if it takes any, are embedded by a linear layer to w_dim numbers, normalised as z is,
    and follow z.

    Args:
        z_dim: size of the latents; 0 for none, as in a discriminator that maps labels alone.
        w_dim: size of the stylecodes and of the embedded labels.
        layers: fully connected ones.
        label_dim: size of the labels; 0 for none.

    Source: class MappingNetwork of NVlabs/stylegan2-ada-pytorch, training/networks.py.
    """

    def __init__(self, z_dim: int, w_dim: int, layers: int, label_dim: int = 0) -> None:
        super().__init__()
        self.label_dim = label_dim
        self.embed = Linear(label_dim, w_dim) if label_dim else None
        inputs = z_dim + (w_dim if label_dim else 0)
        self.layers = nn.ModuleList(
            Linear(inputs if i == 0 else w_dim, w_dim, lr_mul=0.01, activation=True)
            for i in range(layers)
        )

    def forward(self, z: Tensor | None, labels: Tensor | None = None) -> Tensor:
        """Map latents and labels to stylecodes (B, w_dim), in float32 under autocast too.

        Args:
            z: (B, z_dim); None if z_dim is 0.
            labels: (B, label_dim), of any dtype; None if label_dim is 0.

        Raises:
            UserError: labels missing, of another shape, or not taken.
        """
        require_labels(labels, self.label_dim, None if z is None else len(z))
        given = [x for x in (z, labels) if x is not None]
        with torch.autocast(given[0].device.type, enabled=False):
            parts = [] if z is None else [normalize_latent(z.float())]
            if self.embed is not None and labels is not None:
                parts.append(normalize_latent(self.embed(labels.float())))
            w = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
            for layer in self.layers:
                w = layer(w)
            return w


def normalize_latent(z: Tensor) -> Tensor:
    """Return z (..., z_dim) divided by its root mean square."""
    return z * torch.rsqrt(z.square().mean(-1, keepdim=True) + ops.EPSILON)


class SynthesisBlock(nn.Module):
    """Features and image of one resolution. The block of 4x4 has one convolution, others two.

    Source: class SynthesisBlock of NVlabs/stylegan2-ada-pytorch, training/networks.py, whose
    architecture is "skip".
    """

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
        self.to_rgb = ToRGB(channels, config.w_dim, clamp, config.image_channels)

    @property
    def convs(self) -> list[StyledConv]:
        """The styled convolutions in order; each takes a row of W+ and a noise map."""
        return [self.conv1] if self.conv0 is None else [self.conv0, self.conv1]

    def forward(self, state: BlockState, ws: Tensor, noise: Noise = "const") -> BlockState:
        """Go on to this resolution R.

        Args:
            state: that of the block before, or of `Synthesis.begin`. It is only read.
            ws: (B, rows, w_dim), a row for each of `convs` and the last one for the image.
            noise: see `Noise`; explicit maps are those of `convs`.

        Raises:
            UserError: another number of rows or of noise maps.
        """
        convs = self.convs
        if ws.ndim != 3 or ws.shape[1] != len(convs) + 1:
            raise UserError(f"ws: {tuple(ws.shape)}, expected (B, {len(convs) + 1}, w_dim)")
        return self.run(state, ws.unbind(1), noise_maps(convs, len(ws), noise))

    def run(
        self, state: BlockState, ws: Sequence[Tensor], maps: Sequence[Tensor | None]
    ) -> BlockState:
        """`forward`, of stylecodes (B, w_dim) one by one and resolved noise maps."""
        x = state.features
        for i, conv in enumerate(self.convs):
            # between a block's convolutions features are nobody else's
            x = conv(x, ws[i], maps[i], overwrite=i > 0)
        image = self.to_rgb(x, ws[-1])
        if state.image.numel():
            image = ops.upsample(state.image) + image
        return BlockState(x, image)


def noise_maps(
    convs: Sequence[StyledConv], batch: int, noise: Noise
) -> Sequence[Tensor] | Sequence[None]:
    """Return the maps `noise` stands for, one a convolution, that broadcast to (batch, 1, s, s).

    Raises:
        UserError: another number of maps, or an unknown word.
    """
    sizes = [conv.noise.shape[-1] for conv in convs]
    device = convs[0].noise.device
    if isinstance(noise, torch.Generator):
        return [
            torch.randn(batch, 1, size, size, generator=noise, device=noise.device).to(device)
            for size in sizes
        ]
    if not isinstance(noise, str):
        if len(noise) != len(convs):
            raise UserError(f"noise: {len(noise)} maps given, expected {len(convs)}")
        return noise
    if noise == "const":
        return [conv.noise for conv in convs]
    if noise == "random":
        return [torch.randn(batch, 1, size, size, device=device) for size in sizes]
    if noise == "none":
        return [None] * len(convs)
    raise UserError(f"noise={noise!r}: expected const, random or none")


class Synthesis(base.BlockwiseSynthesis):
    """w -> image. Blocks are keyed by resolution, and can be run one by one."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        sizes = resolutions(config.image_size)
        self.num_ws = 2 * len(sizes)
        self.image_size = config.image_size
        self.image_channels = config.image_channels
        self.constant = nn.Parameter(torch.randn(config.channels[4], 4, 4))
        self.blocks = nn.ModuleDict({str(size): SynthesisBlock(config, size) for size in sizes})

    @property
    def stages(self) -> list[SynthesisBlock]:
        """The blocks from 4x4 upwards."""
        return cast("list[SynthesisBlock]", list(self.blocks.values()))

    @property
    def convs(self) -> list[StyledConv]:
        """The styled convolutions in order; the i-th takes stylecode i."""
        return [conv for block in self.stages for conv in block.convs]

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
            (B, image_channels, image_size, image_size), nominally in [-1, 1], not clamped.
        """
        return self.run(w, noise)[-1].image

    def run(self, w: Tensor, noise: Noise = "const") -> list[BlockState]:
        """Return the state after each block, that is at each resolution."""
        ws = [w] * self.num_ws if w.ndim == 2 else w.unbind(1)
        maps = noise_maps(self.convs, len(w), noise)
        states = [self.begin(len(w))]
        for index, block in enumerate(self.stages):
            rows = self.ws_of(index)
            # a block's last row is the image's, which has no noise
            states.append(block.run(states[-1], ws[rows], maps[rows.start : rows.stop - 1]))
        return states[1:]

    def begin(self, batch: int) -> BlockState:
        """Return the constant input (batch, C, 4, 4), and an image without pixels."""
        x = self.constant.expand(batch, -1, -1, -1)
        return BlockState(
            x.contiguous(memory_format=torch.channels_last),
            x.new_empty(batch, self.image_channels, 0, 0, dtype=torch.float32),
        )

    def ws_of(self, index: int) -> slice:
        """Return the rows of W+ of a block: 0 and 1 of the first, 2i - 1 to 2i + 1 of block i.

        The last row of a block, the image's, is the first row of the next one.
        """
        index = range(len(self.blocks))[index]
        return slice(max(2 * index - 1, 0), 2 * index + 2)


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
        super().__init__(config.z_dim, config.w_dim, config.label_dim)
        self.config = config
        if sorted(config.channels) != resolutions(config.image_size):
            raise UserError(
                f"channels={config.channels}: expected one entry for each of "
                f"{resolutions(config.image_size)}"
            )
        self.mapping = Mapping(config.z_dim, config.w_dim, config.mapping_layers, config.label_dim)
        self.synthesis = Synthesis(config)

    @property
    def image_channels(self) -> int:
        return self.config.image_channels

    @property
    def feature_channels(self) -> int:
        """Of the highest resolution."""
        return self.config.channels[self.image_size]

    def style_weights(self) -> list[Tensor]:
        """As the released code of SeFa: of the first ToRGB layer, too, but of no other."""
        layers = [*self.synthesis.convs, self.synthesis.stages[0].to_rgb]
        return [layer.affine.weight for layer in layers]

    def forward(
        self,
        z: Tensor,
        psi: float = 1.0,
        cutoff: int | None = None,
        labels: Tensor | None = None,
        noise: Noise = "const",
    ) -> Tensor:
        """As `base.Generator`; `noise` is that of the synthesis network."""
        return self.synthesis(self.truncate(self.stylecodes(z, labels), psi, cutoff), noise)

    def image_and_features(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """See `base.Generator`: features after the last styled convolution, noise and activation.

        Under autocast features have its type; images are float32. Noise is that of the buffers.
        """
        state = self.synthesis.run(w)[-1]
        return state.image, state.features

    def features(self, w: Tensor, sizes: Sequence[int], noise: Noise = "const") -> list[Tensor]:
        """Return the features (B, C, R, R) after the last convolution of each resolution R.

        Args:
            w: (B, w_dim) or (B, num_ws, w_dim).
            sizes: resolutions R.
        """
        outputs = {
            state.features.shape[-1]: state.features for state in self.synthesis.run(w, noise)
        }
        return [outputs[size] for size in sizes]


def with_channels(generator: Generator, image_channels: int) -> Generator:
    """Return a copy of a generator that makes images of another number of channels.

    All weights are kept, those of the RGB layers row by row. Rows of new channels start at zero,
    weight and bias, so that these channels are zero everywhere and the others are as before, to
    rounding; they learn from the first step on, since the features they read are not zero. Rows of
    channels beyond `image_channels` are dropped.

    Args:
        generator: left as it is.
        image_channels: at least 1.

    Raises:
        UserError: no channels.
    """
    if image_channels < 1:
        raise UserError(f"image_channels={image_channels}: expected 1 or more")
    made = copy.deepcopy(generator)
    made.config = replace(generator.config, image_channels=image_channels)
    made.synthesis.image_channels = image_channels
    kept = min(image_channels, generator.image_channels)
    for block in made.synthesis.stages:
        for name in ("weight", "bias"):
            old = getattr(block.to_rgb, name)
            rows = old.new_zeros(image_channels, *old.shape[1:])
            rows[:kept] = old.detach()[:kept]
            setattr(block.to_rgb, name, nn.Parameter(rows, old.requires_grad))
    return made
