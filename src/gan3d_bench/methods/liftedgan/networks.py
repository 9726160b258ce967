"""The trained networks: D_S (depth), D_T (transformation map), D_V and D_L (view, light) and M.

Shapes and layers are those of the released models/networks.py, which at 256 px differ from Tables 3
and 4 of the paper: the teacher's feature map has 16 channels and joins after the last upsampling,
D_T works from a narrow code, and there is GroupNorm. Other sizes have fewer blocks between 4x4 and
S/2.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS_PER_NORM_GROUP = 4
SLOPE = 0.2  # of every LeakyReLU
LIGHT_VALUES = 4
VIEW_VALUES = 6


def widths(image_size: int, channels: int, most: int) -> list[int]:
    """Return a decoder's channels from 4x4 to S/2.

    Args:
        image_size: S in pixels, a power of two from 16.
        channels: at S/2, a multiple of 4; doubled with every halving.
        most: limit of the doubling, a multiple of 4.

    Raises:
        ValueError: another size or width.
    """
    halvings = image_size.bit_length() - 4
    if image_size < 16 or image_size != 8 << halvings:
        raise ValueError(f"image_size={image_size}: expected a power of two from 16")
    found = [min(channels << i, most) for i in reversed(range(halvings + 1))]
    for width in found:
        if width < 1 or width % CHANNELS_PER_NORM_GROUP:
            raise ValueError(f"width {width}: expected a multiple of {CHANNELS_PER_NORM_GROUP}")
    return found


def _norm(channels: int) -> nn.GroupNorm:
    # in the released MLPs, 128 groups of 512 features: the same four to a group
    if channels % CHANNELS_PER_NORM_GROUP:
        raise ValueError(f"width {channels}: expected a multiple of {CHANNELS_PER_NORM_GROUP}")
    return nn.GroupNorm(channels // CHANNELS_PER_NORM_GROUP, channels)


class MLP(nn.Module):
    """Four linear layers with LeakyReLU between them.

    Args:
        cin, hidden, cout: widths of the input, of the three hidden layers and of the output.
        norm: GroupNorm before each LeakyReLU.
    """

    def __init__(self, cin: int, hidden: int, cout: int, *, norm: bool = False) -> None:
        super().__init__()
        sizes = [cin, hidden, hidden, hidden, cout]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(_norm(hidden) if norm else nn.Identity() for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, cin) -> (B, cout)."""
        for layer, norm in zip(self.layers[:-1], self.norms, strict=True):
            x = F.leaky_relu(norm(layer(x)), SLOPE)
        return self.layers[-1](x)


class Embedding(nn.Module):
    """An `MLP` with GroupNorm whose outputs are scaled and shifted one by one."""

    def __init__(self, cin: int, hidden: int, cout: int) -> None:
        super().__init__()
        self.mlp = MLP(cin, hidden, cout, norm=True)
        self.scale = nn.Parameter(torch.ones(cout))
        self.shift = nn.Parameter(torch.zeros(cout))

    def forward(self, x: Tensor) -> Tensor:
        """(B, cin) -> (B, cout)."""
        return self.mlp(x) * self.scale + self.shift


class ConvBlock(nn.Module):
    """Convolution at the same resolution, GroupNorm, ReLU."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False)
        self.norm = _norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return F.relu(self.norm(self.conv(x)), inplace=True)


class UpBlock(nn.Module):
    """Transposed convolution to twice the resolution, GroupNorm, ReLU."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(cin, cout, 4, 2, 1, bias=False)
        self.norm = _norm(cout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, cin, H, W) -> (B, cout, 2 H, 2 W)."""
        return F.relu(self.norm(self.conv(x)), inplace=True)


class DepthDecoder(nn.Module):
    """D_S: a stylecode and the teacher's last feature map to raw depth.

    Args:
        image_size: S in pixels, a power of two from 16 (paper: 256).
        w_dim: width of stylecodes.
        inject_channels: channels of the teacher's feature map at S x S (paper: 16).
        channels: at S/2, a multiple of 4; doubled towards 4x4.
        most: limit of the doubling.
        hidden: width of the fully connected layers.

    Raises:
        ValueError: sizes and widths outside these.
    """

    def __init__(
        self, image_size: int, w_dim: int, inject_channels: int, channels: int = 16,
        most: int = 512, hidden: int = 512,
    ) -> None:  # fmt: skip
        super().__init__()
        sizes = widths(image_size, channels, most)
        self.mapping = MLP(w_dim, hidden, hidden)
        self.start = nn.ConvTranspose2d(hidden, sizes[0], 4, bias=False)
        self.start_conv = nn.Conv2d(sizes[0], sizes[0], 3, padding=1, bias=False)
        self.ups = nn.ModuleList(UpBlock(a, b) for a, b in pairwise(sizes))
        self.convs = nn.ModuleList(ConvBlock(size, 3) for size in sizes[1:])
        last = sizes[-1]
        self.inject = nn.Conv2d(inject_channels, last, 1, bias=False)
        self.head = nn.ModuleList([ConvBlock(last, 3), ConvBlock(last, 5)])
        self.to_depth = nn.Conv2d(last, 1, 5, padding=2)

    def forward(self, w: Tensor, features: Tensor) -> Tensor:
        """Return raw depth (B, 1, S, S), unbounded, before centring and tanh.

        Args:
            w: (B, w_dim).
            features: (B, inject_channels, S, S), of the teacher's last convolution for the
                neutral stylecode w0.
        """
        code = F.leaky_relu(self.mapping(w), SLOPE)
        x = F.relu(self.start(code[:, :, None, None]), inplace=True)
        x = F.relu(self.start_conv(x), inplace=True)
        for up, conv in zip(self.ups, self.convs, strict=True):
            x = conv(up(x))
        x = F.interpolate(x, scale_factor=2, mode="nearest") + self.inject(features)
        for block in self.head:
            x = block(x)
        return self.to_depth(x)


class TransformationDecoder(nn.Module):
    """D_T: a stylecode to the raw transformation map.

    Args:
        image_size: S in pixels, a power of two from 16 (paper: 256).
        w_dim: width of stylecodes.
        channels: at S/2, a multiple of 4; doubled towards 4x4.
        most: limit of the doubling.
        hidden: width of the fully connected layers.

    Raises:
        ValueError: sizes and widths outside these.
    """

    def __init__(
        self, image_size: int, w_dim: int, channels: int = 16, most: int = 512, hidden: int = 16
    ) -> None:
        super().__init__()
        sizes = widths(image_size, channels, most)
        self.mapping = MLP(w_dim, hidden, hidden)
        self.start = nn.ConvTranspose2d(hidden, sizes[0], 4, bias=False)
        self.ups = nn.ModuleList(UpBlock(a, b) for a, b in pairwise(sizes))
        self.head = ConvBlock(sizes[-1], 3)
        self.to_map = nn.Conv2d(sizes[-1], 1, 5, padding=2, bias=False)

    def forward(self, w: Tensor) -> Tensor:
        """Return the raw map (B, 1, S, S), unbounded, of stylecodes (B, w_dim)."""
        code = F.leaky_relu(self.mapping(w), SLOPE)
        x = F.relu(self.start(code[:, :, None, None]), inplace=True)
        for up in self.ups:
            x = up(x)
        return self.to_map(self.head(F.interpolate(x, scale_factor=2, mode="nearest")))


class StyleDecomposition(nn.Module):
    """D_L and D_V: a stylecode to its light and its view.

    Args:
        w_dim: width of stylecodes.
        hidden: width of the fully connected layers.
    """

    def __init__(self, w_dim: int, hidden: int = 512) -> None:
        super().__init__()
        self.light = MLP(w_dim, hidden, LIGHT_VALUES)
        self.view = MLP(w_dim, hidden, VIEW_VALUES)

    def forward(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Return light (B, 4) and view (B, 6) of stylecodes (B, w_dim), in (-1, 1).

        Light is ambient, diffuse, dx, dy; view is three angles and three translations, in
        fractions of the configured ranges.
        """
        return torch.tanh(self.light(w)), torch.tanh(self.view(w))


class StyleManipulation(nn.Module):
    """M: a stylecode, a light and a view to the stylecode of the same face so lit and so seen.

    It predicts the new stylecode itself, not a change of the given one.

    Args:
        w_dim: width of stylecodes.
        hidden: width of the fully connected layers, a multiple of 4.

    Raises:
        ValueError: another `hidden`.
    """

    def __init__(self, w_dim: int, hidden: int = 512) -> None:
        super().__init__()
        self.embed_w = Embedding(w_dim, hidden, w_dim)
        self.embed_light = Embedding(LIGHT_VALUES, hidden, w_dim)
        self.embed_view = Embedding(VIEW_VALUES, hidden, w_dim)
        self.to_w = MLP(w_dim, hidden, w_dim, norm=True)

    def forward(self, w: Tensor, light: Tensor, view: Tensor) -> Tensor:
        """Return stylecodes (B, w_dim).

        Args:
            w: (B, w_dim).
            light, view: (B, 4) and (B, 6), as of `StyleDecomposition`.
        """
        return self.to_w(self.embed_w(w) + self.embed_light(light) + self.embed_view(view))
