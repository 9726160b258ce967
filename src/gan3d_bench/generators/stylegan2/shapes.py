"""Shapes of the networks' weights, told from the architecture without making room for them.

An architecture from somebody's file may ask for any amount of memory; the weights beside it tell
whether it is real.
"""

from __future__ import annotations

from gan3d_bench.generators.stylegan2.discriminator import DiscriminatorConfig
from gan3d_bench.generators.stylegan2.generator import GeneratorConfig, resolutions

Shapes = dict[str, tuple[int, ...]]


def network_shapes(config: GeneratorConfig | DiscriminatorConfig) -> Shapes:
    """Return the shapes of the state dict of a network.

    Raises:
        UserError: `image_size` is not a power of two of at least 8.
        KeyError: a resolution without channels.
    """
    if isinstance(config, GeneratorConfig):
        return _generator(config)
    return _discriminator(config)


def _generator(config: GeneratorConfig) -> Shapes:
    channels, w_dim = config.channels, config.w_dim
    shapes: Shapes = {
        "w_mean": (w_dim,),
        "w_std": (w_dim,),
        "synthesis.constant": (channels[4], 4, 4),
    }
    for i in range(config.mapping_layers):
        shapes |= _layer(f"mapping.layers.{i}", w_dim, w_dim if i else config.z_dim)
    for size in resolutions(config.image_size):
        block, width = f"synthesis.blocks.{size}", channels[size]
        inputs = {"conv1": width} if size == 4 else {"conv0": channels[size // 2], "conv1": width}
        for conv, inward in inputs.items():
            shapes |= _layer(f"{block}.{conv}", width, inward, 3, 3)
            shapes |= _layer(f"{block}.{conv}.affine", inward, w_dim)
            shapes |= {f"{block}.{conv}.noise_strength": (), f"{block}.{conv}.noise": (size, size)}
        shapes |= _layer(f"{block}.to_rgb", 3, width, 1, 1)
        shapes |= _layer(f"{block}.to_rgb.affine", width, w_dim)
    return shapes


def _discriminator(config: DiscriminatorConfig) -> Shapes:
    channels, sizes = config.channels, resolutions(config.image_size)
    shapes = _layer("from_rgb", channels[config.image_size], 3, 1, 1)
    for size in sizes[1:]:
        inward, outward = channels[size], channels[size // 2]
        shapes |= _layer(f"blocks.{size}.conv0", inward, inward, 3, 3)
        shapes |= _layer(f"blocks.{size}.conv1", outward, inward, 3, 3)
        shapes[f"blocks.{size}.skip.weight"] = (outward, inward, 1, 1)
    last = channels[4]
    shapes |= _layer("conv", last, last + 1, 3, 3)
    return shapes | _layer("fc", last, last * 16) | _layer("out", 1, last)


def _layer(name: str, outward: int, *inward: int) -> Shapes:
    return {f"{name}.weight": (outward, *inward), f"{name}.bias": (outward,)}
