"""What ``gan3d-bench import --as eg3d`` and ``export`` do with EG3D's files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gan3d_bench.errors import UserError
from gan3d_bench.generators.eg3d import teacher
from gan3d_bench.generators.eg3d.checkpoint import save_discriminator, save_generator
from gan3d_bench.generators.eg3d.export import export_networks
from gan3d_bench.generators.eg3d.official import ORIGIN, W_SAMPLES, read_networks


def import_file(source: Path, folder: Path) -> dict[str, Any]:
    """Write the networks of an official file to `folder`, in float32; return the card's facts.

    Raises:
        UserError: see `official.read_networks`; the message leaves it to the caller to name the
            file.
    """
    found = read_networks(source)
    generator, discriminator = found.generator, found.discriminator
    save_generator(generator, folder / teacher.GENERATOR, dtype=torch.float32)
    if discriminator is not None:
        save_discriminator(discriminator, folder / teacher.DISCRIMINATOR, dtype=torch.float32)
    config = generator.config
    return {
        "origin": ORIGIN,
        "image_size": config.image_size,
        "volume_size": config.volume_size,
        "plane_axes": config.plane_axes,
        "super_resolution": config.super_resolution,
        "volume": asdict(config.volume),
        "orbit": asdict(config.orbit),
        "latents": config.backbone.z_dim,
        "parameters": {
            "generator": _count(generator),
            "discriminator": _count(discriminator) if discriminator else None,
        },
        "w_mean": "in the file",
        "w_std": f"computed from {W_SAMPLES} latents, seed 0, conditioned on the frontal camera",
        "notes": [
            f"planes with {config.plane_axes} axes; cameras at {config.orbit.radius:g}, focal "
            f"length {config.orbit.focal:g} (not in the file: that of the released generator "
            "whose cameras are as far away)",
            *([f"discriminator left out: {found.left_out}"] if found.left_out else []),
        ],
    }


def export_folder(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the networks of `folder` as weights for NVlabs/eg3d's classes, and notes for the user.

    Raises:
        UserError: no networks there, or ones that the released classes cannot stand for.
    """
    generator, discriminator = teacher.load(folder)
    try:
        content = export_networks(generator, discriminator)
    except UserError as error:
        raise UserError(f"{folder}: {error}") from error
    notes = [
        "weights and arguments of the classes, not their source: "
        "G = TriPlaneGenerator(**file['G_init_kwargs']); G.load_state_dict(file['G_ema']); "
        "G.neural_rendering_resolution = file['neural_rendering_resolution']; "
        "G.renderer.plane_axes = file['plane_axes']"
    ]
    if discriminator is not None:
        notes.append("D = DualDiscriminator(**file['D_init_kwargs']); D.load_state_dict(file['D'])")
    return content, notes


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
