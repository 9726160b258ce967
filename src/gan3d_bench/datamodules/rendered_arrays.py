"""Large sets of pictures as NumPy arrays on the disk: rendered once, gone on with where killed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from filelock import FileLock
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.files.atomic import atomic_write
from gan3d_bench.progress import tracked
from gan3d_bench.regular_files import require_regular

IMAGES, LATENTS = "image.npy", "latent.npy"
PARTIAL, PROGRESS = "image.partial.npy", "done.json"

Draw = Callable[[slice], Mapping[str, Tensor]]
"""Numbers of items -> their arrays by file name; images in [-1, 1]."""


def is_rendered(folder: Path) -> bool:
    """Return whether `folder` holds a whole set of `render_once`."""
    return (folder / IMAGES).exists()


@rank_zero_only
def render_once(folder: Path, latents: Tensor, draw: Draw, chunk: int) -> None:
    """Write latents and what is drawn of them into `folder`, on one process of a machine.

    Resumes where an earlier call was killed; a finished set is left as it is.

    Args:
        folder: of the set.
        latents: (N, z_dim), stored as they are.
        draw: makes the images (stored as bytes, 127.5 (x + 1)), and arrays beside them.
        chunk: items drawn together.
    """
    if is_rendered(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):  # another run may want the same set
        if not is_rendered(folder):
            _render(folder, latents, draw, chunk)


def _render(folder: Path, latents: Tensor, draw: Draw, chunk: int) -> None:
    np.save(folder / LATENTS, latents.numpy())
    progress, count = folder / PROGRESS, len(latents)
    begun = progress.exists() and (folder / PARTIAL).exists()
    done = json.loads(progress.read_text()) if begun else 0
    arrays: dict[str, np.memmap] = {}
    starts = range(done, count, chunk)
    for start in tracked(starts, "rendering heads", len(starts)):
        part = slice(start, min(start + chunk, count))
        for name, value in draw(part).items():
            if name == IMAGES:
                value = ((value + 1) * 127.5).round().byte()
            if name not in arrays:
                path = folder / (PARTIAL if name == IMAGES else name)
                arrays[name] = np.lib.format.open_memmap(
                    path,
                    mode="r+" if begun else "w+",
                    dtype=value.numpy().dtype,
                    shape=(count, *value.shape[1:]),
                )
            arrays[name][part] = value.numpy()
            arrays[name].flush()
        with atomic_write(progress) as draft:
            draft.write_text(json.dumps(start + chunk))
    os.replace(folder / PARTIAL, folder / IMAGES)
    progress.unlink(missing_ok=True)


def open_array(path: Path) -> np.ndarray:
    """Map an array on the disk.

    Raises:
        UserError: it is missing, truncated or something else.
    """
    try:
        require_regular(path)  # a pipe would be waited for
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("an archive of arrays")
        return array
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: missing, truncated or not a NumPy array") from error
