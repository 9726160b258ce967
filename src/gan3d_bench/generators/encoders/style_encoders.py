"""Encoders of pSp, e4e and ReStyle over an IR-SE50 trunk: a picture -> one code for each layer.

Layers, names and order of the released code (models/encoders/restyle_psp_encoders.py,
restyle_e4e_encoders.py, fpn_encoders.py and map2style.py of yuval-alaluf/restyle-encoder).
Parity: vector ``restyle_encoder``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan3d_bench.faces.irse import DEPTHS, REDUCTION, WIDTH, IRSETrunk
from gan3d_bench.generators.stylegan2.layers import Linear

IMAGE_SIZE = 256
IN_CHANNELS = 6  # a picture, and what has been made of it so far
INFERENCE = 18
"""Stage of a progressive encoder whose codes all have their own part."""

LEVELS = ("coarse", "middle", "fine")
"""Of the feature pyramid: 1/16, 1/8 and 1/4 of the pictures' size."""


class MapToStyle(nn.Module):
    """A feature map -> one code: convolutions that halve it down to one pixel, and a linear layer.

    Args:
        channels: of the map.
        w_dim: of the code.
        size: side of the map, a power of two of at least 2; a smaller map ends at one pixel, too.
        output_rate: factor on the learning rate of the linear layer (its ``lr_mul``).
    """

    def __init__(self, channels: int, w_dim: int, size: int, output_rate: float = 1.0) -> None:
        super().__init__()
        count = size.bit_length() - 1
        if size < 2 or size != 2**count:
            raise ValueError(f"size={size}: expected a power of two of at least 2")
        layers: list[nn.Module] = []
        for index in range(count):
            layers += [nn.Conv2d(w_dim if index else channels, w_dim, 3, 2, 1), nn.LeakyReLU()]
        self.convs = nn.Sequential(*layers)
        self.linear = Linear(w_dim, w_dim, lr_mul=output_rate)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, size, size) -> (B, w_dim)."""
        return self.linear(self.convs(features).flatten(1))


class BackboneEncoder(IRSETrunk):
    """ReStyle over pSp: every code is made from the last feature map.

    Args:
        num_ws: codes.
        w_dim: of each.
        image_size: side S of the pictures, a power of two of at least 32.
        in_channels: of the pictures.
        width, depths: of the trunk, see `IRSETrunk`.
        output_rate: of `MapToStyle`.

    Raises:
        ValueError: sizes out of range.
    """

    def __init__(
        self,
        num_ws: int,
        w_dim: int = 512,
        image_size: int = IMAGE_SIZE,
        in_channels: int = IN_CHANNELS,
        width: int = WIDTH,
        depths: Sequence[int] = DEPTHS,
        output_rate: float = 1.0,
    ) -> None:
        super().__init__(in_channels, width, depths)
        self.num_ws, self.w_dim, self.image_size = num_ws, w_dim, image_size
        self.styles = nn.ModuleList(
            MapToStyle(channels, w_dim, size, output_rate) for channels, size in self.style_inputs()
        )

    def style_inputs(self) -> list[tuple[int, int]]:
        """Channels and side of the map that each code is made from."""
        return [(self.channels[-1], self.image_size // REDUCTION)] * self.num_ws

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (B, in_channels, S, S) -> codes (B, num_ws, w_dim)."""
        features = self.stages(images)[-1]
        return torch.stack([style(features) for style in self.styles], 1)


class ProgressiveBackboneEncoder(BackboneEncoder):
    """ReStyle over e4e: one code for all layers, and what further ones add to it.

    Attributes:
        stage: codes 1 to `stage` have a part of their own. Training raises it step by step.
    """

    stage: int = INFERENCE

    def forward(self, images: Tensor) -> Tensor:
        """See `BackboneEncoder.forward`."""
        features = self.stages(images)[-1]
        first = self.styles[0](features)
        codes = [first]
        for index, style in enumerate(list(self.styles)[1:], start=1):
            codes.append(first + style(features) if index <= self.stage else first)
        return torch.stack(codes, 1)


class GradualStyleEncoder(BackboneEncoder):
    """pSp: codes from three levels of a feature pyramid.

    Args:
        num_ws, w_dim, image_size, in_channels, width, depths, output_rate: of `BackboneEncoder`.
        levels: of each code; None for the released ones: three coarse, four middle, then fine.
    """

    def __init__(
        self,
        num_ws: int,
        w_dim: int = 512,
        image_size: int = IMAGE_SIZE,
        in_channels: int = IN_CHANNELS,
        width: int = WIDTH,
        depths: Sequence[int] = DEPTHS,
        output_rate: float = 1.0,
        levels: Sequence[str] | None = None,
    ) -> None:
        self.levels = _released_levels(num_ws) if levels is None else list(levels)
        if len(self.levels) != num_ws or not set(self.levels) <= set(LEVELS):
            raise ValueError(f"levels={self.levels}: expected {num_ws} of {', '.join(LEVELS)}")
        super().__init__(num_ws, w_dim, image_size, in_channels, width, depths, output_rate)
        _, fine, middle, coarse = self.channels
        self.latlayer1 = nn.Conv2d(middle, coarse, 1)
        self.latlayer2 = nn.Conv2d(fine, coarse, 1)

    def style_inputs(self) -> list[tuple[int, int]]:
        """See `BackboneEncoder.style_inputs`."""
        last = self.image_size // REDUCTION
        return [(self.channels[-1], last * 2 ** LEVELS.index(level)) for level in self.levels]

    def forward(self, images: Tensor) -> Tensor:
        """See `BackboneEncoder.forward`."""
        _, fine, middle, coarse = self.stages(images)
        second = _enlarged(coarse, middle) + self.latlayer1(middle)
        first = _enlarged(second, fine) + self.latlayer2(fine)
        maps = (coarse, second, first)
        codes = [
            style(maps[LEVELS.index(level)])
            for level, style in zip(self.levels, self.styles, strict=True)
        ]
        return torch.stack(codes, 1)


def _released_levels(num_ws: int) -> list[str]:
    return ["coarse" if i < 3 else "middle" if i < 7 else "fine" for i in range(num_ws)]


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear, corners on corners, as released."""
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=True)
