"""Stylecodes found before: inversion takes seconds a picture, and every table asks for the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gan3d_bench.assets.store import cache_dir
from gan3d_bench.files.atomic import atomic_write
from gan3d_bench.generators.inversion.config import InversionConfig

VERSION = 1  # of what `invert` finds; counted up where that changes
FOLDER = "stylecodes"


def stylecodes(
    images: Tensor,
    teacher: str,
    config: InversionConfig,
    seed: int,
    find: Callable[[], Tensor],
    root: Path | None = None,
) -> Tensor:
    """Return the stylecodes of a batch: those of the cache folder, or else found and kept there.

    A batch counts as a whole, as its pictures' last bits depend on each other. A damaged file
    counts as missing, and a folder that cannot be written to keeps nothing.

    Args:
        images: (B, 3, S, S).
        teacher: identifies the generator wholly.
        config: of the inversion.
        seed: of its random numbers.
        find: finds stylecodes (B, ...).
        root: of the cache; None is the user's.
    """
    made_by = f"{VERSION} {teacher} {config} {seed} {tuple(images.shape)} {images.device.type}"
    digest = hashlib.sha256(made_by.encode())
    digest.update(images.float().cpu().contiguous().numpy().tobytes())
    path = (root or cache_dir()) / FOLDER / f"{digest.hexdigest()[:32]}.safetensors"
    with suppress(SafetensorError, OSError, KeyError):  # missing or damaged
        # from memory of its own: networks round otherwise where a file's bytes lie
        return load_file(path)["w"].to(images.device).clone()
    w = find().detach().contiguous()
    # a full or read-only disk must not stop a table
    with suppress(SafetensorError, OSError), atomic_write(path) as draft:
        save_file({"w": w.cpu()}, draft)
    return w
