"""What tells a file or folder of data from another one, without reading all of it."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from gan3d_bench.config import RunConfig, paths_of
from gan3d_bench.errors import UserError
from gan3d_bench.files.photographs import SUFFIXES

BLOCK = 64 * 2**10
BLOCKS = 5  # of a file that are read, from its first to its last
MOST_READ = 1000  # files of a folder whose contents count
DATA = (*SUFFIXES, ".npy", ".npz", ".pt", ".pth", ".pkl", ".ckpt", ".safetensors", ".onnx", ".zip")


def fingerprints(config: RunConfig) -> dict[str, str]:
    """Return a fingerprint of what lies at each path of a config, by its key."""
    return {key: fingerprint(path) for key, path in paths_of(config).items()}


def require_same(config: RunConfig, before: object, run: Path) -> None:
    """Check that a run's paths still lead to what it was begun with.

    Args:
        config: of the run.
        before: what `fingerprints` said then; what is no mapping is of a run of an older version.
        run: its folder, for the error.

    Raises:
        UserError: something has changed; names the key and the path. What is gone is missed by who
            needs it.
    """
    if not isinstance(before, Mapping):
        return
    for key, path in paths_of(config).items():
        if key in before and before[key] != fingerprint(path):
            raise UserError(
                f"{key}={str(path)!r}: not what {run} was begun with; expected the same files, or "
                "a new run"
            )


def fingerprint(path: Path) -> str:
    """Return a hash of names, sizes and parts of the contents of a file or a folder's files.

    Of a run its checkpoint counts, of a folder with data of its own those files, of another one all
    within it; hidden ones do not. Neither times nor the folder's own place matter, so that a copy
    has the same hash.
    """
    checkpoints = path / "checkpoints"
    path = checkpoints if checkpoints.is_dir() else path
    digest = hashlib.sha256()
    names = _files(path) if path.is_dir() else [""]
    step = -(-len(names) // MOST_READ)
    for number, name in enumerate(names):
        file = path / name if name else path
        digest.update(repr((name, _part(file, contents=number % step == 0))).encode())
    return digest.hexdigest()


def _part(file: Path, *, contents: bool) -> tuple[object, ...]:
    """Size of a file, and a hash of blocks of it."""
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            return ("no file",)
        if not contents:
            return (status.st_size,)
        digest, last = hashlib.sha256(), max(0, status.st_size - BLOCK)
        with file.open("rb") as opened:
            for start in sorted({last * i // (BLOCKS - 1) for i in range(BLOCKS)}):
                opened.seek(start)
                digest.update(opened.read(BLOCK))
        return status.st_size, digest.hexdigest()
    except OSError:  # whoever reads it will say so
        return ("unreadable",)


def _files(root: Path) -> list[str]:
    own = sorted(entry.name for entry in os.scandir(root) if _counts(entry.name))
    data = [name for name in own if name.lower().endswith(DATA) and (root / name).is_file()]
    return data or sorted(_below(root))


def _below(root: Path) -> Iterator[str]:
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        folders[:] = [] if real in seen else filter(_counts, folders)
        for name in () if real in seen else filter(_counts, files):
            yield Path(folder, name).relative_to(root).as_posix()
        seen.add(real)


def _counts(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"
