"""Finding the teacher: bundled asset, our own files, a released .pt file, or a random network."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.assets.store import asset_path
from gan3d_bench.errors import UserError, nearest
from gan3d_bench.generators.stylegan2.checkpoint import (
    convert_discriminator,
    convert_generator,
    load_discriminator,
    load_generator,
)
from gan3d_bench.generators.stylegan2.discriminator import Discriminator, DiscriminatorConfig
from gan3d_bench.generators.stylegan2.generator import Generator, GeneratorConfig, resolutions
from gan3d_bench.methods.gan2shape.config import DISCRIMINATOR, GENERATOR, assets_with, teachers
from gan3d_bench.weights import read_torch

RANDOM = "random-"
RANDOM_SIZES = (16, 32)


def load_teacher(name: str) -> tuple[Generator, Discriminator]:
    """Load the frozen generator and discriminator that `name` stands for.

    Args:
        name: a bundled asset; a folder with ``generator.safetensors`` and
            ``discriminator.safetensors``; a rosinality ``.pt`` file with ``g_ema`` and ``d``;
            or ``random-16`` and ``random-32``, untrained networks for tests.

    Raises:
        UserError: no such teacher, or its files are damaged or incomplete.
    """
    try:
        if name.startswith(RANDOM):
            return _random_teacher(name)
        path = Path(name)
        if path.is_file():
            return _official(path)
        folder = path if (path / GENERATOR).is_file() else _bundled(name)
        return load_generator(folder / GENERATOR), load_discriminator(folder / DISCRIMINATOR)
    except UserError as error:
        raise UserError(f"teacher={name!r}: {error}") from error


def _bundled(name: str) -> Path:
    known = assets_with(GENERATOR)
    if name not in known:
        raise UserError(f"no teacher{nearest(name, known)}; expected {teachers()}")
    return asset_path(name)


def _random_teacher(name: str) -> tuple[Generator, Discriminator]:
    size = name.removeprefix(RANDOM)
    if size not in map(str, RANDOM_SIZES):
        sizes = " or ".join(f"{RANDOM}{size}" for size in RANDOM_SIZES)
        raise UserError(f"expected {sizes} (random teachers are for tests)")
    image_size = int(size)
    channels = dict.fromkeys(resolutions(image_size), 16)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        generator = Generator(
            GeneratorConfig(image_size, z_dim=16, w_dim=16, mapping_layers=3, channels=channels)
        )
        discriminator = Discriminator(DiscriminatorConfig(image_size, channels))
        for name, weight in generator.synthesis.named_parameters():
            if name.endswith("to_rgb.weight"):
                weight *= 0.4  # images mostly within [-1, 1]
        generator.w_mean.copy_(generator.mapping(torch.randn(256, 16)).mean(0))
    for network in (generator, discriminator):
        network.eval().requires_grad_(False)
    return generator, discriminator


def _official(path: Path) -> tuple[Generator, Discriminator]:
    state = read_torch(path, teachers())
    if not isinstance(state, dict) or "g_ema" not in state or "d" not in state:
        raise UserError(f"no g_ema and d in it; expected {teachers()}")
    w_mean = state.get("latent_avg")
    if not isinstance(w_mean, Tensor | None):
        raise UserError(f"latent_avg: expected a tensor, not {type(w_mean).__name__}")
    try:
        generator = convert_generator(state["g_ema"], w_mean)
    except UserError as error:
        raise UserError(f"g_ema: {error}") from error
    try:
        return generator, convert_discriminator(state["d"])
    except UserError as error:
        raise UserError(f"d: {error}") from error


def resize(images: Tensor, size: int) -> Tensor:
    """Square images (B, C, S, S) to another size: bilinear up, area down."""
    if images.shape[-1] == size:
        return images
    if size > images.shape[-1]:
        return F.interpolate(images, (size, size), mode="bilinear", align_corners=False)
    return F.interpolate(images, (size, size), mode="area")


def crop_like_data(images: Tensor, image_size: int, crop: int, original_size: int) -> Tensor:
    """Whole teacher images (B, 3, T, T) to the frame of the training images.

    Resized to the original size, centre-cropped, resized to `image_size`; without a crop
    resized at once.
    """
    if crop:
        margin = (original_size - crop) // 2
        images = resize(images, original_size)[..., margin : margin + crop, margin : margin + crop]
    return resize(images, image_size)
