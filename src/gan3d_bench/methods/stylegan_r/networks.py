"""The inverse graphics network f: one picture -> shape and texture map, {S, T} = f(I)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from gan3d_bench.distributed.batch_norm import share_statistics
from gan3d_bench.methods.stylegan_r.config import NetworkConfig
from gan3d_bench.methods.stylegan_r.template import SphereTemplate, mirrored
from gan3d_bench.rendering.images import resize

MOST_WIDTH = 512  # channels of convolutions
_GRID = 8  # side of the features that the fully connected layers read, as in DIB-R
_MOVE = 0.05
"""Unit of the network's moves, in halves of the picture's width, and their size at the start. Adam
changes weights by its rate whatever they stand for: without it meshes crumple in the first steps.
"""
_SMOOTHING = 4  # rounds of averaging over neighbours at the start, times the squared level


@dataclass(frozen=True)
class Properties:
    """What f finds in B pictures.

    Attributes:
        move: (B, V, 3) from the sphere's vertices, in halves of the picture's width.
        texture: (B, 3, w / 2, w) in [-1, 1].
    """

    move: Tensor
    texture: Tensor

    def __getitem__(self, index: Tensor | slice) -> Properties:
        """Choose some of the B."""
        return Properties(self.move[index], self.texture[index])

    @classmethod
    def join(cls, parts: Sequence[Properties]) -> Properties:
        """Those of several batches as one."""
        return cls(
            torch.cat([part.move for part in parts]), torch.cat([part.texture for part in parts])
        )

    def expand(self, batch: int) -> Properties:
        """Those of one picture for a whole batch; B stay as they are."""
        return Properties(self.move.expand(batch, -1, -1), self.texture.expand(batch, -1, -1, -1))


class InverseGraphics(nn.Module):
    """A convolutional encoder, with a decoder of the sphere's moves and one of the texture map.

    The paper names no architecture. The encoder and the fully connected layers are those of
    nv-tlabs/DIB-R (three 5x5 convolutions with stride 2 for 64 pixels; one more for each doubling);
    the texture's decoder doubles its size by convolutions, as CMR's. No light is predicted
    (section 3.2).

    Args:
        config: sizes.
        picture_size: (R, S), rows and columns of the pictures; wider ones than `config.input_size`
            are reduced to that.
        template: the sphere.
    """

    mirror: Tensor

    def __init__(
        self, config: NetworkConfig, picture_size: tuple[int, int], template: SphereTemplate
    ) -> None:
        super().__init__()
        rows, columns = picture_size
        self.input_size = min(config.input_size, columns)
        self.symmetric, self.symmetric_texture = config.symmetric, config.symmetric_texture
        grid = min(_GRID, self.input_size // 2)
        halvings = int(math.log2(self.input_size // grid))
        widths = _widths(config.width, halvings)
        height = halved(round(rows * self.input_size / columns), halvings)
        self.encoder = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(before, after, 5, stride=2, padding=2),
                    nn.BatchNorm2d(after),
                    nn.ReLU(),
                )
                for before, after in pairwise((3, *widths))
            ),
            nn.Flatten(),
            *_dense(widths[-1] * height * grid, config.hidden),
            *_dense(config.hidden, config.hidden),
        )
        last = nn.Linear(config.hidden, 3 * len(template.vertices))
        self.shape = nn.Sequential(*_dense(config.hidden, config.hidden), last)
        self.texture = _texture_decoder(config)
        initialise(self)
        with torch.no_grad():
            last.weight.copy_(_dents(last.weight, template, config.level))
        self.register_buffer("mirror", template.mirror, persistent=False)
        share_statistics(self)

    def forward(self, images: Tensor) -> Properties:
        """Shapes and textures of images (B, 3, R, S) in [-1, 1]."""
        code = self.encoder(resize(images, self.input_size))
        move = _MOVE * self.shape(code).float().unflatten(1, (-1, 3))
        if self.symmetric:
            other = move[:, self.mirror] * move.new_tensor([-1.0, 1.0, 1.0])
            move = (move + other) / 2
        texture = self.texture(code).float()
        if self.symmetric_texture:
            texture = (texture + mirrored(texture)) / 2
        return Properties(move, texture)


def halved(size: int, times: int) -> int:
    """What strided convolutions, padded by half their kernel, leave of a number of pixels."""
    for _ in range(times):
        size = -(-size // 2)
    return size


def initialise(network: nn.Module) -> None:
    """Draw weights that keep the size of what goes through (He et al. 2015); biases are 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _dents(weight: Tensor, template: SphereTemplate, level: int) -> Tensor:
    """Weights (3 V, hidden) of moves of size 1 that are the same for neighbours.

    So the spheres that training begins with are a little dented, each picture's otherwise.
    """
    moves = weight.unflatten(0, (-1, 3)).permute(2, 0, 1)
    for _ in range(_SMOOTHING * level**2):
        moves = template.topology.mean_of_neighbours(moves)
    moves = moves / moves.square().sum(0).mean().sqrt()
    return moves.permute(1, 2, 0).flatten(0, 1)


def _texture_decoder(config: NetworkConfig) -> nn.Sequential:
    """A code -> a map whose width is twice its height."""
    height = config.texture_size // 2
    doublings = int(math.log2(height // 4))
    widths = _widths(max(8, config.width // 2), doublings + 1)[::-1]
    layers: list[nn.Module] = [
        *_dense(config.hidden, widths[0] * 4 * 8),
        nn.Unflatten(1, (widths[0], 4, 8)),
    ]
    for before, after in pairwise(widths):
        layers += [
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.Conv2d(before, after, 3, padding=1, padding_mode="replicate"),
            nn.BatchNorm2d(after),
            nn.LeakyReLU(0.2),
        ]
    return nn.Sequential(
        *layers, nn.Conv2d(widths[-1], 3, 3, padding=1, padding_mode="replicate"), nn.Tanh()
    )


def _widths(first: int, count: int) -> list[int]:
    """Channels of `count` layers, each twice the one before."""
    return [min(first * 2**place, MOST_WIDTH) for place in range(count)]


def _dense(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()
