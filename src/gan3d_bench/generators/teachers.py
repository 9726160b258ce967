"""Finding the teacher that a name stands for."""

from __future__ import annotations

from pathlib import Path

from gan3d_bench.assets.store import asset_path
from gan3d_bench.errors import UserError, nearest
from gan3d_bench.generators.base import Generator, Teacher
from gan3d_bench.generators.names import RANDOM, RANDOM_EG3D, expected_teachers, pretrained
from gan3d_bench.registry import registry
from gan3d_bench.spec import load


def load_teacher(
    name: str,
    image_size: int | None = None,
    *,
    conditional: bool = False,
    image_channels: int = 3,
) -> Teacher:
    """Load the frozen generator and discriminator that `name` stands for.

    Args:
        name: a teacher's name; ``FAMILY:PATH``; the path of a folder or an official file of
            StyleGAN2; or ``random-16``, ``random-32`` and ``random-eg3d``, untrained networks for
            tests.
        image_size: size that the caller works at: families that make small images cheaply do.
        conditional: whether the caller has labels for a generator that takes them.
        image_channels: channels of the images that the caller expects; 3 for RGB.

    Raises:
        UserError: no such teacher, its asset is missing, its files are damaged, or its generator
            is of another kind than the caller can use.
    """
    try:
        teacher = Teacher(name, *_load(name, image_size))
        _require_kind(teacher.generator, conditional, image_channels)
    except UserError as error:
        raise UserError(f"teacher={name!r}: {error}") from error
    return teacher


def _require_kind(generator: Generator, conditional: bool, image_channels: int) -> None:
    if generator.label_dim and not conditional:
        raise UserError(
            f"a generator that takes labels of {generator.label_dim} numbers, expected one without"
        )
    if generator.image_channels != image_channels:
        raise UserError(
            f"a generator of images of {generator.image_channels} channels, expected "
            f"{image_channels}"
        )


def _load(name: str, image_size: int | None) -> tuple:
    families, known = registry("generators"), pretrained()
    if name == RANDOM_EG3D:
        from gan3d_bench.generators.eg3d import teacher as eg3d

        return eg3d.random_pair()
    if name.startswith(RANDOM):
        from gan3d_bench.generators.stylegan2.teacher import random_pair

        size = name.removeprefix(RANDOM)
        return random_pair(int(size) if size.isdecimal() else 0)
    if name in known:
        family, teacher = known[name]
        return load(family.loader)(asset_path(teacher.asset), image_size, **teacher.options)
    family, colon, path = name.partition(":")
    if not colon or family not in families.specs:
        family, path = "stylegan2", name
    if path in ("", ".") or "\0" in path or not _exists(Path(path)):
        raise UserError(f"no teacher{nearest(name, known)}; expected {expected_teachers()}")
    return load(families.get(family).loader)(Path(path), image_size)


def _exists(path: Path) -> bool:
    try:
        return path.is_file() or path.is_dir()
    except OSError:  # a name too long for the file system
        return False
