"""Weights of the five networks in and out: released checkpoints and our own joint runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gan3d_bench.assets.registry import registry
from gan3d_bench.assets.store import asset_path
from gan3d_bench.checkpoints import KEY, read_checkpoint
from gan3d_bench.errors import UserError
from gan3d_bench.runs import Run
from gan3d_bench.weights import read_weights, save_weights

States = dict[str, dict[str, Tensor]]

NETWORKS = "networks.safetensors"
PURPOSE = "gan2shape-networks"

# Entry of a released checkpoint -> attribute of the method.
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
    states = _split(_read(asset_path(path) if path in registry().assets else Path(path)))
    for attribute, network in networks.items():
        expected = {key: value.shape for key, value in network.state_dict().items()}
        given = {key: value.shape for key, value in states.get(attribute, {}).items()}
        if expected == given:
            continue
        wrong = sorted(key for key in expected | given if expected.get(key) != given.get(key))
        raise UserError(
            f"start={path!r}: the weights of {attribute} do not fit this config, first "
            f"'{wrong[0]}': {_shape(given, wrong[0])}, expected {_shape(expected, wrong[0])}"
        )
    return states


def released_states(method: nn.Module, slot: int = 0) -> States:
    """The five networks of one instance slot under the released checkpoint's entries and keys."""
    return {
        entry: getattr(method, attribute).state_of(slot) for entry, attribute in ENTRIES.items()
    }


def save_networks(method: nn.Module, folder: Path) -> None:
    """Write the five networks into ``folder/networks.safetensors``; of independent ones, the first.

    Raises:
        UserError: the file cannot be written.
    """
    state = {
        f"{name}.{key}": value
        for name in ENTRIES.values()
        for key, value in getattr(method, name).state_of(0).items()
    }
    save_weights(folder / NETWORKS, state, PURPOSE)


def _read(path: Path) -> dict[str, Any]:
    if (path / NETWORKS).is_file():
        state, _ = read_weights(path / NETWORKS, PURPOSE)
        return {KEY: {}, "state_dict": {key: value.float() for key, value in state.items()}}
    if path.is_dir():
        return read_checkpoint(Run.open(path).checkpoint, "gan2shape")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign file may fail in any way
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(f"start={str(path)!r}: not a readable checkpoint ({reason})") from error
    if not isinstance(state, dict):
        raise UserError(f"start={str(path)!r}: expected a dict of network weights")
    return state


def _split(state: Mapping[str, Any]) -> States:
    if KEY not in state:
        return {name: dict(state[entry]) for entry, name in ENTRIES.items() if entry in state}
    weights: Mapping[str, Tensor] = state["state_dict"]
    states: States = {}
    for key, value in weights.items():
        attribute, _, rest = key.partition(".")
        if attribute in ENTRIES.values():
            states.setdefault(attribute, {})[rest] = value
    return states


def _shape(shapes: Mapping[str, torch.Size], key: str) -> str:
    return str(tuple(shapes[key])) if key in shapes else "missing"
