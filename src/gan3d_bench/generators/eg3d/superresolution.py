"""From the picture of the volume to the final image: two StyleGAN2 blocks on one stylecode."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan3d_bench.errors import UserError
from gan3d_bench.generators.stylegan2 import ops
from gan3d_bench.generators.stylegan2.generator import Noise, noise_maps
from gan3d_bench.generators.stylegan2.layers import StyledConv, ToRGB


@dataclass(frozen=True)
class Variant:
    """An architecture.

    Attributes:
        input_size: what the volume's picture is resized to first.
        up: whether the first block doubles the size; the second one always does.
        channels: of both blocks.
        shrinks: whether a larger picture is resized, too; otherwise it is refused.
    """

    input_size: int
    up: bool
    channels: tuple[int, int]
    shrinks: bool = True

    @property
    def output_size(self) -> int:
        """Side of the final image."""
        return self.input_size * (4 if self.up else 2)


VARIANTS: dict[str, Variant] = {
    "hybrid-8xdc": Variant(128, True, (256, 128)),
    "hybrid-8x": Variant(128, True, (128, 64)),
    "hybrid-4x": Variant(128, False, (128, 64), shrinks=False),
    "hybrid-2x": Variant(64, False, (128, 64)),
    "small-2x": Variant(32, False, (64, 32)),
}
"""Name -> architecture. The hybrid ones are the released classes Superresolution...; small-2x is
our own, hybrid-2x at half its size and width."""


class SuperResolutionBlock(nn.Module):
    """Two styled convolutions, and what they add to the image.

    Source: classes SynthesisBlock and SynthesisBlockNoUp of NVlabs/eg3d, training/.
    """

    def __init__(
        self, in_channels: int, channels: int, w_dim: int, size: int, up: bool, clamp: float | None
    ) -> None:
        super().__init__()
        self.up = up
        self.conv0 = StyledConv(in_channels, channels, w_dim, size, up=up, clamp=clamp)
        self.conv1 = StyledConv(channels, channels, w_dim, size, clamp=clamp)
        self.to_rgb = ToRGB(channels, w_dim, clamp)

    def forward(
        self, x: Tensor, rgb: Tensor, w: Tensor, noise: Noise = "none"
    ) -> tuple[Tensor, Tensor]:
        """Features (B, C, S, S), image (B, 3, S, S) and stylecodes (B, w_dim) -> the next two.

        What is given is only read. (The released block that keeps the size adds onto the image that
        it was given, so that with hybrid-2x and hybrid-4x the picture of the volume which the
        released generator returns holds this block's part, too.)
        """
        maps = noise_maps((self.conv0, self.conv1), len(x), noise)
        x = self.conv1(self.conv0(x, w, maps[0]), w, maps[1], overwrite=True)
        return x, (ops.upsample(rgb) if self.up else rgb) + self.to_rgb(x, w)


class SuperResolution(nn.Module):
    """The super-resolution network.

    Args:
        variant: a name of `VARIANTS`.
        features: channels of the volume's picture, the first three of which are its colours.
        w_dim: size of the stylecodes.
        clamp: limit of the activations, None for none; 256 in released networks.
        antialias: resize with a filter as wide as the pixels of the smaller image.

    Source: training/superresolution.py of NVlabs/eg3d.
    """

    def __init__(
        self,
        variant: str,
        features: int,
        w_dim: int,
        clamp: float | None = None,
        antialias: bool = True,
    ) -> None:
        super().__init__()
        self.variant = kind = VARIANTS[variant]
        self.name, self.antialias = variant, antialias
        first = kind.output_size // 2
        self.block0 = SuperResolutionBlock(features, kind.channels[0], w_dim, first, kind.up, clamp)
        self.block1 = SuperResolutionBlock(*kind.channels, w_dim, kind.output_size, True, clamp)

    def forward(self, picture: Tensor, w: Tensor, noise: Noise = "none") -> Tensor:
        """Make images.

        Args:
            picture: (B, features, R, R) of the volume, in [-1, 1].
            w: (B, w_dim).
            noise: "none", "const" or "random", or a random generator.

        Returns:
            (B, 3, output_size, output_size), nominally in [-1, 1], not clamped.

        Raises:
            UserError: a picture larger than this network takes.
        """
        size = self.variant.input_size
        if picture.shape[-1] > size and not self.variant.shrinks:
            raise UserError(
                f"volume_size={picture.shape[-1]}: expected at most {size} for super-resolution "
                f"'{self.name}'"
            )
        x = resize(picture, size, self.antialias).contiguous(memory_format=torch.channels_last)
        rgb = x[:, :3]
        for block in (self.block0, self.block1):
            x, rgb = block(x, rgb, w, noise)
        return rgb


def resize(images: Tensor, size: int, antialias: bool = True) -> Tensor:
    """Images (B, C, R, R) bilinearly to another size, corners of pixels on corners.

    Args:
        images: whose size may be `size` already; they are then returned as they are.
        size: of the result.
        antialias: filter before reducing.
    """
    if images.shape[-1] == size:
        return images
    return F.interpolate(
        images, (size, size), mode="bilinear", align_corners=False, antialias=antialias
    )
