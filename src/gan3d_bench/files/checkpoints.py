"""Checkpoint files: written atomically, read with distrust.

A checkpoint is Lightning's dictionary plus ``"gan3d_bench"``: format, version, method, preset and
the resolved config, so that the file says by itself what it belongs to.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import lightning
import torch
from lightning.pytorch.plugins.io import CheckpointIO

from gan3d_bench import __version__
from gan3d_bench.config import RunConfig, to_dict
from gan3d_bench.errors import UserError
from gan3d_bench.files.atomic import draft_of
from gan3d_bench.files.pickles import RefusedPickle
from gan3d_bench.files.torch_files import read_everything
from gan3d_bench.files.weights import is_state

KEY = "gan3d_bench"
FORMAT = 1
OF_LIGHTNING = ("epoch", "global_step", "callbacks", "native_amp_scaling_state")
"""Parts that Lightning writes and nothing of ours reads."""


def _is_progress(part: Any) -> bool:
    numbers = [part.get(key) for key in ("index", "step")] if isinstance(part, dict) else [None]
    return all(isinstance(number, int) and number >= 0 for number in numbers)


# What every checkpoint of ours has besides its card, whatever Lightning adds.
PARTS: dict[str, Callable[[Any], bool]] = {
    "state_dict": is_state,
    "phase": _is_progress,
}


def card(config: RunConfig) -> dict[str, Any]:
    """Return what a checkpoint says about itself, kept under `KEY`."""
    return {
        "format": FORMAT,
        "version": __version__,
        "method": config.method,
        "preset": config.preset,
        "config": to_dict(config),
    }


class AtomicCheckpointIO(CheckpointIO):
    """Lightning's checkpoint door: a reader sees the old file or the new one, never a part."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write `checkpoint` to `path`.

        Raises:
            UserError: the disk is full or the folder cannot be written; the former file stays.
        """
        target = Path(path)
        draft = draft_of(target)
        try:
            with open(draft, "wb") as file:
                writer = _Writer(file)
                try:
                    torch.save(checkpoint, writer)  # type: ignore[arg-type]
                except RuntimeError as error:  # what torch makes of an OSError while it writes
                    raise writer.error or error from error
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, target)
            _sync_folder(target.parent)
        except OSError as error:
            draft.unlink(missing_ok=True)
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            reason = "no space left on the disk" if full else error.strerror
            raise UserError(f"{target}: checkpoint not written: {reason}") from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint, see `read_checkpoint`, for Lightning.

        What Lightning keeps there of its own it is given anew: a method counts its steps itself.
        """
        checkpoint = read_checkpoint(Path(path))
        for key in OF_LIGHTNING:
            checkpoint.pop(key, None)
        version = {"pytorch-lightning_version": lightning.__version__}
        return {**checkpoint, **version, "loops": None, "lr_schedulers": []}

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


def read_checkpoint(path: Path, method: str | None = None) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, tensors and plain values only; see `torch_files`.

    Args:
        path: the file.
        method: name of the method it must belong to; None accepts any.

    Raises:
        UserError: missing, truncated or damaged, not one of ours, or of another method.
    """
    if not path.exists():
        raise UserError(f"{path}: no such checkpoint; the run has not saved one yet")
    try:
        checkpoint = read_everything(path)
    except RefusedPickle as error:
        raise UserError(
            f"{path}: not a readable checkpoint (truncated, damaged or not a checkpoint): {error}"
        ) from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(KEY), dict):
        raise UserError(f"{path}: not a checkpoint of gan3d-bench")
    found = checkpoint[KEY]
    if found.get("format") != FORMAT:
        raise UserError(
            f"{path}: checkpoint format {found.get('format')}; this version reads format {FORMAT}"
        )
    missing = [name for name, is_right in PARTS.items() if not is_right(checkpoint.get(name))]
    if missing or not isinstance(found.get("method"), str):
        raise UserError(
            f"{path}: not a whole checkpoint of gan3d-bench: '{(*missing, KEY)[0]}' is missing or "
            "is not what fit writes"
        )
    if method is not None and found["method"] != method:
        raise UserError(f"{path}: checkpoint of method '{found['method']}', expected '{method}'")
    return checkpoint


class _Writer:
    """Keeps the OSError that `torch.save` hides in a RuntimeError."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def _sync_folder(folder: Path) -> None:
    # The rename itself is durable only once the folder is; some file systems cannot do that.
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError:
            pass
        finally:
            os.close(descriptor)
