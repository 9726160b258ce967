"""Weights of the five networks in and out: released checkpoints and our own joint runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from gan3d_bench.assets.store import asset_path
from gan3d_bench.errors import UserError
from gan3d_bench.files.checkpoints import KEY, read_checkpoint
from gan3d_bench.files.run_folder import Run
from gan3d_bench.files.weights import is_state, read_torch, read_weights, save_weights
from gan3d_bench.methods.gan2shape.config import START, assets_with, starts

States = dict[str, dict[str, Tensor]]

PURPOSE = "gan2shape-networks"

# Entry of a released checkpoint -> attribute of `GAN2ShapeNetworks`.
ENTRIES = {
    "netD": "depth_net",
    "netA": "albedo_net",
    "netV": "view_net",
    "netL": "light_net",
    "netEnc": "encoder",
}


def read_start(path: str, networks: Mapping[str, nn.Module]) -> States:
    """Read the weights a run starts from.

    Args:
        path: an asset; a folder with ``networks.safetensors``; the folder of a gan2shape run with
            shared weights, or its checkpoint file; or a released checkpoint (a dict with netD,
            netA, netV, netL, netEnc).
        networks: attribute name -> network of one instance, for keys and shapes.

    Returns:
        attribute name -> state dict.

    Raises:
        UserError: unreadable file, or weights that do not fit this config.
    """
    try:
        states = _read(asset_path(path) if path in assets_with(START) else Path(path))
        _require_fit(states, networks)
    except UserError as error:
        raise UserError(f"start={path!r}: {error}") from error
    return states


def released_states(networks: nn.Module, slot: int = 0) -> States:
    """The five networks of one instance slot under the released checkpoint's entries and keys.

    Args:
        networks: a run's `GAN2ShapeNetworks`.
        slot: of the instance.
    """
    return {
        entry: getattr(networks, attribute).state_of(slot) for entry, attribute in ENTRIES.items()
    }


def save_networks(networks: nn.Module, folder: Path) -> None:
    """Write a run's five networks, the first of independent ones, into ``networks.safetensors``.

    Args:
        networks: a run's `GAN2ShapeNetworks`.
        folder: of the file.

    Raises:
        UserError: the file cannot be written.
    """
    state = {
        f"{name}.{key}": value
        for name in ENTRIES.values()
        for key, value in getattr(networks, name).state_of(0).items()
    }
    save_weights(folder / START, state, PURPOSE)


def _read(path: Path) -> States:
    if (path / START).is_file():
        return _by_attribute(read_weights(path / START, PURPOSE)[0])
    if (path / "config.yaml").is_file():
        return _read_ours(Run.open(path).checkpoint)
    if path.is_dir():
        raise UserError(f"nothing to start from in this folder; expected {starts()}")
    state = read_torch(path, starts())
    if isinstance(state, dict) and KEY in state:
        return _read_ours(path)
    wrong = [key for key in ENTRIES if not isinstance(state, dict) or not is_state(state.get(key))]
    if wrong:
        raise UserError(f"no weights '{wrong[0]}' in it; expected {starts()}")
    return {name: state[entry] for entry, name in ENTRIES.items()}


def _read_ours(path: Path) -> States:
    weights = read_checkpoint(path, "gan2shape")["state_dict"]
    return _by_attribute({key.removeprefix("networks."): value for key, value in weights.items()})


def _by_attribute(weights: Mapping[str, Tensor]) -> States:
    states: States = {}
    for key, value in weights.items():
        attribute, _, rest = key.partition(".")
        if attribute in ENTRIES.values():
            states.setdefault(attribute, {})[rest] = value.float()
    return states


def _require_fit(states: States, networks: Mapping[str, nn.Module]) -> None:
    for attribute, network in networks.items():
        weights = states.get(attribute, {})
        expected = {key: value.shape for key, value in network.state_dict().items()}
        given = {key: value.shape for key, value in weights.items()}
        wrong = sorted(key for key in expected | given if expected.get(key) != given.get(key))
        if wrong:
            raise UserError(
                f"the weights of {attribute} do not fit this config, first '{wrong[0]}': "
                f"{_shape(given, wrong[0])}, expected {_shape(expected, wrong[0])}"
            )
        for key, value in weights.items():
            if not value.isfinite().all():
                raise UserError(f"'{key}' of {attribute} is not finite; expected trained weights")


def _shape(shapes: Mapping[str, torch.Size], key: str) -> str:
    return str(tuple(shapes[key])) if key in shapes else "missing"
