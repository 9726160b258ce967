"""Saving and loading StyleGAN2 networks in our own files.

They are safetensors with, in the metadata, the network's purpose and architecture. `official` has
the files of other repositories.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from gan3d_bench.errors import UserError
from gan3d_bench.files.json_text import parse_json
from gan3d_bench.files.weights import (
    Shapes,
    open_weights,
    read_weights,
    require_weights,
    save_weights,
    shapes_of,
)
from gan3d_bench.generators.stylegan2.discriminator import Discriminator, DiscriminatorConfig
from gan3d_bench.generators.stylegan2.generator import Generator, GeneratorConfig

State = Mapping[str, Tensor]

GENERATOR = "stylegan2-generator"
DISCRIMINATOR = "stylegan2-discriminator"
DAMAGED = "its architecture is missing or damaged"

N = TypeVar("N", Generator, Discriminator)
Network = TypeVar("Network", bound=nn.Module)


def save_network(
    network: Generator | Discriminator,
    path: str | Path,
    facts: Mapping[str, str] | None = None,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write a network as safetensors, by way of a temporary file beside it.

    Args:
        network: generator or discriminator.
        path: the file.
        facts: further metadata (training data, FID, licence ...).
        dtype: of the weights in the file.
    """
    purpose = GENERATOR if isinstance(network, Generator) else DISCRIMINATOR
    save_with_config(network, path, purpose, facts, dtype)


def save_with_config(
    network: Any,
    path: str | Path,
    purpose: str,
    facts: Mapping[str, str] | None = None,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write any network, and the dataclass ``network.config`` as JSON; see `save_network`.

    Args:
        purpose: what it is, as `files.weights.read_weights` will demand it.
    """
    config = json.dumps(asdict(network.config), sort_keys=True)
    facts = {**(facts or {}), "config": config}
    save_weights(Path(path), network.state_dict(), purpose, facts, dtype)


def load_generator(path: str | Path) -> Generator:
    """Load a generator saved by `save_network`: float32, evaluation mode, without gradients.

    Raises:
        UserError: missing, truncated or foreign file, or one that holds another kind of network.
    """
    state, config = _read(Path(path), GENERATOR)
    return build(Generator, _config(GeneratorConfig, config, path), state, path)


def load_discriminator(path: str | Path) -> Discriminator:
    """Load a discriminator saved by `save_network`: float32, evaluation mode, without gradients.

    Raises:
        UserError: missing, truncated or foreign file, or one that holds another kind of network.
    """
    state, config = _read(Path(path), DISCRIMINATOR)
    return build(Discriminator, _config(DiscriminatorConfig, config, path), state, path)


def read_metadata(path: str | Path) -> dict[str, str]:
    """Return the metadata of a file saved by `save_network`.

    Raises:
        UserError: missing, truncated or foreign file.
    """
    return open_weights(Path(path))[1]


def _read(path: Path, purpose: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    state, metadata = read_weights(path, purpose)
    try:
        return state, parse_json(metadata["config"])
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: {DAMAGED}") from error


def _config(schema: type, values: dict[str, Any], path: str | Path) -> Any:
    try:
        channels = {int(size): int(count) for size, count in values.pop("channels").items()}
        if not isinstance(values.get("conv_clamp"), int | float | None):
            raise TypeError("conv_clamp")
        return schema(channels=channels, **values)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{path}: {DAMAGED}") from error


def network_shapes(config: GeneratorConfig | DiscriminatorConfig) -> Shapes:
    """Return the shapes of the state dict of a network, without making room for it.

    Raises:
        UserError, KeyError, TypeError, RuntimeError: an architecture that no network can have.
    """
    with torch.device("meta"):
        if isinstance(config, GeneratorConfig):
            return shapes_of(Generator(config))
        return shapes_of(Discriminator(config))


def build(kind: type[N], config: Any, state: State, where: str | Path) -> N:
    """Return a network with the weights `state`: float32, evaluation mode, without gradients.

    Args:
        kind: `Generator` or `Discriminator`.
        config: its architecture, from a file; room is made only for weights that are there.
        state: names and tensors.
        where: names them in errors.

    Raises:
        UserError: missing, unknown or non-finite weights, or ones of another shape.
    """
    layers = config.mapping_layers if kind is Generator or config.label_dim else 0
    return assembled(lambda: kind(config), lambda: network_shapes(config), layers, state, where)


def assembled(
    make: Callable[[], Network],
    shapes: Callable[[], Shapes],
    layers: int,
    state: State,
    where: str | Path,
) -> Network:
    """Return what `make` makes, with the weights `state`; see `build`.

    Args:
        make: the network of an architecture from a file.
        shapes: what its weights should be like, without making room for them.
        layers: of its mapping network: more than there are weights are no architecture.
        state: names and tensors.
        where: names them in errors.

    Raises:
        UserError: as of `build`.
    """
    try:
        if layers > len(state):
            raise ValueError(layers)
        expected = shapes()
    except (UserError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{where}: {DAMAGED}") from error
    try:
        require_weights(state, expected)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    try:
        network = make()
    except (UserError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{where}: {DAMAGED}") from error
    network.load_state_dict({key: value.float() for key, value in state.items()})
    return network.eval().requires_grad_(False)
