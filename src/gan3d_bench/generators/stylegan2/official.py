"""Networks of rosinality/stylegan2-pytorch and NVlabs/stylegan2-ada-pytorch, to ours and back."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.files.pickles import RefusedPickle, clip
from gan3d_bench.files.torch_files import load_tensors, read_file
from gan3d_bench.files.weights import is_state, without_wrappers
from gan3d_bench.generators.latents import w_statistics
from gan3d_bench.generators.stylegan2 import nvidia_pickle, ops
from gan3d_bench.generators.stylegan2.checkpoint import build, network_shapes
from gan3d_bench.generators.stylegan2.discriminator import Discriminator, DiscriminatorConfig
from gan3d_bench.generators.stylegan2.generator import Generator, GeneratorConfig, resolutions
from gan3d_bench.generators.stylegan2.official_names import (
    Names,
    discriminator_names,
    discriminator_size,
    generator_names,
    generator_shape,
    mapping_shape,
    rosinality_kernels,
)

State = Mapping[str, Tensor]

ROSINALITY = "rosinality/stylegan2-pytorch"
NVIDIA = "NVlabs/stylegan2-ada-pytorch"
EXPECTED = f"a .pt of {ROSINALITY} with g_ema, or a .pkl of {NVIDIA}"
WHERE = "state dict"
W_SAMPLES = 10_000
STDDEV_GROUP = 4
UP_KERNELS = ("conv.blur.kernel", "upsample.kernel")


@dataclass(frozen=True)
class Official:
    """What an official file holds.

    Attributes:
        origin: the repository whose format it has.
        generator: the averaged one (g_ema, G_ema), with statistics of w.
        discriminator: None where the file has none.
        has_w_mean: whether the mean of w was in the file; else it is that of `W_SAMPLES` latents.
        has_noise: whether the noise maps were in the file; else they are drawn with seed 0.
        left_out: why a discriminator that is in the file is not here; "" for none.
    """

    origin: str
    generator: Generator
    discriminator: Discriminator | None
    has_w_mean: bool
    has_noise: bool
    left_out: str = ""


# -- files --------------------------------------------------------------------------------------


def read_official(path: Path) -> tuple[Generator, Discriminator | None]:
    """Return the networks of an official file, see `read_networks`.

    Raises:
        UserError: see there; its discriminator is of another design, so that what is trained with
            it would be without.
    """
    found = read_networks(path)
    if found.left_out:
        raise UserError(
            f"{found.left_out}; expected a discriminator of StyleGAN2 or none: "
            "`gan3d-bench import` makes a folder without it"
        )
    return found.generator, found.discriminator


def read_networks(path: Path) -> Official:
    """Read an official file. Its content tells the format, not its name; nothing in it is run.

    Raises:
        UserError: missing, truncated or foreign file, or networks that ours cannot stand for.
            The message leaves it to the caller to name the file.
    """
    try:
        content = read_file(path, nvidia_pickle.NAMES, inert=True)
    except RefusedPickle as error:
        raise UserError(f"not readable: {error}; expected {EXPECTED}") from error
    limit = path.stat().st_size
    match content:
        case {"g_ema": g_ema}:
            found = _read_rosinality(content, g_ema, limit)
        case {"G_ema": g_ema}:
            found = _read_nvidia(content, g_ema, limit)
        case _:
            raise nvidia_pickle.foreign(content, "g_ema or G_ema", EXPECTED)
    generator = found.generator
    mean, std = w_statistics(generator, torch.Generator().manual_seed(0), W_SAMPLES)
    if not (mean.isfinite().all() and std.isfinite().all()):
        raise UserError("its mapping network gives infinite stylecodes, expected trained weights")
    generator.w_std.copy_(std)
    if not found.has_w_mean:
        generator.w_mean.copy_(mean)
    return found


def _read_rosinality(content: dict[Any, Any], g_ema: Any, limit: int) -> Official:
    w_mean = None
    if "latent_avg" in content:
        w_mean = _part(
            "latent_avg", lambda: load_tensors({"latent_avg": content["latent_avg"]}, limit)
        )["latent_avg"]
    state = _part("g_ema", lambda: without_wrappers(load_tensors(g_ema, limit)))
    generator = _part("g_ema", lambda: convert_generator(state, w_mean))
    discriminator, left_out = None, ""
    if "d" in content:
        weights = _part("d", lambda: without_wrappers(load_tensors(content["d"], limit)))
        discriminator, left_out = _or_why("d", lambda: convert_discriminator(weights))
    has_noise = any(key.startswith("noises.") for key in state)
    return Official(ROSINALITY, generator, discriminator, w_mean is not None, has_noise, left_out)


def _read_nvidia(content: dict[Any, Any], g_ema: Any, limit: int) -> Official:
    def generator() -> tuple[Generator, bool, bool]:
        network = nvidia_pickle.read_generator(g_ema)
        state = load_tensors(network.state, limit)
        made = convert_generator(state, conv_clamp=network.conv_clamp)
        has_noise = any(key.endswith(".noise_const") for key in state)
        return made, "mapping.w_avg" in state, has_noise

    def discriminator() -> Discriminator:
        network = nvidia_pickle.read_discriminator(content["D"])
        state = load_tensors(network.state, limit)
        return convert_discriminator(state, network.conv_clamp, network.stddev_group)

    made, has_w_mean, has_noise = _part("G_ema", generator)
    found, left_out = None, ""
    if content.get("D") is not None:
        found, left_out = _or_why("D", discriminator)
    return Official(NVIDIA, made, found, has_w_mean, has_noise, left_out)


def _or_why(name: str, read: Callable[[], Discriminator]) -> tuple[Discriminator | None, str]:
    """A discriminator; or why it is another design. A generator is of use without."""
    try:
        return read(), ""
    except RefusedPickle as error:
        raise UserError(f"{name}: {error}; expected {EXPECTED}") from error
    except UserError as error:
        return None, f"{name}: {error}"


def _part(name: str, read: Any) -> Any:
    try:
        return read()
    except RefusedPickle as error:
        raise UserError(f"{name}: {error}; expected {EXPECTED}") from error
    except UserError as error:
        raise UserError(f"{name}: {error}") from error


# -- state dicts --------------------------------------------------------------------------------


def convert_generator(
    state: State, w_mean: Tensor | None = None, conv_clamp: float | None = None
) -> Generator:
    """Build a generator from a state dict of rosinality's or NVIDIA's repository.

    Channels of the images and the size of labels, if any, are read off the weights' shapes.

    Args:
        state: the released key names; constant FIR kernels may be missing.
            Noise maps, which early files of rosinality's lack, are then drawn with seed 0.
        w_mean: (w_dim,) or (1, w_dim) mean of w; rosinality keeps it outside the state dict, as
            ``latent_avg``.
        conv_clamp: limit of the activations; not in the state dict, 256 for NVIDIA's networks
            trained in mixed precision.

    Raises:
        UserError: keys, shapes or FIR kernels of neither repository.
    """
    rosinality = "input.input" in require_state(state)
    weights = without_kernels(state)
    require_no_prefix(weights)
    image_size, layers = generator_shape(weights, rosinality)
    conditional = not rosinality and mapping_shape(weights)[1]
    names = generator_names(image_size, layers, conditional)
    converted = _rename(weights, names, rosinality)
    if w_mean is not None:
        converted["w_mean"] = w_mean
    w_dim, inputs = _mapping_sizes(converted, layers)
    if rosinality and inputs != w_dim:
        raise UserError(
            f"its mapping network takes {inputs} numbers for stylecodes of {w_dim}; expected as "
            f"many, as {ROSINALITY} has them (is it a conditional network, whose labels are "
            "embedded elsewhere?)"
        )
    label_dim = _label_dim(converted) if conditional else 0
    config = GeneratorConfig(
        image_size=image_size,
        z_dim=inputs - w_dim if conditional else inputs,
        w_dim=w_dim,
        mapping_layers=layers,
        channels=_channels(converted, "synthesis.blocks.{}.conv1.bias", resolutions(image_size)),
        conv_clamp=conv_clamp,
        image_channels=_size(converted, "synthesis.blocks.4.to_rgb.bias"),
        label_dim=label_dim,
    )
    converted.setdefault("w_mean", torch.zeros(w_dim))
    converted["w_std"] = torch.ones(w_dim)
    if not any(key.endswith(".noise") for key in converted):
        _draw_noise(converted, image_size)
    return build(Generator, config, _reshape(converted, config), WHERE)


def convert_discriminator(
    state: State, conv_clamp: float | None = None, stddev_group: int = STDDEV_GROUP
) -> Discriminator:
    """Build a discriminator from a state dict of rosinality's or NVIDIA's repository.

    Channels of the images and the sizes of labels, if any, are read off the weights' shapes.

    Args:
        state: the released key names; constant FIR kernels may be missing.
        conv_clamp, stddev_group: see `DiscriminatorConfig`; not in the state dict.

    Raises:
        UserError: keys, shapes or FIR kernels of neither repository.
    """
    rosinality = "convs.0.0.weight" in require_state(state)
    weights = without_kernels(state)
    require_no_prefix(weights)
    image_size = discriminator_size(weights, rosinality)
    layers, conditional = (0, False) if rosinality else mapping_shape(weights)
    names = discriminator_names(image_size, layers, conditional)
    converted = _rename(weights, names, rosinality)
    channels = _channels(converted, "blocks.{}.conv0.bias", resolutions(image_size)[1:])
    channels |= _channels(converted, "conv.bias", [4])
    config = DiscriminatorConfig(
        image_size, channels, stddev_group, conv_clamp, _side(converted, "from_rgb.weight", 1)
    )
    if conditional:
        config = replace(
            config,
            label_dim=_label_dim(converted),
            cmap_dim=_size(converted, "out.bias"),
            mapping_layers=layers,
        )
    return build(Discriminator, config, _reshape(converted, config), WHERE)


def export_generator(generator: Generator) -> dict[str, Tensor]:
    """Return a state dict under rosinality's names, with its constant FIR kernels.

    The mean of w (``latent_avg``) and `conv_clamp` are not part of it.

    Raises:
        UserError: latents and stylecodes of different sizes, labels, or images that are not RGB.
    """
    config = generator.config
    _require_plain(config)
    if config.z_dim != config.w_dim:
        raise UserError(
            f"latents of {config.z_dim} and stylecodes of {config.w_dim} numbers: expected the "
            f"same, as {ROSINALITY} has them"
        )
    names = generator_names(config.image_size, config.mapping_layers)
    kernels = rosinality_kernels(config.image_size)[0]
    return _export(generator.state_dict(), names, kernels)


def export_discriminator(discriminator: Discriminator) -> dict[str, Tensor]:
    """Return a state dict under rosinality's names, with its constant FIR kernels.

    Raises:
        UserError: labels, or images that are not RGB.
    """
    _require_plain(discriminator.config)
    size = discriminator.image_size
    return _export(
        discriminator.state_dict(), discriminator_names(size), rosinality_kernels(size)[1]
    )


def _require_plain(config: GeneratorConfig | DiscriminatorConfig) -> None:
    if config.label_dim or config.image_channels != 3:
        raise UserError(
            f"a network with labels of {config.label_dim} numbers and {config.image_channels} "
            f"image channels: expected none and 3, as {ROSINALITY} has them"
        )


def _export(state: State, names: list[Names], kernels: Mapping[str, float]) -> dict[str, Tensor]:
    exported = {
        name.rosinality: _with_axes(name.rosinality, state[name.ours].detach()).contiguous()
        for name in names
        if name.rosinality is not None
    }
    return exported | {key: ops.binomial_kernel(total) for key, total in kernels.items()}


def _with_axes(key: str, value: Tensor) -> Tensor:
    """Add the axes of length 1 that rosinality's `key` has."""
    if key.startswith("noises."):
        return value[None, None]
    if re.fullmatch(r"to_rgb(1|s\.\d+)\.bias", key):
        return value.view(1, -1, 1, 1)
    return value[None] if key.endswith(("input.input", "conv.weight", "noise.weight")) else value


def require_state(state: Any) -> State:
    if not is_state(state):
        raise UserError("expected the names and tensors of a StyleGAN2 network")
    return state


def require_no_prefix(state: State) -> None:
    first = {key.partition(".")[0] for key in state}
    if len(first) == 1 < len(state):
        raise UserError(f"all of its keys begin with {clip(first.pop() + '.')}, expected none so")


def without_kernels(state: State) -> dict[str, Tensor]:
    """Leave out the constant FIR kernels, once they are seen to be the ones ours has."""
    weights = {}
    for key, value in state.items():
        if not key.endswith(("kernel", "resample_filter")):
            weights[key] = value
            continue
        expected = ops.binomial_kernel(4.0 if key.endswith(UP_KERNELS) else 1.0)
        if value.shape != expected.shape or not torch.allclose(value.float(), expected, atol=1e-4):
            raise UserError(f"'{key}' is another FIR kernel, expected that of [1, 3, 3, 1]")
    return weights


def _rename(state: State, names: list[Names], rosinality: bool) -> dict[str, Tensor]:
    ours = {name.rosinality if rosinality else name.nvidia: name.ours for name in names}
    for key in state:
        if key not in ours:
            raise UserError(f"unknown key {clip(key)}, expected a StyleGAN2 network")
    return {ours[key]: value for key, value in state.items()}


def _draw_noise(state: dict[str, Tensor], image_size: int) -> None:
    rng = torch.Generator().manual_seed(0)
    for name in generator_names(image_size, mapping_layers=0):
        if name.ours.endswith(".noise"):
            size = int(name.ours.split(".")[2])
            state[name.ours] = torch.randn(size, size, generator=rng)


def _mapping_sizes(state: State, layers: int) -> tuple[int, int]:
    first, last = (state.get(f"mapping.layers.{i}.weight") for i in (0, layers - 1))
    if first is None or last is None or not all(x.ndim == 2 and x.numel() for x in (first, last)):
        raise UserError("its mapping network is damaged, expected fully connected layers")
    return last.shape[0], first.shape[1]


def _channels(state: State, bias: str, sizes: list[int]) -> dict[int, int]:
    return {size: _size(state, bias.format(size)) for size in sizes}


def _size(state: State, key: str) -> int:
    """Elements of a bias."""
    if key not in state or not state[key].numel():
        raise UserError(f"'{key}' is missing, expected a StyleGAN2 network")
    return state[key].numel()


def _side(state: State, key: str, axis: int) -> int:
    """Length of one axis of a weight."""
    if key not in state or state[key].ndim <= axis or not state[key].numel():
        raise UserError(f"'{key}' is missing, expected a StyleGAN2 network")
    return state[key].shape[axis]


def _label_dim(state: State) -> int:
    return _side(state, "mapping.embed.weight", 1)


def _reshape(state: State, config: GeneratorConfig | DiscriminatorConfig) -> dict[str, Tensor]:
    """Add and drop axes of length 1, in which the official shapes differ from ours."""
    expected = network_shapes(config)

    def reshape(key: str, value: Tensor) -> Tensor:
        shape = expected.get(key, value.shape)
        same = [n for n in shape if n != 1] == [n for n in value.shape if n != 1]
        return value.reshape(shape) if same else value

    return {key: reshape(key, value) for key, value in state.items()}
