"""The names of weights: ours, rosinality/stylegan2-pytorch's, NVlabs/stylegan2-ada-pytorch's.

No weight is flipped, transposed or rescaled between the three; only axes of length 1 differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from gan3d_bench.errors import UserError
from gan3d_bench.generators.stylegan2.generator import resolutions

MAX_BLOCKS = 9  # beyond 4x4: up to 2048 pixels

STYLED = (
    ("weight", "conv.weight", "weight"),
    ("affine.weight", "conv.modulation.weight", "affine.weight"),
    ("affine.bias", "conv.modulation.bias", "affine.bias"),
)


class Names(NamedTuple):
    """One weight's names; None where an origin keeps it elsewhere."""

    ours: str
    rosinality: str | None
    nvidia: str


def generator_names(image_size: int, mapping_layers: int, conditional: bool = False) -> list[Names]:
    """Return the names of a generator's weights and buffers, without constant FIR kernels.

    Only NVIDIA's code has conditional networks.
    """
    names = [
        Names("w_mean", None, "mapping.w_avg"),
        Names("synthesis.constant", "input.input", "synthesis.b4.const"),
        *_mapping_names(mapping_layers, conditional),
    ]
    for level, size in enumerate(resolutions(image_size)):
        ours, nvidia = f"synthesis.blocks.{size}", f"synthesis.b{size}"
        for conv in ("conv0", "conv1") if level else ("conv1",):
            noise = 2 * level - 1 + int(conv == "conv1") if level else 0
            ros = f"convs.{noise - 1}" if level else "conv1"
            layer = (
                *STYLED,
                ("noise_strength", "noise.weight", "noise_strength"),
                ("bias", "activate.bias", "bias"),
            )
            names += [
                Names(f"{ours}.{conv}.{a}", f"{ros}.{b}", f"{nvidia}.{conv}.{c}")
                for a, b, c in layer
            ]
            names.append(
                Names(
                    f"{ours}.{conv}.noise", f"noises.noise_{noise}", f"{nvidia}.{conv}.noise_const"
                )
            )
        ros = f"to_rgbs.{level - 1}" if level else "to_rgb1"
        names += [
            Names(f"{ours}.to_rgb.{a}", f"{ros}.{b}", f"{nvidia}.torgb.{c}")
            for a, b, c in (*STYLED, ("bias", "bias", "bias"))
        ]
    return names


def _mapping_names(layers: int, conditional: bool) -> list[Names]:
    names = []
    for part in ("weight", "bias"):
        if conditional:
            names.append(Names(f"mapping.embed.{part}", None, f"mapping.embed.{part}"))
        names += [
            Names(f"mapping.layers.{i}.{part}", f"style.{i + 1}.{part}", f"mapping.fc{i}.{part}")
            for i in range(layers)
        ]
    return names


def discriminator_names(
    image_size: int, mapping_layers: int = 8, conditional: bool = False
) -> list[Names]:
    """Return the names of a discriminator's weights, without constant FIR kernels.

    Args:
        image_size: side of the images.
        mapping_layers: layers that map the labels of a conditional one.
        conditional: whether it takes labels.
    """
    sizes = resolutions(image_size)[:0:-1]
    layers = [("from_rgb", "convs.0.0", "convs.0.1", f"b{image_size}.fromrgb")]
    for index, size in enumerate(sizes, start=1):
        ours, ros, nvidia = f"blocks.{size}", f"convs.{index}", f"b{size}"
        layers += [
            (f"{ours}.conv0", f"{ros}.conv1.0", f"{ros}.conv1.1", f"{nvidia}.conv0"),
            (f"{ours}.conv1", f"{ros}.conv2.1", f"{ros}.conv2.2", f"{nvidia}.conv1"),
            (f"{ours}.skip", f"{ros}.skip.1", "", f"{nvidia}.skip"),
        ]
    layers += [
        ("conv", "final_conv.0", "final_conv.1", "b4.conv"),
        ("fc", "final_linear.0", "final_linear.0", "b4.fc"),
        ("out", "final_linear.1", "final_linear.1", "b4.out"),
    ]
    names = _mapping_names(mapping_layers, True) if conditional else []
    for ours, weight, bias, nvidia in layers:
        names.append(Names(f"{ours}.weight", f"{weight}.weight", f"{nvidia}.weight"))
        if bias:
            names.append(Names(f"{ours}.bias", f"{bias}.bias", f"{nvidia}.bias"))
    return names


def rosinality_kernels(image_size: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return the constant FIR kernels of rosinality's generator and discriminator, with sums."""
    levels = range(len(resolutions(image_size)) - 1)
    generator = {f"convs.{2 * j}.conv.blur.kernel": 4.0 for j in levels}
    generator |= {f"to_rgbs.{j}.upsample.kernel": 4.0 for j in levels}
    parts = ("conv2.0", "skip.0")
    return generator, {f"convs.{j + 1}.{part}.kernel": 1.0 for j in levels for part in parts}


def mapping_shape(keys: Iterable[str]) -> tuple[int, bool]:
    """Return the number of mapping layers in NVIDIA's keys, and whether they embed labels."""
    keys = list(keys)
    return _count(keys, r"mapping\.fc\d+\.weight"), "mapping.embed.weight" in keys


def generator_shape(keys: Iterable[str], rosinality: bool) -> tuple[int, int]:
    """Return the image size and the number of mapping layers that official keys tell of.

    Raises:
        UserError: no StyleGAN2 generator.
    """
    keys = list(keys)
    rgb, layer = (
        (r"to_rgbs\.\d+\.bias", r"style\.\d+\.weight")
        if rosinality
        else (r"synthesis\.b(?!4\.)\d+\.torgb\.bias", r"mapping\.fc\d+\.weight")
    )
    return _image_size(keys, rgb, "generator"), _count(keys, layer)


def discriminator_size(keys: Iterable[str], rosinality: bool) -> int:
    """Return the image size that official keys tell of.

    Raises:
        UserError: no StyleGAN2 discriminator.
    """
    skip = r"convs\.\d+\.skip\.1\.weight" if rosinality else r"b\d+\.skip\.weight"
    return _image_size(list(keys), skip, "discriminator")


def _image_size(keys: list[str], pattern: str, kind: str) -> int:
    blocks = _count(keys, pattern)
    if not 1 <= blocks <= MAX_BLOCKS:
        raise UserError(f"no StyleGAN2 {kind} in it; expected rosinality's or NVIDIA's keys")
    return 4 * 2**blocks


def _count(keys: list[str], pattern: str) -> int:
    return sum(re.fullmatch(pattern, key) is not None for key in keys)
