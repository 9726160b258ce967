"""The networks in training, as their config asks for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from gan3d_bench.errors import UserError
from gan3d_bench.generators.stylegan2 import (
    Discriminator,
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
    load_discriminator,
    load_generator,
    ops,
)
from gan3d_bench.generators.stylegan2.generator import channel_table
from gan3d_bench.generators.stylegan2.layers import Linear
from gan3d_bench.methods.stylegan2.config import NetworkConfig

Network = TypeVar("Network", Generator, Discriminator)


def build_generator(config: NetworkConfig) -> Generator:
    """Build a generator, or load the one that `config.generator` names.

    Raises:
        UserError: the file is missing or unfit, or of another image size.
    """
    if config.generator:
        return _load(load_generator, "network.generator", config.generator, config.image_size)
    return Generator(
        GeneratorConfig(
            image_size=config.image_size,
            z_dim=config.z_dim,
            w_dim=config.w_dim,
            mapping_layers=config.mapping_layers,
            channels=_channels(config),
            conv_clamp=config.conv_clamp or None,
        )
    )


@torch.no_grad()
def make_mapping_linear(generator: Generator, scales: Sequence[Sequence[float]]) -> None:
    """Set the mapping network's weights so that w is the normalised z, each entry scaled.

    In a pair of layers [a I, -a I] the two leaky ReLUs cancel: lrelu(-a lrelu(a x)) = -x for
    either sign of x when 0.2 a^2 = 1. (So w = -z for an odd number of pairs.)

    Args:
        generator: its z_dim and w_dim must agree, its mapping layers be even in number.
        scales: [first, last, scale] of latent entries; 1 elsewhere.

    Raises:
        UserError: the sizes do not allow it.
    """
    config = generator.config
    layers = [layer for layer in generator.mapping.layers if isinstance(layer, Linear)]
    if config.z_dim != config.w_dim or config.mapping_layers % 2:
        raise UserError(
            f"regression.linear_mapping=true: z_dim {config.z_dim}, w_dim {config.w_dim}, "
            f"{config.mapping_layers} layers; expected equal sizes and an even number of layers"
        )
    size = 1 / math.sqrt(ops.SLOPE)  # the slope is met once in each pair
    for index, layer in enumerate(layers):
        sign = 1.0 if index % 2 == 0 else -1.0
        layer.weight.copy_(torch.eye(config.z_dim) * (sign * size / layer.weight_gain))
    for first, last, scale in scales:
        layers[0].weight[:, int(first) : int(last)] *= scale


def build_discriminator(config: NetworkConfig) -> Discriminator:
    """Build a discriminator, or load the one that `config.discriminator` names.

    Raises:
        UserError: the file is missing or unfit, or of another image size.
    """
    if config.discriminator:
        path = config.discriminator
        return _load(load_discriminator, "network.discriminator", path, config.image_size)
    return Discriminator(
        DiscriminatorConfig(
            image_size=config.image_size,
            channels=_channels(config),
            stddev_group=config.stddev_group,
            conv_clamp=config.conv_clamp or None,
        )
    )


def _channels(config: NetworkConfig) -> dict[int, int]:
    if config.channels:
        return dict(config.channels)
    return channel_table(config.image_size, config.channel_base, config.channel_max)


def _load(load: Callable[[Path], Network], key: str, path: str, image_size: int) -> Network:
    try:
        network = load(Path(path))
    except UserError as error:
        raise UserError(f"{key}={path}: {error}") from error
    if network.image_size != image_size:
        raise UserError(
            f"{key}={path}: makes images of {network.image_size} pixels, "
            f"expected network.image_size={image_size}"
        )
    return network.train().requires_grad_(True)
