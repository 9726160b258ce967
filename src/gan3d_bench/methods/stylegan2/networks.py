"""The networks in training, as their config asks for them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gan3d_bench.adversarial.saved_networks import load_to_train
from gan3d_bench.errors import UserError
from gan3d_bench.generators.stylegan2 import (
    Discriminator,
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
    load_discriminator,
    load_generator,
)
from gan3d_bench.generators.stylegan2.generator import channel_table
from gan3d_bench.generators.stylegan2.linear_mapping import make_linear
from gan3d_bench.methods.stylegan2.config import NetworkConfig


def build_generator(config: NetworkConfig) -> Generator:
    """Build a generator, or load the one that `config.generator` names.

    Raises:
        UserError: the file is missing or unfit, or of another image size.
    """
    if config.generator:
        return load_to_train(load_generator, "network.generator", config.generator, *_size(config))
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

    Args:
        generator: its z_dim and w_dim must agree, its mapping layers be even in number.
        scales: [first, last, scale] of latent entries; 1 elsewhere.

    Raises:
        UserError: the sizes do not allow it.
    """
    config = generator.config
    if config.z_dim != config.w_dim or config.mapping_layers % 2:
        raise UserError(
            f"regression.linear_mapping=true: z_dim {config.z_dim}, w_dim {config.w_dim}, "
            f"{config.mapping_layers} layers; expected equal sizes and an even number of layers"
        )
    first_layer = make_linear(generator.mapping)[0]
    for first, last, scale in scales:
        first_layer.weight[:, int(first) : int(last)] *= scale


def build_discriminator(config: NetworkConfig) -> Discriminator:
    """Build a discriminator, or load the one that `config.discriminator` names.

    Raises:
        UserError: the file is missing or unfit, or of another image size.
    """
    if config.discriminator:
        return load_to_train(
            load_discriminator, "network.discriminator", config.discriminator, *_size(config)
        )
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


def _size(config: NetworkConfig) -> tuple[int, str]:
    """Side of the images, and in words where it comes from."""
    return config.image_size, f"network.image_size={config.image_size}"
