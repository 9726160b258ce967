"""The networks in training, as their config asks for them."""

from __future__ import annotations

import torch

from gan3d_bench.adversarial.saved_networks import load_to_train
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
from gan3d_bench.generators.stylegan2 import DiscriminatorConfig, GeneratorConfig
from gan3d_bench.generators.stylegan2.generator import channel_table
from gan3d_bench.methods.eg3d.config import NetworkConfig


def build_generator(config: NetworkConfig) -> EG3DGenerator:
    """Build a generator, or load the one that `config.generator` names.

    Raises:
        UserError: the file is missing or unfit, or of another image size.
    """
    if config.generator:
        return load_to_train(load_generator, "network.generator", config.generator, *_size(config))
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


def build_discriminator(config: NetworkConfig) -> DualDiscriminator:
    """Build a discriminator, or load the one that `config.discriminator` names.

    Raises:
        UserError: the file is missing or unfit, or of another image size.
    """
    if config.discriminator:
        return load_to_train(
            load_discriminator, "network.discriminator", config.discriminator, *_size(config)
        )
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


def _size(config: NetworkConfig) -> tuple[int, str]:
    """Side of the images, and in words where it comes from."""
    return config.image_size, f"{config.image_size}, which network.super_resolution makes"
