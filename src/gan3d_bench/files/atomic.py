"""Files that appear whole or not at all, and one clear line where they cannot be written."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gan3d_bench.errors import UserError

DRAFT = ".draft-"


def draft_of(path: Path) -> Path:
    """Return a new name beside `path`, with its suffix, that no other process takes."""
    return path.with_name(f"{DRAFT}{secrets.token_hex(4)}-{path.name}")


def remove_drafts(folder: Path) -> None:
    """Remove what processes that were killed left half-written in `folder` and below.

    Nobody may be writing there.
    """
    for path in folder.rglob(f"{DRAFT}*"):
        path.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its suffix, that replaces it on success.

    Parent folders are created. If the body raises, `path` is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = draft_of(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn a failure to write into a `UserError` that names `path` and the reason."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = error.strerror or str(error).strip().partition("\n")[0]
        raise UserError(
            f"{path}: cannot be written: {'no space left on the disk' if full else reason}"
        ) from error


def require_folder(option: str, folder: Path) -> None:
    """Check, without making it, that `folder` can be written.

    Raises:
        UserError: names `option`, the folder and what is in the way.
    """
    require_name(option, folder)
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise UserError(f"{option} {folder}: expected a folder; {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{option} {folder}: expected a folder that can be written")


def require_name(option: str, path: Path) -> None:
    """Check that the file system can hold a path of that name, whether or not it is there.

    Raises:
        UserError: it is too long, or holds a null byte; names `option`, the path and the reason.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{option} {path}: expected another path: {why}") from error
