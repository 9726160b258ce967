"""The mapping network: camera, shape, texture and background -> W* (section 3.3, Eqs. 3 to 5)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gan3d_bench.methods.stylegan_r.cameras import Orbit
from gan3d_bench.methods.stylegan_r.config import MappingConfig
from gan3d_bench.methods.stylegan_r.networks import MOST_WIDTH, Properties, halved, initialise

SHAPE, TEXTURE, BACKGROUND = range(3)
"""Rows of `MappingNetwork.logits`."""
_SLOPE = 0.2  # of leaky ReLUs


class ContentCodes(NamedTuple):
    """z^shape, z^txt and z^bck of Eq. 3, (B, D) each, in deviations of the content code."""

    shape: Tensor
    texture: Tensor
    background: Tensor


class MappingNetwork(nn.Module):
    """g_v, g_s (perceptrons), g_t, g_b (convolutions), and the weights s that join their codes.

    Codes are predicted in standard deviations from their means over StyleGAN's own, so that Eq. 5
    weighs all numbers of W* alike. Of the view code the camera sets those with the highest
    correlation with it; the others are what they are on average over the chosen view codes.

    Args:
        config: sizes.
        picture_size: (R, S), rows and columns of backgrounds.
        texture_size: width of texture maps, a power of two.
        vertices: V of the shapes.
        mean, deviation: (D_v + D,) of the codes w* that StyleGAN samples.
        view_size: D_v.

    Attributes:
        logits: (3, D), whose softmax over the three is s (Eq. 4), shared by all samples.
        view_mean: (D_v,) mean of the chosen view codes, in deviations.
        view_index: (n,) which numbers of the view code the camera sets.
    """

    mean: Tensor
    deviation: Tensor
    view_mean: Tensor
    view_index: Tensor

    def __init__(
        self,
        config: MappingConfig,
        picture_size: tuple[int, int],
        texture_size: int,
        vertices: int,
        mean: Tensor,
        deviation: Tensor,
        view_size: int,
    ) -> None:
        super().__init__()
        hidden, content = config.hidden, len(mean) - view_size
        self.view_size = view_size
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.register_buffer("view_mean", torch.zeros(view_size))
        self.register_buffer("view_index", torch.arange(min(config.view_dims, view_size)))
        self.view = _perceptron(4, min(256, hidden), len(self.view_index))
        self.shape = _perceptron(3 * vertices, hidden, content)
        self.texture = _convolutions(config.width, texture_size // 2, texture_size, content)
        self.background = _convolutions(config.width, *picture_size, content)
        self.logits = nn.Parameter(torch.zeros(3, content))
        initialise(self)

    @torch.no_grad()
    def choose(self, codes: Tensor, cameras: Orbit) -> None:
        """Choose what the camera sets, and what the rest of the view code is.

        Correlated with the camera is what a linear function of `Orbit.features` explains: the
        multiple correlation over the view codes.

        Args:
            codes: (K, D_v) the chosen view codes.
            cameras: K, theirs.
        """
        size = self.view_size
        standard = (codes - self.mean[:size]) / self.deviation[:size]
        self.view_mean.copy_(standard.mean(0))
        correlation = multiple_correlation(cameras.features(), standard)
        self.view_index.copy_(correlation.topk(len(self.view_index)).indices.sort().values)

    def forward(self, camera: Orbit, codes: ContentCodes) -> Tensor:
        """w* (B, D_v + D) of cameras and codes (B) of what is seen."""
        mapped = torch.cat((self.view_codes(camera), self.join(codes)), 1)
        return mapped * self.deviation + self.mean

    def view_codes(self, camera: Orbit) -> Tensor:
        """View codes (B, D_v) in deviations: z^view at `view_index`, `view_mean` elsewhere."""
        z = self.view(camera.features()).float()
        return self.view_mean.repeat(len(z), 1).index_copy(1, self.view_index, z)

    def content_codes(self, properties: Properties, background: Tensor) -> ContentCodes:
        """Eq. 3.

        Args:
            properties: shapes and textures (B).
            background: (B, 3, R, S) pictures, 0 where the object is.
        """
        return ContentCodes(
            self.shape(properties.move.flatten(1)).float(),
            self.texture(properties.texture).float(),
            self.background(background).float(),
        )

    @property
    def weights(self) -> Tensor:
        """s (3, D) of Eq. 4: shape, texture, background; each column's sum is 1."""
        return self.logits.float().softmax(0)

    def join(self, codes: ContentCodes) -> Tensor:
        """Content codes (B, D) in deviations (Eq. 4)."""
        return (self.weights[:, None] * torch.stack(codes)).sum(0)

    def entropy(self) -> Tensor:
        """Entropy of s, averaged over the numbers of the code: (), from 0 to log 3."""
        s = self.weights
        return -torch.special.xlogy(s, s).sum(0).mean()

    def error(self, mapped: Tensor, target: Tensor) -> Tensor:
        """Mean squared difference of codes w* (B, D_v + D) in deviations, (), (Eq. 5)."""
        return ((mapped - target) / self.deviation).square().mean()


def multiple_correlation(features: Tensor, values: Tensor) -> Tensor:
    """Share of the variance of values (K, D) that a linear function of features (K, n) explains.

    Returns:
        (D,) in [0, 1]; 0 where values do not vary.
    """
    inputs = torch.cat((torch.ones_like(features[:, :1]), features), 1).double()
    targets = (values - values.mean(0)).double()
    fitted = inputs @ torch.linalg.pinv(inputs) @ targets
    total = targets.square().sum(0)
    share = (fitted.square().sum(0) / total.clamp(min=1e-12)).clamp(0, 1)
    return torch.where(total > 1e-12, share, 0.0).to(values)


def _perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.LeakyReLU(_SLOPE),
        nn.Linear(hidden, hidden),
        nn.LeakyReLU(_SLOPE),
        nn.Linear(hidden, outputs),
    )


def _convolutions(width: int, height: int, breadth: int, outputs: int) -> nn.Sequential:
    """Pictures (B, 3, height, breadth) -> (B, outputs): halved until the shorter side is 4 to 7."""
    layers: list[nn.Module] = []
    channels, halvings = 3, int(math.log2(min(height, breadth) // 4))
    for place in range(halvings):
        after = min(width * 2**place, MOST_WIDTH)
        layers += [nn.Conv2d(channels, after, 3, stride=2, padding=1), nn.LeakyReLU(_SLOPE)]
        channels = after
    left = halved(height, halvings) * halved(breadth, halvings)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * left, outputs))
