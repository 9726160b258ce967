"""The residual discriminator."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gan3d_bench.generators.base import require_labels
from gan3d_bench.generators.stylegan2 import ops
from gan3d_bench.generators.stylegan2.generator import Mapping, head_channels, resolutions
from gan3d_bench.generators.stylegan2.layers import Conv2d, Linear


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Architecture of a discriminator.

    Attributes:
        image_size: side of the images, a power of two.
        channels: resolution -> channels of the features.
        stddev_group: samples that share one minibatch standard deviation.
        conv_clamp: limit of the activations (256 in networks trained in float16), None for none.
        image_channels: channels of the images; 3 for RGB.
        label_dim: size of the labels that images are judged against; 0 for none.
        cmap_dim: size of the mapped labels; None, as released, for the channels at 4x4.
        mapping_layers: fully connected layers that map the labels.
    """

    image_size: int = 64
    channels: dict[int, int] = field(default_factory=head_channels)
    stddev_group: int = 4
    conv_clamp: float | None = None
    image_channels: int = 3
    label_dim: int = 0
    cmap_dim: int | None = None
    mapping_layers: int = 8


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the second of stride 2, beside a 1x1 skip; their sum over sqrt(2)."""

    def __init__(self, in_channels: int, out_channels: int, clamp: float | None) -> None:
        super().__init__()
        self.conv0 = Conv2d(in_channels, in_channels, 3, clamp=clamp)
        self.conv1 = Conv2d(in_channels, out_channels, 3, down=True, clamp=clamp)
        self.skip = Conv2d(in_channels, out_channels, 1, down=True, activation=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, Cin, H, W) to (B, Cout, H/2, W/2)."""
        return (self.conv1(self.conv0(x)) + self.skip(x)) * math.sqrt(0.5)


class Discriminator(nn.Module):
    """Images -> logits; high for real images. Blocks are keyed by their input's resolution.

    A conditional one ends in `cmap_dim` numbers, and its logit is their dot product with the mapped
    label over sqrt(cmap_dim).

    Source: classes Discriminator and DiscriminatorEpilogue of NVlabs/stylegan2-ada-pytorch,
    training/networks.py, whose architecture is "resnet".
    """

    def __init__(self, config: DiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DiscriminatorConfig()
        sizes = resolutions(config.image_size)
        channels, clamp = config.channels, config.conv_clamp
        self.from_rgb = Conv2d(config.image_channels, channels[config.image_size], 1, clamp=clamp)
        self.blocks = nn.ModuleDict(
            {
                str(size): ResidualBlock(channels[size], channels[size // 2], clamp)
                for size in reversed(sizes[1:])
            }
        )
        self.conv = Conv2d(channels[4] + 1, channels[4], 3, clamp=clamp)
        self.fc = Linear(channels[4] * 16, channels[4], activation=True)
        self.cmap_dim = (config.cmap_dim or channels[4]) if config.label_dim else 0
        self.out = Linear(channels[4], self.cmap_dim or 1)
        self.mapping = (
            Mapping(0, self.cmap_dim, config.mapping_layers, config.label_dim)
            if config.label_dim
            else None
        )

    @property
    def image_size(self) -> int:
        return self.config.image_size

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return logits. Samples n, n + B/G, n + 2B/G, ... share one minibatch standard deviation
        (G the group size).

        Args:
            images: (B, image_channels, image_size, image_size) in [-1, 1].
            labels: (B, label_dim), if it takes labels.

        Returns:
            (B, 1) float32.

        Raises:
            UserError: labels missing, of another shape, or not taken.
        """
        require_labels(labels, self.config.label_dim, len(images))
        x = self.features(images, len(self.blocks))[-1]
        x = self.conv(append_stddev(x, self.config.stddev_group))
        x = self.out(self.fc(x.flatten(1))).float()
        if self.mapping is None:
            return x
        mapped = self.mapping(None, labels)
        return (x * mapped).sum(1, keepdim=True) / math.sqrt(self.cmap_dim)

    def features(self, images: Tensor, n: int = 4) -> list[Tensor]:
        """Return the outputs of the first `n` residual blocks.

        Args:
            images: (B, image_channels, H, W), of any batch size and size that halves `n` times.

        Returns:
            n tensors; the i-th is (B, C_i, H / 2^(i+1), W / 2^(i+1)).
        """
        x = self.from_rgb(images.contiguous(memory_format=torch.channels_last))
        outputs = []
        for block in list(self.blocks.values())[:n]:
            x = block(x)
            outputs.append(x)
        return outputs


def append_stddev(x: Tensor, group: int) -> Tensor:
    """Append one channel with the standard deviation over groups of the batch.

    Args:
        x: (B, C, H, W).
        group: largest group size; the largest divisor of B up to it is used.

    Returns:
        (B, C + 1, H, W).

    Source: Karras et al. 2018, section 3, in StyleGAN2's form.
    """
    batch, _, height, width = x.shape
    size = max(g for g in range(1, min(batch, group) + 1) if batch % g == 0)
    grouped = x.float().reshape(size, batch // size, *x.shape[1:])
    deviation = torch.sqrt(grouped.var(0, correction=0) + ops.EPSILON).mean((1, 2, 3))
    deviation = deviation.repeat(size)[:, None, None, None].expand(-1, 1, height, width)
    return torch.cat([x, deviation.to(x.dtype)], dim=1)
