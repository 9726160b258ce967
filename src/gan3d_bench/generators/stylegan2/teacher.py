"""StyleGAN2 as a teacher: our own folders, official files, untrained networks for tests."""

from __future__ import annotations

from pathlib import Path

import torch

from gan3d_bench.errors import UserError
from gan3d_bench.generators.stylegan2.checkpoint import load_discriminator, load_generator
from gan3d_bench.generators.stylegan2.discriminator import Discriminator, DiscriminatorConfig
from gan3d_bench.generators.stylegan2.generator import Generator, GeneratorConfig, resolutions

GENERATOR, DISCRIMINATOR = "generator.safetensors", "discriminator.safetensors"
RANDOM_SIZES = (16, 32)


def load(path: Path, image_size: int | None = None) -> tuple[Generator, Discriminator | None]:
    """Load a generator and, where there is one, its discriminator.

    Args:
        path: a folder with ``generator.safetensors`` and perhaps ``discriminator.safetensors``, or
            a file of rosinality/stylegan2-pytorch or NVlabs/stylegan2-ada-pytorch.
        image_size: not looked at: StyleGAN2 has one size.

    Raises:
        UserError: its files are missing, damaged or hold something else.
    """
    if path.is_file():
        from gan3d_bench.generators.stylegan2.official import read_official

        return read_official(path)
    discriminator = path / DISCRIMINATOR
    return (
        load_generator(path / GENERATOR),
        load_discriminator(discriminator) if discriminator.exists() else None,
    )


def random_pair(size: int) -> tuple[Generator, Discriminator]:
    """Untrained networks for tests, the same ones every time.

    Raises:
        UserError: `size` is not one of `RANDOM_SIZES`.
    """
    if size not in RANDOM_SIZES:
        sizes = " or ".join(f"random-{size}" for size in RANDOM_SIZES)
        raise UserError(f"expected {sizes} (random teachers are for tests)")
    channels = dict.fromkeys(resolutions(size), 16)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        generator = Generator(
            GeneratorConfig(size, z_dim=16, w_dim=16, mapping_layers=3, channels=channels)
        )
        discriminator = Discriminator(DiscriminatorConfig(size, channels))
        for name, weight in generator.synthesis.named_parameters():
            if name.endswith("to_rgb.weight"):
                weight *= 0.4  # images mostly within [-1, 1]
        generator.w_mean.copy_(generator.mapping(torch.randn(256, 16)).mean(0))
    for network in (generator, discriminator):
        network.eval().requires_grad_(False)
    return generator, discriminator
