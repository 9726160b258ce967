"""Where many pictures lie: a folder, a zip file, or a list of paths. Only the index is in memory.

Pictures are read one at a time and nothing is extracted, so names in a zip file lead nowhere.
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from gan3d_bench.errors import UserError
from gan3d_bench.files.photographs import SUFFIXES, check_bytes, decode, read_bytes

Item = TypeVar("Item")

MAX_LIST_BYTES = 256 * 2**20


class PictureSource(ABC):
    """Pictures in a fixed order.

    Attributes:
        names: one per picture: its path relative to the folder or in the zip file, or as listed.
    """

    names: list[str]

    def __len__(self) -> int:
        return len(self.names)

    @abstractmethod
    def read(self, index: int) -> bytes:
        """Return the bytes of a picture. Raises UserError where it is missing or damaged."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hash that changes with the pictures' names, order or contents."""


class PictureFiles(PictureSource):
    """Local files; `names` and `paths` belong together."""

    def __init__(self, names: list[str], paths: list[Path]) -> None:
        self.names = names
        self.paths = paths

    def read(self, index: int) -> bytes:
        return read_bytes(self.paths[index])

    def fingerprint(self) -> str:
        """Of names, sizes and times of change."""
        digest = hashlib.sha256()
        for name, path in zip(self.names, self.paths, strict=True):
            try:
                status = path.stat()
                state = (str(path.absolute()), status.st_size, status.st_mtime_ns)
            except (OSError, ValueError):  # bad ones are reported when they are read
                state = ("unreadable",)
            digest.update(repr((name, *state)).encode())
        return digest.hexdigest()


class PictureZip(PictureSource):
    """Members of a zip file, stored or deflated: those decompress within a bound.

    Every process opens the file for itself; two that share one handle would move each other's
    position.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive: zipfile.ZipFile | None = None
        self._process = 0
        members = {
            index: member.filename
            for index, member in enumerate(self._open().infolist())
            if not member.is_dir() and _is_picture(member.filename)
        }
        self._members = sorted(members, key=lambda index: natural_key(members[index]))
        self.names = [members[index] for index in self._members]

    def read(self, index: int) -> bytes:
        archive = self._open()
        member, name = archive.infolist()[self._members[index]], self.names[index]
        if member.flag_bits & 0x1:
            raise UserError(f"{name!r} in {str(self.path)!r} is encrypted; expected it plain")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UserError(
                f"{name!r} in {str(self.path)!r}: compression method {member.compress_type}; "
                "expected deflate (8) or none (0)"
            )
        check_bytes(member.file_size, name)
        try:
            with archive.open(member) as file:
                # without a number a lying member would be inflated whole before it is cut;
                # at the declared size the checksum is compared
                return file.read(member.file_size + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
            raise UserError(f"{name!r} in {str(self.path)!r} is damaged ({error})") from error

    def fingerprint(self) -> str:
        """Of the members' names and of the file's place, size and time of change."""
        status = self.path.stat()
        state = (str(self.path.absolute()), status.st_size, status.st_mtime_ns, self.names)
        return hashlib.sha256(repr(state).encode()).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_archive": None}

    def _open(self) -> zipfile.ZipFile:
        if self._archive is None or self._process != os.getpid():
            try:
                self._archive = zipfile.ZipFile(self.path)
            except (zipfile.BadZipFile, OSError, ValueError) as error:
                raise UserError(f"{str(self.path)!r} is not a readable zip file") from error
            self._process = os.getpid()
        return self._archive


def open_source(images: str | Path, *, recursive: bool = False) -> PictureSource:
    """Return the pictures in a folder, a zip file or a text list, or one picture.

    Files count by `photographs.SUFFIXES`, in the natural order of their names (2 before 10);
    hidden ones and those of ``__MACOSX`` are left out. A list has a path a line, relative to its
    own folder, and keeps its order. A zip file always counts with its folders.

    Args:
        images: path of any of these.
        recursive: also the folders within a folder; links are followed, each folder once.

    Raises:
        UserError: none of these, or without a picture.
    """
    root, key = Path(images), f"images={str(images)!r}"
    expected = "expected a folder of images, a zip file or a text file of paths"
    if not str(images):  # would be the working folder
        raise UserError(f"{key}: {expected}")
    try:
        if root.is_dir():
            names = _walk(root, recursive)
            source: PictureSource = PictureFiles(names, [root / name for name in names])
            hint = "" if recursive else " (folders within it are read with recursive=true)"
        elif not root.is_file():
            raise UserError(f"{key}: {'' if root.exists() else 'no such file; '}{expected}")
        elif root.suffix.lower() in SUFFIXES:
            source, hint = PictureFiles([root.name], [root]), ""
        elif zipfile.is_zipfile(root):
            source, hint = PictureZip(root), ""
        else:
            source, hint = _read_list(root), ""
    except (OSError, ValueError) as error:
        raise UserError(f"{key}: {expected}") from error
    if not len(source):
        raise UserError(f"{key}: no images there{hint}; expected {', '.join(SUFFIXES[:5])} ...")
    return source


def read_named(
    paths: Sequence[Path], take: Callable[[Image.Image, str], Sequence[Item]]
) -> dict[str, Item]:
    """Read pictures, one at a time, and return what is taken of each under names of its own.

    Args:
        paths: pictures, folders, zip files or lists; see `open_source`.
        take: called with a picture and its name, which errors may say. Returns what to keep.

    Returns:
        what was taken, in order, by the stem of the picture's name; numbered from 1 where
        several were taken of one picture (``stem-1``).

    Raises:
        UserError: an unreadable picture, or two of one name.
    """
    taken: dict[str, Item] = {}
    for path in paths:
        source = open_source(path)
        for index, name in enumerate(source.names):
            items = take(decode(source.read(index), name), name)
            for number, item in enumerate(items):
                stem = Path(name).stem + (f"-{number + 1}" if len(items) > 1 else "")
                if stem in taken:
                    raise UserError(
                        f"{name!r}: its files would be those of another picture called '{stem}'; "
                        "expected different names"
                    )
                taken[stem] = item
    return taken


def natural_key(name: str) -> tuple[object, ...]:
    """Sort key of a name: numbers in it by value, letters without regard to case."""
    key: list[object] = list(re.split(r"([0-9]+)", name.casefold()))
    for i in range(1, len(key), 2):
        # by length and then as text: int() refuses thousands of digits
        digits = str(key[i]).lstrip("0")
        key[i] = (len(digits), digits)
    return (*key, (-1, ""), name)


def _is_picture(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return (
        name.lower().endswith(SUFFIXES)
        and "__MACOSX" not in parts
        and not parts[-1].startswith(".")
    )


def _walk(root: Path, recursive: bool) -> list[str]:
    names, seen = [], set()
    for folder, folders, files in os.walk(root, followlinks=True, onerror=_raise):
        real = os.path.realpath(folder)
        if real in seen:  # a link back
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if not f.startswith(".")) if recursive else []
        relative = Path(folder).relative_to(root)
        names += [(relative / file).as_posix() for file in files if _is_picture(file)]
    return sorted(names, key=natural_key)


def _raise(error: OSError) -> None:
    raise error


def _read_list(path: Path) -> PictureFiles:
    if path.stat().st_size > MAX_LIST_BYTES:
        raise ValueError("too large for a list")
    lines = path.read_text(encoding="utf-8").splitlines()
    names = [line.strip() for line in lines if line.strip()]
    return PictureFiles(names, [path.parent / name for name in names])
