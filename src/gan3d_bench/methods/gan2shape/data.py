"""The instances of a run: target images, whole originals, masks and known latents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gan3d_bench.datamodules.heads import head_latents
from gan3d_bench.datamodules.heads_cache import decode, encode
from gan3d_bench.datamodules.heads_sampling import render_heads, sample_heads
from gan3d_bench.datamodules.splits import Split
from gan3d_bench.datamodules.synface import SynfaceDataset
from gan3d_bench.errors import UserError, unknown_name
from gan3d_bench.generators.stylegan2.generator import Generator
from gan3d_bench.methods.gan2shape.config import EXACT, GAN2ShapeConfig
from gan3d_bench.methods.gan2shape.teacher import crop_like_data, resize
from gan3d_bench.weights import read_torch

MAX_PIXELS = 64_000_000
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
KINDS = "a PNG, JPEG, WebP or BMP file"
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


def load_instances(
    config: GAN2ShapeConfig, generator: Generator, rng: torch.Generator
) -> Instances:
    """Load the images a config names.

    Args:
        config: the run's config.
        generator: the teacher; draws the images of ``data=teacher``.
        rng: for those draws.

    Raises:
        UserError: missing, unreadable or too few images, masks or latents.
    """
    if config.data == "heads":
        return _heads(config, generator.image_size)
    if config.data == "teacher":
        return _samples(config, generator, rng)
    paths = _image_paths(config)
    wanted = paths[config.first : config.first + config.instances]
    if len(wanted) < config.instances:
        raise UserError(
            f"instances={config.instances} first={config.first}: {config.images} has only "
            f"{len(paths)} images"
        )
    pictures = [_read(path, "RGB", "images") for path in wanted]
    return Instances(
        torch.cat([_frame(picture, config) for picture in pictures]) * 2 - 1,
        torch.cat([to_uint8(resize(p, generator.image_size) * 2 - 1) for p in pictures]),
        _masks(wanted, config),
        _latents(wanted, config, generator.config.w_dim),
    )


def to_uint8(images: Tensor) -> Tensor:
    """Images in [-1, 1] to 8 bits."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def from_uint8(images: Tensor) -> Tensor:
    """Inverse of `to_uint8`."""
    return images.float() / 127.5 - 1


def _heads(config: GAN2ShapeConfig, teacher_size: int) -> Instances:
    """Rendered afresh: cheap, and bit for bit what the cached data set holds."""
    if config.split not in get_args(Split):
        raise unknown_name("split", config.split, get_args(Split))
    parameters = sample_heads(
        head_latents(
            config.split,  # type: ignore[arg-type]
            range(config.first, config.first + config.instances),
        )
    )
    parts = [
        decode(encode(render_heads(parameters[i : i + RENDER_BATCH], config.image_size)))
        for i in range(0, config.instances, RENDER_BATCH)
    ]
    images, masks = (torch.cat([part[key] for part in parts]) for key in ("image", "mask"))
    originals = to_uint8(resize(images, teacher_size))
    return Instances(images, originals, masks if config.masks == EXACT else None)


@torch.no_grad()
def _samples(config: GAN2ShapeConfig, generator: Generator, rng: torch.Generator) -> Instances:
    """Truncated samples; sample i does not depend on how many there are."""
    z = torch.randn(config.first + config.instances, generator.config.z_dim, generator=rng)
    mean = generator.w_mean
    w = generator.truncate(generator.mapping(z[config.first :].to(mean)), config.truncation)
    whole = torch.cat([generator.synthesis(part) for part in w.split(RENDER_BATCH)]).clamp(-1, 1)
    images = crop_like_data(whole, config.image_size, config.crop, config.original_size)
    return Instances(images.cpu(), to_uint8(whole.cpu()), latents=w.cpu())


def _image_paths(config: GAN2ShapeConfig) -> list[Path]:
    """Image files in order: of a Synface split, a folder, or a list file of relative paths."""
    root = Path(config.images)
    if config.data == "synface":
        try:
            return SynfaceDataset(root, config.split, config.image_size).images  # type: ignore[arg-type]
        except UserError as error:
            raise UserError(f"images={config.images!r}: {error}") from error
    if root.is_dir():
        return sorted(p for p in root.iterdir() if p.suffix.lower() in SUFFIXES)
    try:
        if not root.is_file():
            raise FileNotFoundError(root)
        lines = root.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"images={config.images!r}: expected a folder of images or a text file of paths"
        ) from error
    return [root.parent / line.strip() for line in lines if line.strip()]


def _read(path: Path, mode: str, key: str) -> Tensor:
    """A picture's centred square (1, C, H, H) in [0, 1]; `key` is the one that names it."""
    named = f"{key}: {str(path)!r}"
    try:
        with Image.open(path) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise UserError(
                    f"{named}: {width}x{height} pixels; expected at most {MAX_PIXELS} pixels"
                )
            side = min(width, height)
            left, top = (width - side) // 2, (height - side) // 2
            square = image.convert(mode).crop((left, top, left + side, top + side))
            array = np.array(square)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{named}: no such image; expected {KINDS}") from None
    except Image.DecompressionBombError:
        raise UserError(f"{named} is too large; expected at most {MAX_PIXELS} pixels") from None
    except Exception as error:  # a foreign file may fail in any way
        raise UserError(f"{named} is not a readable image; expected {KINDS}") from error
    return torch.from_numpy(array).float().div(255).reshape(side, side, -1).permute(2, 0, 1)[None]


def _frame(picture: Tensor, config: GAN2ShapeConfig) -> Tensor:
    """Centre crop and resize a picture (1, C, H, H) to the training size."""
    if config.crop:
        if picture.shape[-1] < config.crop:
            raise UserError(
                f"crop={config.crop}: an image has only {picture.shape[-1]} pixels a side"
            )
        margin = (picture.shape[-1] - config.crop) // 2
        picture = picture[..., margin : margin + config.crop, margin : margin + config.crop]
    return resize(picture, config.image_size)


def _masks(paths: list[Path], config: GAN2ShapeConfig) -> Tensor | None:
    if not config.masks:
        return None
    folder = Path(config.masks)
    return torch.cat([_frame(_read(folder / f"{p.stem}.png", "L", "masks"), config) for p in paths])


def _latents(paths: list[Path], config: GAN2ShapeConfig, w_dim: int) -> Tensor | None:
    """Stylecodes from ``<stem>.pt`` files: a tensor, or a dict with the entry ``latent``."""
    if not config.latents:
        return None
    rows = []
    for path in paths:
        file = Path(config.latents) / f"{path.stem}.pt"
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
