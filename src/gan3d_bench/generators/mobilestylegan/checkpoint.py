"""The released network, read from its OpenVINO IR files.

They are of the format's version 10 and come in the package random-face (bes-dev/random_face).
Constants that kept the name of a weight have that of bes-dev/MobileStyleGAN.pytorch's state dict;
the others are told by their place in the graph.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from gan3d_bench.generators.latents import update_w_statistics
from gan3d_bench.generators.mobilestylegan.generator import MobileStyleGAN, MobileStyleGANConfig
from gan3d_bench.generators.mobilestylegan.openvino_ir import IntermediateRepresentation

MAPPING, SYNTHESIS = "MappingNetwork.xml", "SynthesisNetwork.xml"
LR_MUL = 0.01  # folded into the mapping network's weights in the file
SEED = 2021
WIDEST, LONGEST = 1024, 10  # no MobileStyleGAN is larger; bounds what a file makes us allocate


def load(path: Path, image_size: int | None = None, exact: bool = False) -> MobileStyleGAN:
    """Load the released network: float32, evaluation mode, without gradients.

    `w_mean` and `w_std` are those of 10,000 latents of a fixed seed.

    Args:
        path: folder of the asset ``mobilestylegan-ffhq``: two .xml files, two .bin files.
        image_size, exact: see `MobileStyleGAN.resize`; None gives the full size, 1024.

    Raises:
        UserError: a file is missing, damaged or holds another network; no such size.
    """
    mapping = IntermediateRepresentation(Path(path) / MAPPING)
    synthesis = IntermediateRepresentation(Path(path) / SYNTHESIS)
    try:
        config = _config(mapping, synthesis)
        with torch.random.fork_rng(devices=[]):  # what is drawn here is replaced
            generator = MobileStyleGAN(config)
    except ValueError as error:
        raise synthesis.damaged(f"no MobileStyleGAN in it ({error})") from error
    generator.mapping.load_state_dict(_mapping_state(mapping, config))
    generator.synthesis.load_state_dict(_synthesis_state(synthesis, generator))
    generator.eval().requires_grad_(False)
    update_w_statistics(generator, torch.Generator().manual_seed(SEED))
    return generator.resize(image_size or generator.image_size, exact)


def load_teacher(
    path: Path, image_size: int | None = None, exact: bool = False
) -> tuple[MobileStyleGAN, None]:
    """Load the released network as a teacher. Its discriminator was never released.

    Args:
        path: see `load`.
        image_size: what the caller works at; images have the next size the network can make.
        exact: see `MobileStyleGAN.resize`.

    Raises:
        UserError: as `load`.
    """
    generator = load(path)
    fitting = [size for size in generator.sizes if image_size and size >= image_size]
    return generator.resize(min(fitting, default=generator.image_size), exact), None


def _config(
    mapping: IntermediateRepresentation, synthesis: IntermediateRepresentation
) -> MobileStyleGANConfig:
    """Read the sizes off the constants' shapes."""
    matrices = [mapping.shape(mapping.operand(layer, 1)) for layer in mapping.of_type("MatMul")]
    if not matrices or any(len(shape) != 2 for shape in matrices):
        raise mapping.damaged("no mapping network in it")
    channels = []
    while synthesis.has(f"m.layers.{len(channels)}.up.modulation.bias"):
        name = f"m.layers.{len(channels)}.up.modulation.bias"
        channels.append(math.prod(synthesis.shape(synthesis.named(name))))
    last = synthesis.named(f"m.layers.{len(channels) - 1}.to_img.conv.modulation.bias")
    channels.append(math.prod(synthesis.shape(last)))
    if max(*matrices[0], *channels) > WIDEST or max(len(matrices), len(channels)) > LONGEST:
        raise ValueError(f"{len(matrices)} layers {matrices[0]}, channels {channels}")
    return MobileStyleGANConfig(
        z_dim=matrices[0][1],
        w_dim=matrices[0][0],
        mapping_layers=len(matrices),
        channels=tuple(channels),
    )


def _mapping_state(
    ir: IntermediateRepresentation, config: MobileStyleGANConfig
) -> dict[str, Tensor]:
    """Undo the folding of learning rate and equalisation: in the file, weights are multiplied by
    lr_mul / sqrt(inputs) and biases by lr_mul, as EqualLinear does when it runs."""
    biases = [
        layer
        for layer in ir.of_type("Const")
        if layer.attributes.get("element_type") == "f32" and ir.shape(layer) == (config.w_dim,)
    ]
    if len(biases) != config.mapping_layers:
        raise ir.damaged(f"{len(biases)} biases for {config.mapping_layers} layers")
    state = {}
    for i, (layer, bias) in enumerate(zip(ir.of_type("MatMul"), biases, strict=True)):
        size = config.w_dim if i else config.z_dim
        weight = ir.constant(ir.operand(layer, 1), (config.w_dim, size))
        state[f"layers.{i}.weight"] = weight * (math.sqrt(size) / LR_MUL)
        state[f"layers.{i}.bias"] = ir.constant(bias, (config.w_dim,)) / LR_MUL
    return state


def _synthesis_state(
    ir: IntermediateRepresentation, generator: MobileStyleGAN
) -> dict[str, Tensor]:
    blocks = len(generator.synthesis.blocks)
    shapes = {key: tuple(value.shape) for key, value in generator.synthesis.state_dict().items()}
    state = {
        key: ir.constant(ir.named(f"m.{name}"), shapes[key])
        for key, name in _official_names(blocks).items()
    }
    convolutions = ["conv", *(f"blocks.{i}.conv{j}" for i in range(blocks) for j in (1, 2))]
    # the head's convolution comes last
    found = ir.of_type("Convolution")[:-1]
    if len(found) != len(convolutions):
        raise ir.damaged(f"{len(found) + 1} convolutions, expected {len(convolutions) + 1}")
    for ours, layer in zip(convolutions, found, strict=True):
        weight = f"{ours}.weight" if ours == "conv" else f"{ours}.pointwise"
        state[weight] = ir.constant(ir.operand(layer, 1), shapes[weight])
        add = ir.consumer(layer)
        noise = ir.operand(add, 1 if add.inputs[0] == layer.id else 0)
        state[f"{ours}.noise"] = ir.constant(noise, shapes[f"{ours}.noise"])
    for key in _keys_by_band(blocks):
        state[key] = _by_band(state[key])
    return state


def _official_names(blocks: int) -> dict[str, str]:
    """Our keys -> the names of constants that kept their official key."""
    head = f"layers.{blocks - 1}.to_img"
    affines = {"affine": "conv1.conv", "head.affine": f"{head}.conv"}
    names = {
        "constant": "input.input",
        "conv.bias": "conv1.bias",
        "head.weight": f"{head}.conv.weight",
        "head.bias": f"{head}.bias",
    }
    for i in range(blocks):
        affines[f"blocks.{i}.up"] = f"layers.{i}.up"
        for j in (1, 2):
            affines[f"blocks.{i}.affine{j}"] = f"layers.{i}.conv{j}.conv"
            names[f"blocks.{i}.conv{j}.depthwise"] = f"layers.{i}.conv{j}.conv.weight_dw"
            names[f"blocks.{i}.conv{j}.bias"] = f"layers.{i}.conv{j}.bias"
    for ours, theirs in affines.items():
        for kind in ("weight", "bias"):
            names[f"{ours}.{kind}"] = f"{theirs}.modulation.{kind}"
    return names


def _keys_by_band(blocks: int) -> list[str]:
    """The keys whose first axis is the channels an inverse Haar transform reads."""
    keys = ["conv.weight", "conv.bias", "head.weight", "head.bias"]
    for i in range(blocks):
        keys += [f"blocks.{i}.up.weight", f"blocks.{i}.up.bias"]
        if i + 1 < blocks:
            keys += [f"blocks.{i}.conv2.pointwise", f"blocks.{i}.conv2.bias"]
    return keys


def _by_band(rows: Tensor) -> Tensor:
    """Group 4C rows by band. In the file the three detail bands of each channel are neighbours."""
    channels = len(rows) // 4
    details = rows[channels:].unflatten(0, (channels, 3)).transpose(0, 1).flatten(0, 1)
    return torch.cat([rows[:channels], details])
