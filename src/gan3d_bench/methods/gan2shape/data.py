"""The instances of a run: target images, whole originals, masks and known latents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gan3d_bench.datamodules.heads import head_latents
from gan3d_bench.datamodules.splits import SPLITS, Split
from gan3d_bench.datamodules.synface import SynfaceDataset
from gan3d_bench.errors import UserError, unknown_name
from gan3d_bench.files.photographs import centre, read_picture, to_tensor
from gan3d_bench.files.photographs import decode as decode_picture
from gan3d_bench.files.picture_sources import PictureFiles, PictureSource, open_source
from gan3d_bench.files.weights import read_torch
from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.latents import numbered_z
from gan3d_bench.heads.cache import decode, encode
from gan3d_bench.heads.sampling import render_heads, sample_heads
from gan3d_bench.methods.gan2shape.config import EXACT, GAN2ShapeConfig
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
    if config.data == "heads":
        return _heads(config, generator.image_size)
    if config.data == "teacher":
        return _samples(config, generator)
    source = _source(config)
    wanted = range(len(source))[config.first : config.first + config.instances]
    if len(wanted) < config.instances:
        raise UserError(
            f"instances={config.instances} first={config.first}: {config.images} has only "
            f"{len(source)} images"
        )
    pictures = [_read(source, index) for index in wanted]
    stems = [Path(source.names[index]).stem for index in wanted]
    return Instances(
        torch.cat([_frame(picture, config) for picture in pictures]) * 2 - 1,
        torch.cat([to_uint8(resize(p, generator.image_size) * 2 - 1) for p in pictures]),
        _masks(stems, config),
        _latents(stems, config, generator.w_dim),
    )


def _heads(config: GAN2ShapeConfig, teacher_size: int) -> Instances:
    """Rendered afresh: cheap, and bit for bit what the cached data set holds."""
    numbers = range(config.first, config.first + config.instances)
    parameters = sample_heads(head_latents(_split(config), numbers))
    parts = [
        decode(encode(render_heads(parameters[i : i + RENDER_BATCH], config.image_size)))
        for i in range(0, config.instances, RENDER_BATCH)
    ]
    images, masks = (torch.cat([part[key] for part in parts]) for key in ("image", "mask"))
    originals = to_uint8(resize(images, teacher_size))
    return Instances(images, originals, masks if config.masks == EXACT else None)


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


def _source(config: GAN2ShapeConfig) -> PictureSource:
    """The images in order: of a Synface split, a folder, a zip file, or a list of paths."""
    if config.data != "synface":
        return open_source(config.images)
    try:
        paths = SynfaceDataset(config.images, _split(config), config.image_size).images
    except UserError as error:
        raise UserError(f"images={config.images!r}: {error}") from error
    return PictureFiles([path.name for path in paths], paths)


def _read(source: PictureSource, index: int) -> Tensor:
    """An image's centred square (1, 3, H, H) in [0, 1]."""
    try:
        picture = decode_picture(source.read(index), source.names[index])
    except UserError as error:
        raise UserError(f"images: {error}") from error
    return to_tensor(centre(picture))[None] / 2 + 0.5


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


def _masks(stems: list[str], config: GAN2ShapeConfig) -> Tensor | None:
    if not config.masks:
        return None
    folder = Path(config.masks)
    return torch.cat([_frame(_read_mask(folder / f"{stem}.png"), config) for stem in stems])


def _latents(stems: list[str], config: GAN2ShapeConfig, w_dim: int) -> Tensor | None:
    """Stylecodes from ``<stem>.pt`` files: a tensor, or a dict with the entry ``latent``."""
    if not config.latents:
        return None
    rows = []
    for stem in stems:
        file = Path(config.latents) / f"{stem}.pt"
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
