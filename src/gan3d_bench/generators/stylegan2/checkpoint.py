"""Saving, loading and converting StyleGAN2 networks.

Our files are safetensors with float16 weights and, in the metadata, the network's purpose and
architecture. State dicts of rosinality/stylegan2-pytorch and NVlabs/stylegan2-ada-pytorch are
renamed to ours; no weight is flipped, transposed or rescaled between the three.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gan3d_bench.errors import UserError
from gan3d_bench.generators.stylegan2.discriminator import Discriminator, DiscriminatorConfig
from gan3d_bench.generators.stylegan2.generator import Generator, GeneratorConfig
from gan3d_bench.weights import is_state, open_weights, read_weights, save_weights

State = Mapping[str, Tensor]

GENERATOR = "stylegan2-generator"
DISCRIMINATOR = "stylegan2-discriminator"
LAYOUTS = "expected keys of rosinality/stylegan2-pytorch or NVlabs/stylegan2-ada-pytorch"

_ROSINALITY_CONV = {
    "conv.weight": "weight",
    "conv.modulation.weight": "affine.weight",
    "conv.modulation.bias": "affine.bias",
    "noise.weight": "noise_strength",
    "activate.bias": "bias",
    "bias": "bias",
}
_NVIDIA_CONV = {
    "weight": "weight",
    "affine.weight": "affine.weight",
    "affine.bias": "affine.bias",
    "noise_strength": "noise_strength",
    "noise_const": "noise",
    "bias": "bias",
}


# -- our own files ------------------------------------------------------------------------------


def save_network(
    network: Generator | Discriminator, path: str | Path, facts: Mapping[str, str] | None = None
) -> None:
    """Write a network as safetensors in float16, by way of a temporary file beside it.

    Args:
        network: generator or discriminator.
        path: the file.
        facts: further metadata (training data, FID, licence ...).
    """
    purpose = GENERATOR if isinstance(network, Generator) else DISCRIMINATOR
    config = json.dumps(asdict(network.config), sort_keys=True)
    save_weights(Path(path), network.state_dict(), purpose, {**(facts or {}), "config": config})


def load_generator(path: str | Path) -> Generator:
    """Load a generator saved by `save_network`: float32, evaluation mode, without gradients.

    Raises:
        UserError: missing, truncated or foreign file, or one that holds another kind of network.
    """
    state, config = _read(Path(path), GENERATOR)
    return _fill(_build(Generator, GeneratorConfig, config, path), state, path)


def load_discriminator(path: str | Path) -> Discriminator:
    """Load a discriminator saved by `save_network`: float32, evaluation mode, without gradients.

    Raises:
        UserError: missing, truncated or foreign file, or one that holds another kind of network.
    """
    state, config = _read(Path(path), DISCRIMINATOR)
    return _fill(_build(Discriminator, DiscriminatorConfig, config, path), state, path)


def read_metadata(path: str | Path) -> dict[str, str]:
    """Return the metadata of a file saved by `save_network`.

    Raises:
        UserError: missing, truncated or foreign file.
    """
    return open_weights(Path(path))[1]


def _read(path: Path, purpose: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    state, metadata = read_weights(path, purpose)
    try:
        return state, json.loads(metadata["config"])
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: its architecture is missing or damaged") from error


def _build(network: type, schema: type, values: dict[str, Any], path: str | Path) -> Any:
    try:
        channels = {int(size): int(count) for size, count in values.pop("channels").items()}
        return network(schema(channels=channels, **values))
    except (UserError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(f"{path}: its architecture is missing or damaged") from error


def _fill(network: Any, state: State, path: str | Path) -> Any:
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    for key, shape in expected.items():
        if key not in state:
            raise UserError(f"{path}: '{key}' is missing, expected by this architecture")
        if tuple(state[key].shape) != shape:
            raise UserError(f"{path}: '{key}' is {tuple(state[key].shape)}, expected {shape}")
    for key in state:
        if key not in expected:
            raise UserError(f"{path}: '{key}' is not expected by this architecture")
        if not state[key].isfinite().all():
            raise UserError(f"{path}: '{key}' is not finite, expected trained weights")
    network.load_state_dict({key: value.float() for key, value in state.items()})
    return network.eval().requires_grad_(False)


# -- official state dicts -----------------------------------------------------------------------


def convert_generator(
    state: State, w_mean: Tensor | None = None, conv_clamp: float | None = None
) -> Generator:
    """Build a generator from a state dict of rosinality's or NVIDIA's repository.

    Args:
        state: the released key names; constant FIR kernels among them are ignored.
        w_mean: (w_dim,) or (1, w_dim) mean of w; rosinality keeps it outside the state dict, as
            ``latent_avg``.
        conv_clamp: limit of the activations; not in the state dict, 256 for NVIDIA's networks
            trained in mixed precision.

    Raises:
        UserError: keys or shapes of neither repository.
    """
    _require_state(state)
    rename = _rosinality_generator_key if "input.input" in state else _nvidia_generator_key
    converted = _rename(state, rename)
    if w_mean is not None:
        converted["w_mean"] = w_mean.reshape(-1)
    generator = Generator(_infer_generator(converted, conv_clamp))
    for key in ("w_mean", "w_std"):
        converted.setdefault(key, getattr(generator, key))
    return _fill(generator, _match(converted, generator), "state dict")


def convert_discriminator(
    state: State, conv_clamp: float | None = None, stddev_group: int = 4
) -> Discriminator:
    """Build a discriminator from a state dict of rosinality's or NVIDIA's repository.

    Args:
        state: the released key names; constant FIR kernels among them are ignored.
        conv_clamp, stddev_group: see `DiscriminatorConfig`; not in the state dict.

    Raises:
        UserError: keys or shapes of neither repository.
    """
    _require_state(state)
    if "convs.0.0.weight" in state:
        blocks = [re.match(r"convs\.(\d+)\.", key) for key in state]
        size = 2 ** (max(int(block[1]) for block in blocks if block) + 2)
        converted = _rename(state, lambda key: _rosinality_discriminator_key(key, size))
    else:
        converted = _rename(state, _nvidia_discriminator_key)
    discriminator = Discriminator(_infer_discriminator(converted, conv_clamp, stddev_group))
    return _fill(discriminator, _match(converted, discriminator), "state dict")


def _require_state(state: Any) -> None:
    if not is_state(state):
        raise UserError("state dict: expected the names and tensors of a StyleGAN2 network")


def _rename(state: State, rename: Any) -> dict[str, Tensor]:
    converted = {}
    for key, value in state.items():
        if key.endswith(("kernel", "resample_filter")):
            continue
        name = rename(key)
        if name is None:
            raise UserError(f"state dict: unknown key '{key}', expected a StyleGAN2 network")
        converted[name] = value
    return converted


def _match(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Drop the singleton axes in which the official shapes differ from ours."""
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    return {
        key: value.reshape(shapes[key])
        if key in shapes and _squeezed(value.shape) == _squeezed(shapes[key])
        else value
        for key, value in state.items()
    }


def _squeezed(shape: torch.Size) -> list[int]:
    return [side for side in shape if side != 1]


def _rosinality_generator_key(key: str) -> str | None:
    if match := re.fullmatch(r"style\.(\d+)\.(weight|bias)", key):
        return f"mapping.layers.{int(match[1]) - 1}.{match[2]}"
    if key == "input.input":
        return "synthesis.constant"
    if match := re.fullmatch(r"noises\.noise_(\d+)", key):
        index = int(match[1])
        layer = "conv1" if index % 2 == 0 else "conv0"
        return f"synthesis.blocks.{2 ** ((index + 5) // 2)}.{layer}.noise"
    if match := re.fullmatch(r"(conv1|to_rgb1|convs\.(\d+)|to_rgbs\.(\d+))\.(.+)", key):
        tail = _ROSINALITY_CONV.get(match[4])
        if tail is None:
            return None
        if match[2] is not None:
            index = int(match[2])
            return f"synthesis.blocks.{2 ** (index // 2 + 3)}.conv{index % 2}.{tail}"
        if match[3] is not None:
            return f"synthesis.blocks.{2 ** (int(match[3]) + 3)}.to_rgb.{tail}"
        return f"synthesis.blocks.4.{'conv1' if match[1] == 'conv1' else 'to_rgb'}.{tail}"
    return None


def _nvidia_generator_key(key: str) -> str | None:
    if key == "mapping.w_avg":
        return "w_mean"
    if match := re.fullmatch(r"mapping\.fc(\d+)\.(weight|bias)", key):
        return f"mapping.layers.{match[1]}.{match[2]}"
    if key == "synthesis.b4.const":
        return "synthesis.constant"
    if match := re.fullmatch(r"synthesis\.b(\d+)\.(conv0|conv1|torgb)\.(.+)", key):
        tail = _NVIDIA_CONV.get(match[3])
        layer = "to_rgb" if match[2] == "torgb" else match[2]
        return None if tail is None else f"synthesis.blocks.{match[1]}.{layer}.{tail}"
    return None


def _rosinality_discriminator_key(key: str, size: int) -> str | None:
    simple = {
        "convs.0.0.weight": "from_rgb.weight",
        "convs.0.1.bias": "from_rgb.bias",
        "final_conv.0.weight": "conv.weight",
        "final_conv.1.bias": "conv.bias",
        "final_linear.0.weight": "fc.weight",
        "final_linear.0.bias": "fc.bias",
        "final_linear.1.weight": "out.weight",
        "final_linear.1.bias": "out.bias",
    }
    if key in simple:
        return simple[key]
    if match := re.fullmatch(r"convs\.(\d+)\.(conv1|conv2|skip)\.\d\.(weight|bias)", key):
        layer = {"conv1": "conv0", "conv2": "conv1", "skip": "skip"}[match[2]]
        return f"blocks.{size // 2 ** (int(match[1]) - 1)}.{layer}.{match[3]}"
    return None


def _nvidia_discriminator_key(key: str) -> str | None:
    if match := re.fullmatch(r"b4\.(conv|fc|out)\.(weight|bias)", key):
        return f"{match[1]}.{match[2]}"
    if match := re.fullmatch(r"b\d+\.fromrgb\.(weight|bias)", key):
        return f"from_rgb.{match[1]}"
    if match := re.fullmatch(r"b(\d+)\.(conv0|conv1|skip)\.(weight|bias)", key):
        return f"blocks.{match[1]}.{match[2]}.{match[3]}"
    return None


def _infer_generator(state: State, conv_clamp: float | None) -> GeneratorConfig:
    channels = _channels(state, r"synthesis\.blocks\.(\d+)\.conv1\.bias")
    layers = [key for key in state if re.fullmatch(r"mapping\.layers\.\d+\.bias", key)]
    try:
        first = state["mapping.layers.0.weight"]
        _require_resolutions(channels)
        return GeneratorConfig(
            image_size=max(channels),
            z_dim=first.shape[1],
            w_dim=first.shape[0],
            mapping_layers=len(layers),
            channels=channels,
            conv_clamp=conv_clamp,
        )
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(f"state dict: no StyleGAN2 generator in it; {LAYOUTS}") from error


def _infer_discriminator(
    state: State, conv_clamp: float | None, stddev_group: int
) -> DiscriminatorConfig:
    channels = _channels(state, r"blocks\.(\d+)\.conv0\.bias")
    try:
        channels[4] = state["conv.bias"].numel()
        _require_resolutions(channels)
        return DiscriminatorConfig(max(channels), channels, stddev_group, conv_clamp)
    except (KeyError, ValueError) as error:
        raise UserError(f"state dict: no StyleGAN2 discriminator in it; {LAYOUTS}") from error


def _require_resolutions(channels: dict[int, int]) -> None:
    sizes = sorted(channels)
    if len(sizes) < 2 or sizes != [4 * 2**index for index in range(len(sizes))]:
        raise ValueError(sizes)


def _channels(state: State, pattern: str) -> dict[int, int]:
    matches = ((re.fullmatch(pattern, key), value) for key, value in state.items())
    return {int(match[1]): value.numel() for match, value in matches if match}
