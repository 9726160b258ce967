"""The networks in training, as their config asks for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from gan3d_bench.errors import UserError
from gan3d_bench.generators.eg3d import (
    CameraOrbit,
    DualDiscriminator,
    EG3DConfig,
    EG3DGenerator,
    load_discriminator,
    load_generator,
)
from gan3d_bench.generators.eg3d.cameras import LABEL_DIM
from gan3d_bench.generators.eg3d.volume import VolumeConfig
from gan3d_bench.generators.stylegan2 import DiscriminatorConfig, GeneratorConfig, ops
from gan3d_bench.generators.stylegan2.generator import channel_table
from gan3d_bench.generators.stylegan2.layers import Linear
from gan3d_bench.methods.eg3d.config import NetworkConfig

Network = TypeVar("Network", EG3DGenerator, DualDiscriminator)


def build_generator(config: NetworkConfig) -> EG3DGenerator:
    """Build a generator, or load the one that `config.generator` names.

    Raises:
        UserError: the file is missing or unfit, or of another image size.
    """
    if config.generator:
        return _load(load_generator, "network.generator", config.generator, config.image_size)
    generator = EG3DGenerator(architecture(config))
    with torch.no_grad():
        generator.synthesis.decoder.out.bias[0] = config.start_density / config.decoder_lr
    return generator


def architecture(config: NetworkConfig) -> EG3DConfig:
    """The architecture that a config describes."""
    channels = _channels(config, config.channels, config.plane_size)
    x, y, z = config.pivot
    return EG3DConfig(
        backbone=GeneratorConfig(
            config.plane_size,
            config.z_dim,
            config.w_dim,
            config.mapping_layers,
            channels,
            image_channels=3 * config.plane_channels,
            label_dim=LABEL_DIM,
        ),
        volume=VolumeConfig(
            (config.rays[0], config.rays[1]) if config.rays else None,
            config.box,
            config.coarse_samples,
            config.fine_samples,
            config.white_back,
        ),
        volume_size=config.volume_size,
        plane_axes=config.plane_axes,
        features=config.features,
        decoder_width=config.decoder_width,
        decoder_lr_mul=config.decoder_lr,
        super_resolution=config.super_resolution,
        sr_clamp=config.sr_clamp or None,
        label_scale=config.label_scale,
        orbit=CameraOrbit(config.radius, (x, y, z), config.focal_length),
    )


@torch.no_grad()
def make_mapping_linear(generator: EG3DGenerator) -> None:
    """Set the mapping network's weights so that w is (z, first part of the camera's embedding).

    Both are normalised. As `methods.stylegan2.networks.make_mapping_linear`: in a pair of layers
    [a I, -a I] the leaky ReLUs cancel, so that an odd number of pairs gives minus that.

    Args:
        generator: its w_dim is no less than its z_dim, its mapping layers even in number.
    """
    size = 1 / math.sqrt(ops.SLOPE)  # the slope is met once in each pair
    for index, layer in enumerate(x for x in generator.mapping.layers if isinstance(x, Linear)):
        scale = (size if index % 2 == 0 else -size) / layer.weight_gain
        # the first layer reads z and, after it, the embedding
        layer.weight.copy_(torch.eye(generator.w_dim, layer.weight.shape[1]) * scale)
        layer.bias.zero_()


def build_discriminator(config: NetworkConfig) -> DualDiscriminator:
    """Build a discriminator, or load the one that `config.discriminator` names.

    Raises:
        UserError: the file is missing or unfit, or of another image size.
    """
    if config.discriminator:
        path = config.discriminator
        return _load(load_discriminator, "network.discriminator", path, config.image_size)
    return DualDiscriminator(
        DiscriminatorConfig(
            image_size=config.image_size,
            channels=_channels(config, config.discriminator_channels, config.image_size),
            stddev_group=config.stddev_group,
            conv_clamp=config.discriminator_clamp or None,
            mapping_layers=config.discriminator_mapping,
        )
    )


def _channels(config: NetworkConfig, table: dict[int, int], size: int) -> dict[int, int]:
    return dict(table) or channel_table(size, config.channel_base, config.channel_max)


def _load(load: Callable[[Path], Network], key: str, path: str, image_size: int) -> Network:
    try:
        network = load(Path(path))
    except UserError as error:
        raise UserError(f"{key}={path}: {error}") from error
    if network.image_size != image_size:
        raise UserError(
            f"{key}={path}: of images of {network.image_size} pixels, expected {image_size}, "
            "which network.super_resolution makes"
        )
    return network.train().requires_grad_(True)
