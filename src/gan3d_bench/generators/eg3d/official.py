"""Networks of NVlabs/eg3d, to ours and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.files.pickles import RefusedPickle, clip
from gan3d_bench.files.torch_files import StoredTensor, load_tensors, read_file
from gan3d_bench.generators.eg3d import official_options, official_pickle
from gan3d_bench.generators.eg3d.checkpoint import build, dual
from gan3d_bench.generators.eg3d.config import EG3DConfig
from gan3d_bench.generators.eg3d.discriminator import DualDiscriminator
from gan3d_bench.generators.eg3d.generator import EG3DGenerator
from gan3d_bench.generators.eg3d.official_names import (
    BACKBONE,
    CLASSES,
    DECODER,
    SUPER_RESOLUTION,
    WITHOUT_ANTIALIAS,
    decoder_names,
    super_resolution_names,
    within_backbone,
)
from gan3d_bench.generators.latents import w_statistics
from gan3d_bench.generators.stylegan2 import nvidia_pickle
from gan3d_bench.generators.stylegan2.official import (
    W_SAMPLES,
    convert_discriminator,
    require_state,
    without_kernels,
)
from gan3d_bench.generators.stylegan2.official import convert_generator as convert_backbone

ORIGIN = "NVlabs/eg3d"
EXPECTED = f"a .pkl of {ORIGIN}, or what `gan3d-bench export --as eg3d` wrote"
WHERE = "state dict"
NOT_WEIGHTS = ("dataset_label_std",)  # of the training labels, for noise on them


@dataclass(frozen=True)
class Official:
    """What an official file holds.

    Attributes:
        generator: the averaged one (G_ema), with statistics of w for the frontal camera.
        discriminator: None where the file has none.
        left_out: why a discriminator that is in the file is not here; "" for none.
    """

    generator: EG3DGenerator
    discriminator: DualDiscriminator | None
    left_out: str = ""


def read_networks(path: Path) -> Official:
    """Read an official file. Its content tells the format, not its name; nothing in it is run.

    Raises:
        UserError: missing, truncated or foreign file, or networks that ours cannot stand for.
            The message leaves it to the caller to name the file.
    """
    try:
        content = read_file(path, official_pickle.NAMES, inert=True, build=official_pickle.build)
    except RefusedPickle as error:
        raise UserError(f"not readable: {error}; expected {EXPECTED}") from error
    if not isinstance(content, dict) or "G_ema" not in content:
        raise nvidia_pickle.foreign(content, "G_ema", EXPECTED)
    limit = path.stat().st_size
    try:
        record = content["G_ema"]
        made = _exported(content, limit) if isinstance(record, dict) else _pickled(record, limit)
    except RefusedPickle as error:
        raise UserError(f"G_ema: {error}; expected {EXPECTED}") from error
    except UserError as error:
        raise UserError(f"G_ema: {error}") from error
    discriminator, left_out = None, ""
    if content.get("D") is not None:
        try:
            discriminator = _discriminator(content["D"], content, limit)
        except RefusedPickle as error:
            raise UserError(f"D: {error}; expected {EXPECTED}") from error
        except UserError as error:  # a generator is of use without
            left_out = f"D: {error}"
    front = made.config.orbit.frontal()
    mean, std = w_statistics(made, torch.Generator().manual_seed(0), W_SAMPLES, front)
    if not (mean.isfinite().all() and std.isfinite().all()):
        raise UserError("its mapping network gives infinite stylecodes, expected trained weights")
    made.w_std.copy_(std)
    return Official(made, discriminator, left_out)


def read_official(path: Path) -> tuple[EG3DGenerator, DualDiscriminator | None]:
    """Return the networks of an official file, see `read_networks`.

    Raises:
        UserError: see there; its discriminator is of another design, so that what is trained with
            it would be without.
    """
    found = read_networks(path)
    if found.left_out:
        raise UserError(
            f"{found.left_out}; expected a dual discriminator or none: `gan3d-bench import` makes "
            "a folder without it"
        )
    return found.generator, found.discriminator


def _pickled(record: Any, limit: int) -> EG3DGenerator:
    found = official_pickle.read_generator(record)
    return convert_generator(
        load_tensors(found.state, limit),
        found.options,
        found.super_resolution,
        official_options.plane_axes(_axes(found.plane_axes, limit)),
        volume_size=found.volume_size,
        image_size=found.image_size,
        conv_clamp=found.conv_clamp,
        sr_clamp=found.sr_clamp,
    )


def _exported(content: dict[Any, Any], limit: int) -> EG3DGenerator:
    created, options = content.get("G_init_kwargs"), content.get("rendering_kwargs")
    size = content.get("neural_rendering_resolution")
    if not isinstance(created, dict) or not isinstance(options, dict) or type(size) is not int:
        raise UserError(f"weights without G_init_kwargs and rendering_kwargs; expected {EXPECTED}")
    module = options.get("superresolution_module")
    clamp, levels = created.get("conv_clamp"), created.get("sr_num_fp16_res")
    if type(clamp) not in (int, float, type(None)) or type(levels) is not int:
        raise UserError("conv_clamp, sr_num_fp16_res: expected a number or none, and a number")
    return convert_generator(
        load_tensors(content["G_ema"], limit),
        options,
        module.rpartition(".")[2] if type(module) is str else "",
        official_options.plane_axes(_axes(content.get("plane_axes"), limit)),
        volume_size=size,
        image_size=created.get("img_resolution", 0),
        conv_clamp=clamp,
        sr_clamp=256.0 if levels else None,
    )


def _axes(stored: Any, limit: int) -> Tensor:
    if not isinstance(stored, StoredTensor) or len(stored.size) != 3 or max(stored.size) > 3:
        raise UserError("plane_axes: expected three 3 x 3 matrices")
    return load_tensors({"plane_axes": stored}, limit)["plane_axes"]


def _discriminator(record: Any, content: dict[Any, Any], limit: int) -> DualDiscriminator:
    if isinstance(record, dict):
        options = content.get("D_init_kwargs")
        if not isinstance(options, dict):
            raise UserError(f"weights without D_init_kwargs; expected {EXPECTED}")
        epilogue = options.get("epilogue_kwargs")
        group = epilogue.get("mbstd_group_size") if isinstance(epilogue, dict) else None
        clamp = options.get("conv_clamp")
        if type(clamp) not in (int, float, type(None)) or type(group) is not int or group < 1:
            raise UserError("conv_clamp, mbstd_group_size: expected a number or none, and a number")
        state = load_tensors(record, limit)
    else:
        network = official_pickle.read_discriminator(record)
        clamp, group = network.conv_clamp, network.stddev_group
        state = load_tensors(network.state, limit)
    return dual(convert_discriminator(state, clamp, group))


def convert_generator(
    state: Mapping[str, Tensor],
    options: official_options.Options,
    super_resolution: str,
    plane_axes: str,
    *,
    volume_size: int,
    image_size: int,
    conv_clamp: float | None = None,
    sr_clamp: float | None = None,
) -> EG3DGenerator:
    """Build a generator from a state dict under the released names.

    Channels, widths and the number of layers are read off the weights' shapes.

    Args:
        state: constant FIR kernels may be missing.
        options: `rendering_kwargs`.
        super_resolution: released class of the super-resolution network.
        plane_axes: a name of `triplanes.PLANE_AXES`, see `official_options.plane_axes`.
        volume_size: side of the volume's picture (`neural_rendering_resolution`).
        image_size: that the file tells of; it must be that of the class.
        conv_clamp, sr_clamp: limits of the activations; 256 in the released super-resolution.

    Raises:
        UserError: keys, shapes, FIR kernels or options of something else.
    """
    if super_resolution not in CLASSES:
        known = ", ".join(CLASSES)
        raise UserError(f"superresolution {clip(super_resolution)}, expected one of {known}")
    fields = official_options.architecture(options)
    if super_resolution == WITHOUT_ANTIALIAS:
        fields["sr_antialias"] = False
    weights = {k: v for k, v in require_state(state).items() if k not in NOT_WEIGHTS}
    weights = without_kernels(weights)
    parts: dict[str, dict[str, Tensor]] = {BACKBONE: {}, DECODER: {}, SUPER_RESOLUTION: {}}
    for key, value in weights.items():
        prefix = key.partition(".")[0] + "."
        if prefix not in parts:
            raise UserError(f"unknown key {clip(key)}, expected an EG3D generator")
        parts[prefix][key.removeprefix(prefix)] = value
    backbone = convert_backbone(parts[BACKBONE], conv_clamp=conv_clamp)
    converted = {within_backbone(key): value for key, value in backbone.state_dict().items()}
    converted |= _renamed(parts[DECODER], decoder_names(), "synthesis.decoder.")
    converted |= _renamed(
        parts[SUPER_RESOLUTION], super_resolution_names(), "synthesis.super_resolution."
    )
    width, features = _decoder_size(converted)
    config = EG3DConfig(
        backbone=backbone.config,
        volume_size=volume_size,
        plane_axes=plane_axes,
        features=features,
        decoder_width=width,
        super_resolution=CLASSES[super_resolution],
        sr_clamp=sr_clamp,
        **fields,
    )
    if image_size != config.image_size:
        raise UserError(
            f"img_resolution={image_size}, expected {config.image_size} of {super_resolution}"
        )
    return build(config, converted, WHERE)


def _renamed(state: dict[str, Tensor], names: dict[str, str], prefix: str) -> dict[str, Tensor]:
    ours = {released: name for name, released in names.items()}
    for key in state:
        if key not in ours:
            raise UserError(f"unknown key {clip(key)}, expected an EG3D generator")
    return {prefix + ours[key]: value for key, value in state.items()}


def _decoder_size(state: dict[str, Tensor]) -> tuple[int, int]:
    weight = state.get("synthesis.decoder.out.weight")
    if weight is None or weight.ndim != 2:
        raise UserError("'decoder.net.2.weight' is missing, expected an EG3D generator")
    return weight.shape[1], weight.shape[0] - 1
