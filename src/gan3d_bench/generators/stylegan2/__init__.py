"""StyleGAN2 (Karras et al. 2020, arXiv:1912.04958) in plain PyTorch, without custom operators."""

from gan3d_bench.generators.stylegan2.checkpoint import (
    load_discriminator,
    load_generator,
    save_network,
)
from gan3d_bench.generators.stylegan2.discriminator import Discriminator, DiscriminatorConfig
from gan3d_bench.generators.stylegan2.generator import (
    Generator,
    GeneratorConfig,
    Noise,
    with_channels,
)

__all__ = [
    "Discriminator",
    "DiscriminatorConfig",
    "Generator",
    "GeneratorConfig",
    "Noise",
    "load_discriminator",
    "load_generator",
    "save_network",
    "with_channels",
]
