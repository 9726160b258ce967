"""Released checkpoints of seasonSH/LiftedGAN, to our networks' weights and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.files.pickles import Inert, RefusedPickle, UnknownName, clip
from gan3d_bench.files.torch_files import load_tensors, read_file
from gan3d_bench.files.weights import without_wrappers
from gan3d_bench.methods.liftedgan.architecture import (
    MAX_BLOCKS,
    Architecture,
    State,
    States,
    architecture_of,
    require_shapes,
)
from gan3d_bench.methods.liftedgan.official_names import (
    AFFINE,
    ENTRIES,
    STYLE_HEAD,
    TO_W,
    official_key,
    upsampling,
)

ORIGIN = "seasonSH/LiftedGAN"
EXPECTED = f"a checkpoint_XXX.pth of {ORIGIN} with {', '.join(ENTRIES)} and global_step"
OFFICIAL = {ours: entry for entry, ours in ENTRIES.items()}


@dataclass(frozen=True)
class LiftedGANWeights:
    """What a released checkpoint holds.

    Attributes:
        states: name of the network (`architecture.NETWORKS`) -> state dict in float32.
        architecture: of the networks, with `image_size` and `w_dim`.
        steps: number of training steps.
        style_head: whether the unused head was there.
    """

    states: dict[str, dict[str, Tensor]]
    architecture: Architecture
    steps: int
    style_head: bool


def read_liftedgan(path: Path) -> LiftedGANWeights:
    """Read a released checkpoint. Nothing in it is run; its optimiser is not read.

    Raises:
        UserError: missing, truncated, hostile or foreign file, or weights of other networks. The
            message leaves it to the caller to name the file.
    """
    try:
        content = read_file(path, {}, inert=True)
        if isinstance(content, Inert):
            raise UnknownName(content.name)
        if not isinstance(content, dict):
            raise RefusedPickle("it holds no dictionary")
        entries = {entry: _entry(content, entry, path.stat().st_size) for entry in ENTRIES}
    except RefusedPickle as error:
        raise UserError(f"not readable: {error}; expected {EXPECTED}") from error
    steps = content.get("global_step")
    if type(steps) is not int or not 0 <= steps < 2**63:
        raise UserError(f"no number of steps 'global_step' in it; expected {EXPECTED}")
    return from_official(entries, steps)


def _entry(content: dict[Any, Any], entry: str, limit: int) -> dict[str, Tensor]:
    if entry not in content:
        raise UserError(f"no '{entry}' in it; expected {EXPECTED}")
    try:
        return without_wrappers(load_tensors(content[entry], limit))
    except RefusedPickle as error:
        raise RefusedPickle(f"{entry}: {error}") from error


def from_official(entries: Mapping[str, State], steps: int = 0) -> LiftedGANWeights:
    """Convert the state dicts of netD, netT, netSD and netSC, with or without the unused head.

    Args:
        entries: netD ... -> state dict with the released keys.
        steps: number of training steps.

    Raises:
        UserError: missing, unknown or non-finite weights, or ones of other shapes. It names the
            released key.
    """
    heads = {key: value for key, value in entries["netSD"].items() if key.startswith(STYLE_HEAD)}
    used = {key: value for key, value in entries["netSD"].items() if key not in heads}
    blocks = sum(upsampling(i) in entries["netD"] for i in range(MAX_BLOCKS))
    if not blocks:
        raise UserError(f"'netD.{upsampling(0)}' is missing, expected a depth decoder")
    states = {
        ours: _renamed(ours, {**entries, "netSD": used}[entry], blocks)
        for entry, ours in ENTRIES.items()
    }

    def name(network: str, key: str) -> str:
        return f"{OFFICIAL[network]}.{official_key(network, key, blocks)}"

    architecture = architecture_of(states, name)
    if heads:
        require_shapes(
            {"head": heads}, {"head": _style_head(architecture)}, lambda _, key: f"netSD.{key}"
        )
    floats = {ours: {k: v.float() for k, v in state.items()} for ours, state in states.items()}
    return LiftedGANWeights(floats, architecture, steps, bool(heads))


def to_official(states: States, steps: int = 0) -> dict[str, Any]:
    """Return the content of a released checkpoint, without optimiser.

    The unused head is there, filled with zeros, so that strict loading accepts it.

    Args:
        states: name of the network -> state dict.
        steps: number of training steps.

    Raises:
        UserError: weights of other networks.
    """
    architecture = architecture_of(states)
    content: dict[str, Any] = {
        entry: {
            official_key(ours, key, architecture.blocks): value[None] if _is_row(key) else value
            for key, value in states[ours].items()
        }
        for entry, ours in ENTRIES.items()
    }
    content["netSD"] |= {
        key: torch.zeros(shape) for key, shape in _style_head(architecture).items()
    }
    return content | {"global_step": steps}


def _renamed(network: str, state: State, blocks: int) -> dict[str, Tensor]:
    """Give our names to weights, of which none may be missing or too many."""
    entry = OFFICIAL[network]
    keys = Architecture(image_size=8 << blocks).shapes()[network]  # the same at all widths
    ours = {official_key(network, key, blocks): key for key in keys}
    for key in ours:
        if key not in state:
            raise UserError(f"'{entry}.{key}' is missing, expected by these networks")
    for key in state:
        if key not in ours:
            raise UserError(f"{clip(f'{entry}.{key}')} is not expected by these networks")
    return {ours[key]: _without_row(f"{entry}.{key}", ours[key], state[key]) for key in state}


def _without_row(official: str, key: str, value: Tensor) -> Tensor:
    if not _is_row(key):
        return value
    if value.ndim != 2 or len(value) != 1:
        raise UserError(f"'{official}' is {tuple(value.shape)}, expected one row")
    return value[0]


def _is_row(key: str) -> bool:
    return key.rpartition(".")[2] in AFFINE


def _style_head(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Shapes of the unused head: M's last layers, with netSD's width."""
    like = Architecture(
        w_dim=architecture.w_dim, manipulation_hidden=architecture.decomposition_hidden
    )
    shapes = like.shapes()["manipulation"]
    named = {official_key("manipulation", key, 1): shape for key, shape in shapes.items()}
    return {
        STYLE_HEAD + key.removeprefix(TO_W): shape
        for key, shape in named.items()
        if key.startswith(TO_W)
    }
