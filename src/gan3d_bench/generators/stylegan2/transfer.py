"""What ``gan3d-bench import --as stylegan2`` and ``export`` do with StyleGAN2's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from gan3d_bench.errors import UserError
from gan3d_bench.generators.stylegan2 import teacher
from gan3d_bench.generators.stylegan2.checkpoint import save_network
from gan3d_bench.generators.stylegan2.generator import Generator, channel_table
from gan3d_bench.generators.stylegan2.official import (
    ROSINALITY,
    STDDEV_GROUP,
    W_SAMPLES,
    export_discriminator,
    export_generator,
    read_networks,
)


def import_file(source: Path, folder: Path) -> dict[str, Any]:
    """Write the networks of an official file to `folder`, in float32; return the card's facts.

    Raises:
        UserError: see `official.read_networks`; the message leaves it to the caller to name the
            file.
    """
    found = read_networks(source)
    generator, discriminator = found.generator, found.discriminator
    save_network(generator, folder / teacher.GENERATOR, dtype=torch.float32)
    if discriminator is not None:
        save_network(discriminator, folder / teacher.DISCRIMINATOR, dtype=torch.float32)
    config = generator.config
    computed = f"computed from {W_SAMPLES} latents, seed 0"
    return {
        "origin": found.origin,
        "image_size": config.image_size,
        "latents": config.z_dim,
        "mapping_layers": config.mapping_layers,
        "channels": {str(size): count for size, count in config.channels.items()},
        "conv_clamp": config.conv_clamp,
        "parameters": {
            "generator": _count(generator),
            "discriminator": _count(discriminator) if discriminator else None,
        },
        "w_mean": "in the file" if found.has_w_mean else computed,
        "w_std": computed,
        "noise_maps": "in the file" if found.has_noise else "not in the file; drawn, seed 0",
        "notes": [f"discriminator left out: {found.left_out}"] if found.left_out else [],
    }


def export_folder(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the networks of `folder` as a checkpoint of rosinality's, and notes for the user.

    The checkpoint has g_ema, latent_avg and, where there is one, d.

    Raises:
        UserError: no networks there, or ones that rosinality's cannot stand for.
    """
    generator, discriminator = teacher.load(folder)
    try:
        content: dict[str, Any] = {"g_ema": export_generator(generator)}
    except UserError as error:
        raise UserError(f"{folder}: {error}") from error
    content["latent_avg"] = generator.w_mean.clone()
    if discriminator is not None:
        content["d"] = export_discriminator(discriminator)
    return content, _differences(generator, getattr(discriminator, "config", None))


def _differences(generator: Generator, other: Any) -> list[str]:
    """Say what rosinality's classes would do otherwise than these networks."""
    config, notes = generator.config, []
    for multiplier in (1, 2):
        if config.channels == channel_table(config.image_size, 16384 * multiplier):
            sizes = f"{config.image_size}, {config.w_dim}, {config.mapping_layers}"
            notes.append(f"loads into: Generator({sizes}, channel_multiplier={multiplier})")
            break
    else:
        notes.append(f"channels are those of no channel_multiplier of {ROSINALITY}: edit its table")
    if config.conv_clamp is not None:
        notes.append(
            f"conv_clamp={config.conv_clamp:g} is left out: the format has no place for it"
        )
    if other is not None and other.stddev_group != STDDEV_GROUP:
        notes.append(f"stddev_group={other.stddev_group} is left out: {ROSINALITY} always has 4")
    return notes


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
