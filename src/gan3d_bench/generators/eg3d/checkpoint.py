"""Saving and loading EG3D networks in our own files: safetensors with the architecture as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.files.json_text import parse_json
from gan3d_bench.files.weights import (
    Shapes,
    read_weights,
    shapes_of,
)
from gan3d_bench.generators.eg3d.cameras import LABEL_DIM, CameraOrbit
from gan3d_bench.generators.eg3d.config import EG3DConfig
from gan3d_bench.generators.eg3d.discriminator import DualDiscriminator
from gan3d_bench.generators.eg3d.generator import EG3DGenerator
from gan3d_bench.generators.eg3d.volume import VolumeConfig
from gan3d_bench.generators.stylegan2 import Discriminator, GeneratorConfig
from gan3d_bench.generators.stylegan2 import checkpoint as stylegan2

GENERATOR = "eg3d-generator"
DAMAGED = stylegan2.DAMAGED


def save_generator(
    generator: EG3DGenerator,
    path: str | Path,
    facts: Mapping[str, str] | None = None,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write a generator as safetensors, by way of a temporary file beside it.

    Args:
        generator: what is saved.
        path: the file.
        facts: further metadata (training data, FID, licence ...).
        dtype: of the weights in the file.
    """
    stylegan2.save_with_config(generator, path, GENERATOR, facts, dtype)


def load_generator(path: str | Path) -> EG3DGenerator:
    """Load a generator saved by `save_generator`: float32, evaluation mode, without gradients.

    Raises:
        UserError: missing, truncated or foreign file, or one that holds another kind of network.
    """
    state, metadata = read_weights(Path(path), GENERATOR)
    try:
        config = config_of(parse_json(metadata["config"]))
    except (UserError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{path}: {DAMAGED}") from error
    return build(config, state, path)


def save_discriminator(
    discriminator: DualDiscriminator,
    path: str | Path,
    facts: Mapping[str, str] | None = None,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write a discriminator: as of StyleGAN2, of six channels and labels of 25 numbers."""
    stylegan2.save_network(discriminator.network, path, facts, dtype)


def load_discriminator(path: str | Path) -> DualDiscriminator:
    """Load a discriminator saved by `save_discriminator`; see `load_generator`.

    Raises:
        UserError: as of `load_generator`; a discriminator of other images or labels.
    """
    network = stylegan2.load_discriminator(path)
    try:
        return dual(network)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def dual(network: Discriminator) -> DualDiscriminator:
    """Return the dual discriminator that is made of StyleGAN2's `network`, with its weights.

    Raises:
        UserError: it takes other images or labels.
    """
    config = network.config
    if (config.image_channels, config.label_dim) != (6, LABEL_DIM):
        raise UserError(
            f"a discriminator of {config.image_channels} channels and labels of "
            f"{config.label_dim} numbers, expected 6 and {LABEL_DIM}"
        )
    with torch.device("meta"):
        made = DualDiscriminator(config)
    made.network = network
    return made.eval().requires_grad_(False)


def config_of(values: dict[str, Any]) -> EG3DConfig:
    """Return the architecture that `dataclasses.asdict` made `values` of, by way of JSON.

    Raises:
        UserError, KeyError, TypeError, ValueError, AttributeError, OverflowError: none.
    """
    values = dict(values)
    backbone, volume, orbit = (dict(values.pop(key)) for key in ("backbone", "volume", "orbit"))
    channels = {int(size): int(count) for size, count in backbone.pop("channels").items()}
    if volume["ray_range"] is not None:
        volume["ray_range"] = tuple(volume["ray_range"])
    orbit["pivot"] = tuple(orbit["pivot"])
    for clamp in (backbone.get("conv_clamp"), values.get("sr_clamp")):
        if not isinstance(clamp, int | float | None):
            raise TypeError("clamp")
    return EG3DConfig(
        backbone=GeneratorConfig(channels=channels, **backbone),
        volume=VolumeConfig(**volume),
        orbit=CameraOrbit(**orbit),
        **values,
    )


def network_shapes(config: EG3DConfig) -> Shapes:
    """Return the shapes of the state dict of a generator, without making room for it.

    Raises:
        UserError, KeyError, TypeError, RuntimeError: an architecture that no network can have.
    """
    with torch.device("meta"):
        return shapes_of(EG3DGenerator(config))


def build(config: EG3DConfig, state: Mapping[str, Tensor], where: str | Path) -> EG3DGenerator:
    """Return a generator with the weights `state`: float32, evaluation mode, without gradients.

    Args:
        config: its architecture, from a file; room is made only for weights that are there.
        state: names and tensors.
        where: names them in errors.

    Raises:
        UserError: missing, unknown or non-finite weights, or ones of another shape.
    """
    layers = config.backbone.mapping_layers
    shapes = partial(network_shapes, config)
    return stylegan2.assembled(lambda: EG3DGenerator(config), shapes, layers, state, where)
