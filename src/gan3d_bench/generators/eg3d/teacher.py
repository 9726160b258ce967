"""EG3D as a teacher: our own folders, official files, untrained networks for tests."""

from __future__ import annotations

from pathlib import Path

import torch

from gan3d_bench.generators.eg3d.cameras import LABEL_DIM
from gan3d_bench.generators.eg3d.checkpoint import load_discriminator, load_generator
from gan3d_bench.generators.eg3d.config import EG3DConfig
from gan3d_bench.generators.eg3d.discriminator import DualDiscriminator
from gan3d_bench.generators.eg3d.generator import EG3DGenerator
from gan3d_bench.generators.eg3d.volume import VolumeConfig
from gan3d_bench.generators.latents import update_w_statistics
from gan3d_bench.generators.stylegan2 import DiscriminatorConfig, GeneratorConfig
from gan3d_bench.generators.stylegan2.generator import resolutions
from gan3d_bench.generators.stylegan2.teacher import DISCRIMINATOR, GENERATOR


def load(
    path: Path, image_size: int | None = None
) -> tuple[EG3DGenerator, DualDiscriminator | None]:
    """Load a generator and, where there is one, its discriminator.

    Args:
        path: a folder with ``generator.safetensors`` and perhaps ``discriminator.safetensors``, or
            a file of NVlabs/eg3d.
        image_size: not looked at: a generator has one size.

    Raises:
        UserError: its files are missing, damaged or hold something else.
    """
    if path.is_file():
        from gan3d_bench.generators.eg3d.official import read_official

        return read_official(path)
    discriminator = path / DISCRIMINATOR
    return (
        load_generator(path / GENERATOR),
        load_discriminator(discriminator) if discriminator.exists() else None,
    )


def random_pair() -> tuple[EG3DGenerator, DualDiscriminator]:
    """Untrained networks for tests, the same ones every time: 64 pixels, planes of 16."""
    channels = dict.fromkeys(resolutions(16), 16)
    backbone = GeneratorConfig(16, 16, 16, 2, channels, image_channels=3 * 8, label_dim=LABEL_DIM)
    config = EG3DConfig(
        backbone, VolumeConfig(coarse_samples=12, fine_samples=12), features=8, decoder_width=16
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        generator = EG3DGenerator(config)
        discriminator = DualDiscriminator(
            DiscriminatorConfig(64, dict.fromkeys(resolutions(64), 8), mapping_layers=2)
        )
        upscaling = generator.synthesis.super_resolution
        for block in (upscaling.block0, upscaling.block1):
            block.to_rgb.weight.mul_(0.1)  # images mostly within [-1, 1]
        generator.synthesis.decoder.out.bias[0] = 3.0  # dense enough to be seen
        rng = torch.Generator().manual_seed(0)
        update_w_statistics(generator, rng, 256, config.orbit.frontal())
    for network in (generator, discriminator):
        network.eval().requires_grad_(False)
    return generator, discriminator
