"""Reading local files that may be anything: regular ones only, and never more than a bound.

A pipe that nobody writes to blocks for ever, and a device such as /dev/zero never ends.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # or opening a pipe would wait for its writer
_BINARY = getattr(os, "O_BINARY", 0)


def read_regular(path: str | Path, most: int) -> bytes:
    """Return what is in a regular file; links are followed.

    Args:
        path: the file.
        most: its size at most, bytes.

    Raises:
        OSError: missing, unreadable, a folder, a pipe or a device, or larger; its ``strerror`` says
            which.
        ValueError: a name with a null byte.
    """
    require_regular(path)
    descriptor = os.open(path, os.O_RDONLY | _NO_WAIT | _BINARY)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        _require(status, path)
        if status.st_size > most:
            raise OSError(errno.EFBIG, f"{status.st_size} bytes; expected at most {most}")
        return file.read(most)


def require_regular(path: str | Path) -> None:
    """Raise an `OSError`, as `read_regular`, unless `path` is a regular file."""
    _require(os.stat(path), path)


def is_special(path: str | Path) -> bool:
    """Whether something is at `path` that is neither a file nor a folder: a pipe, a device."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _require(status: os.stat_result, path: str | Path) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is a pipe or a device, not a file", str(path))
