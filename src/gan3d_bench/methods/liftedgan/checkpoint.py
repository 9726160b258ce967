"""Weights of the four networks as our files, and what ``import`` and ``export`` do with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gan3d_bench.errors import UserError
from gan3d_bench.files.checkpoints import read_checkpoint
from gan3d_bench.files.pickles import clip
from gan3d_bench.files.run_folder import Run
from gan3d_bench.files.weights import open_weights, read_weights, save_weights, shapes_of
from gan3d_bench.methods.liftedgan.architecture import (
    NETWORKS,
    States,
    architecture_of,
    require_shapes,
)
from gan3d_bench.methods.liftedgan.official import ORIGIN, read_liftedgan, to_official

START = "networks.safetensors"
PURPOSE = "liftedgan-networks"
STEPS = "steps"
LIFTER = "lifter"  # the method's attribute that holds the networks


def save_networks(states: States, folder: Path, steps: int) -> None:
    """Write the weights to ``folder/networks.safetensors``, in float32.

    Args:
        states: name of the network (`architecture.NETWORKS`) -> state dict.
        folder: is made.
        steps: number of training steps.

    Raises:
        UserError: the file cannot be written.
    """
    flat = {f"{name}.{key}": v for name, state in states.items() for key, v in state.items()}
    save_weights(folder / START, flat, PURPOSE, {STEPS: str(steps)}, torch.float32)


def load_networks(
    folder: Path, networks: Mapping[str, nn.Module] | None = None
) -> dict[str, dict[str, Tensor]]:
    """Read what `save_networks` or ``gan3d-bench import --as liftedgan`` wrote, or of a run.

    Args:
        folder: with ``networks.safetensors``, or of a liftedgan run.
        networks: by name (`architecture.NETWORKS`), which the weights must fit, without those
            that are not wanted; None: all four, of any sizes that fit together.

    Returns:
        name of the network -> state dict in float32, of the networks asked for.

    Raises:
        UserError: missing, damaged or foreign file, or weights of other networks.
    """
    path, weights = _weights(folder)
    states: dict[str, dict[str, Tensor]] = {name: {} for name in NETWORKS}
    for key, value in weights.items():
        name, _, rest = key.partition(".")
        if name not in states:
            raise UserError(f"{path}: {clip(key)} is of no network, expected {', '.join(NETWORKS)}")
        states[name][rest] = value
    try:
        if networks is None:
            architecture_of(states)
        else:
            require_shapes(states, {name: shapes_of(net) for name, net in networks.items()})
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return {
        name: {key: value.float() for key, value in states[name].items()}
        for name in networks or NETWORKS
    }


def _weights(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    """The file that a folder's weights are in, and the weights by network and key."""
    if not (folder / "config.yaml").is_file():
        return folder / START, read_weights(folder / START, PURPOSE)[0]
    path = Run.open(folder).checkpoint
    state, prefix = read_checkpoint(path, "liftedgan")["state_dict"], f"{LIFTER}."
    return path, {
        key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)
    }


def import_file(source: Path, folder: Path) -> dict[str, Any]:
    """Write the networks of a released checkpoint to `folder`; return the card's facts.

    Raises:
        UserError: see `official.read_liftedgan`.
    """
    found = read_liftedgan(source)
    save_networks(found.states, folder, found.steps)
    return {
        "origin": ORIGIN,
        **asdict(found.architecture),
        "steps": found.steps,
        "parameters": {
            name: sum(value.numel() for value in state.values())
            for name, state in found.states.items()
        },
        "unused_style_head": "left out" if found.style_head else "not in the file",
    }


def export_folder(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the networks of `folder` as a released checkpoint, and notes for the user.

    Raises:
        UserError: see `load_networks`.
    """
    content = to_official(load_networks(folder), _steps(folder / START))
    return content, [
        "netSD.model_style, which nothing uses, is zeros",
        f"{ORIGIN} keeps the optimiser beside the networks; it is left out",
    ]


def _steps(path: Path) -> int:
    text = open_weights(path)[1].get(STEPS, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise UserError(f"{path}: steps={clip(text)}, expected a whole number")
    return int(text)
