"""The instances of a run: target images, whole originals, masks and known latents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gan3d_bench.datamodules.base import SPLITS, Item, Split, open_data
from gan3d_bench.errors import UserError, unknown_name
from gan3d_bench.files.photographs import centre, read_picture, to_tensor
from gan3d_bench.files.weights import read_torch
from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.latents import numbered_z
from gan3d_bench.methods.gan2shape.config import EXACT, SAMPLES, GAN2ShapeConfig
from gan3d_bench.rendering.images import frame, resize, to_uint8

RENDER_BATCH = 32


@dataclass(frozen=True)
class Instances:
    """N instances.

    Attributes:
        images: (N, 3, S, S) in [-1, 1], what is reconstructed.
        originals: (N, 3, T, T) uint8, the whole image at the teacher's size, for inversion.
        masks: (N, 1, S, S) in [0, 1], or None.
        latents: (N, w_dim), or None when they are to be found.
    """

    images: Tensor
    originals: Tensor
    masks: Tensor | None = None
    latents: Tensor | None = None


def load_instances(config: GAN2ShapeConfig, generator: Generator) -> Instances:
    """Load the images a config names.

    Args:
        config: the run's config.
        generator: the teacher; makes the images of ``data=teacher``.

    Raises:
        UserError: missing, unreadable or too few images, masks or latents.
    """
    if config.data == SAMPLES:
        return _samples(config, generator)
    items = _items(config)
    if "original" in items[0]:  # files, of any size
        pictures = [item["original"][None] / 2 + 0.5 for item in items]
        images = torch.cat([_frame(picture, config) for picture in pictures]) * 2 - 1
        originals = [to_uint8(resize(p, generator.image_size) * 2 - 1) for p in pictures]
    else:
        images = torch.stack([item["image"] for item in items])
        originals = [to_uint8(resize(images, generator.image_size))]
    if config.masks == EXACT:
        masks = torch.stack([item["mask"] for item in items])
    else:
        masks = _masks(items, config)
    return Instances(images, torch.cat(originals), masks, _latents(items, config, generator.w_dim))


def _items(config: GAN2ShapeConfig) -> list[Item]:
    """The items that a config names, of a registered data module."""
    numbers = range(config.first, config.first + config.instances)
    data = open_data(config.data, config.images, config.image_size, on_bad=config.on_bad)
    try:
        return data.read(_split(config), numbers)
    except UserError as error:
        where = f"first={config.first} instances={config.instances} of images"
        raise UserError(f"{where}: {error}") from error


def _split(config: GAN2ShapeConfig) -> Split:
    if config.split not in SPLITS:
        raise unknown_name("split", config.split, SPLITS)
    return config.split


@torch.no_grad()
def _samples(config: GAN2ShapeConfig, generator: Generator) -> Instances:
    """Truncated samples of the teacher, by number."""
    numbers = range(config.first, config.first + config.instances)
    z = numbered_z(_split(config), numbers, generator.z_dim).to(generator.w_mean)
    w = generator.truncate(generator.mapping(z), config.truncation)
    whole = torch.cat([generator.synthesis(part) for part in w.split(RENDER_BATCH)]).clamp(-1, 1)
    images = frame(whole, config.image_size, config.crop, config.original_size)
    return Instances(images.cpu(), to_uint8(whole.cpu()), latents=w.cpu())


def _read_mask(path: Path) -> Tensor:
    """A mask's centred square (1, 1, H, H) in [0, 1]; what is transparent is outside."""
    try:
        picture = read_picture(path, background=0)
    except UserError as error:
        raise UserError(f"masks: {error}") from error
    return to_tensor(centre(picture)).mean(0)[None, None] / 2 + 0.5


def _frame(picture: Tensor, config: GAN2ShapeConfig) -> Tensor:
    """A picture (1, C, H, H) in the frame of the run, as the teacher's images are."""
    return frame(picture, config.image_size, config.crop, config.original_size)


def _masks(items: list[Item], config: GAN2ShapeConfig) -> Tensor | None:
    if not config.masks:
        return None
    paths = [Path(config.masks) / f"{_stem(item)}.png" for item in items]
    return torch.cat([_frame(_read_mask(path), config) for path in paths])


def _stem(item: Item) -> str:
    return Path(item["name"]).stem


def _latents(items: list[Item], config: GAN2ShapeConfig, w_dim: int) -> Tensor | None:
    """Stylecodes from ``<stem>.pt`` files: a tensor, or a dict with the entry ``latent``."""
    if not config.latents:
        return None
    rows = []
    for item in items:
        file = Path(config.latents) / f"{_stem(item)}.pt"
        expected = f"a code of {w_dim} finite numbers"
        try:
            state = read_torch(file, expected)
            latent = state["latent"] if isinstance(state, dict) else state
            row = torch.as_tensor(latent).float().reshape(w_dim)
            if not row.isfinite().all():
                raise ValueError
        except UserError as error:
            raise UserError(f"latents={str(file)!r}: {error}") from error
        except Exception as error:  # whatever else lies in the file
            raise UserError(f"latents={str(file)!r}: expected {expected}") from error
        rows.append(row)
    return torch.stack(rows)
