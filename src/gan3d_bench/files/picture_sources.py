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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from PIL import Image

from gan3d_bench.errors import UserError
from gan3d_bench.files.photographs import (
    HEAD,
    SUFFIXES,
    check_bytes,
    decode,
    is_picture,
    read_bytes,
)
from gan3d_bench.regular_files import read_regular, require_regular

Item = TypeVar("Item")

MAX_LIST_BYTES = 256 * 2**20
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class PictureSource(ABC):
    """Pictures in a fixed order.

    Attributes:
        names: one per picture: its path relative to the folder or in the zip file, or as listed.
        passed_over: the same of files that are no pictures.
    """

    names: list[str]
    passed_over: Sequence[str] = ()

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

    def __init__(
        self, names: list[str], paths: list[Path], passed_over: Sequence[str] = ()
    ) -> None:
        self.names = names
        self.paths = paths
        self.passed_over = passed_over

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
            index: member
            for index, member in enumerate(self._open().infolist())
            if not member.is_dir() and not _is_hidden(member.filename)
        }
        pictures = [
            index
            for index, member in members.items()
            if _has_suffix(member.filename) or is_picture(self._start(member))
        ]
        self._members = sorted(pictures, key=lambda index: natural_key(members[index].filename))
        self.names = [members[index].filename for index in self._members]
        self.passed_over = sorted(
            {member.filename for member in members.values()} - set(self.names)
        )

    def read(self, index: int) -> bytes:
        archive = self._open()
        member, name = archive.infolist()[self._members[index]], self.names[index]
        if member.flag_bits & 0x1:
            raise UserError(f"{name!r} in {str(self.path)!r} is encrypted; expected it plain")
        if member.compress_type not in COMPRESSIONS:
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

    def _start(self, member: zipfile.ZipInfo) -> bytes:
        """The first bytes of a member; none where it cannot be read."""
        if member.compress_type not in COMPRESSIONS or member.flag_bits & 0x1:
            return b""
        try:
            with self._open().open(member) as file:
                return file.read(HEAD)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError):
            return b""

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

    Files count by `photographs.SUFFIXES` or, with other names, by their first bytes, in the natural
    order of their names (2 before 10); hidden ones and those of ``__MACOSX`` are left out. A list
    has a path a line, relative to its own folder, and keeps its order. A zip file always counts
    with its folders.

    Args:
        images: path of any of these.
        recursive: also the folders within a folder; links are followed, each folder once.

    Raises:
        UserError: none of these, or without a picture.
    """
    root, name = Path(images), repr(str(images))
    expected = "expected a folder of images, a zip file or a text file of paths"
    if not str(images):  # would be the working folder
        raise UserError(f"{name}: {expected}")
    try:
        if root.is_dir():
            source: PictureSource = _read_folder(root, recursive)
        elif not root.is_file():
            raise UserError(f"{name}: {'' if root.exists() else 'no such file; '}{expected}")
        elif _has_suffix(root.name) or is_picture(_start(root)):
            source = PictureFiles([root.name], [root])
        elif zipfile.is_zipfile(root):
            source = PictureZip(root)
        else:
            source = _read_list(root)
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: {expected}") from error
    if not len(source):
        others = source.passed_over
        why = f" ({len(others)} other files, such as {others[0]!r})" if others else ""
        why += " (folders within it do not count)" if root.is_dir() and not recursive else ""
        raise UserError(f"{name}: no images there{why}; expected {', '.join(SUFFIXES[:5])} ...")
    return source


@dataclass
class Taken(Generic[Item]):
    """What `read_named` took.

    Attributes:
        items: in order, by the stem of the picture's name; numbered from 1 where several were taken
            of one picture (``stem-1``).
        pictures: their number, bad ones included.
        bad: why each picture that was skipped cannot be used.
        passed_over: names of files that are no pictures.
    """

    items: dict[str, Item] = field(default_factory=dict)
    pictures: int = 0
    bad: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)


def read_named(
    paths: Sequence[Path],
    take: Callable[[Image.Image, str], Sequence[Item]],
    *,
    skip_bad: bool = False,
) -> Taken[Item]:
    """Read pictures, one at a time, and return what is taken of each under names of its own.

    Args:
        paths: pictures, folders, zip files or lists; see `open_source`.
        take: called with a picture and its name, which errors may say. Returns what to keep, or
            raises a `UserError` for a picture that it cannot use.
        skip_bad: leave pictures out that cannot be used, as long as there is one that can.

    Raises:
        UserError: a picture that cannot be used, or two of one name.
    """
    taken: Taken[Item] = Taken()
    first: UserError | None = None
    for path in paths:
        source = open_source(path)
        taken.pictures += len(source)
        taken.passed_over += source.passed_over
        for index, name in enumerate(source.names):
            try:
                items = take(decode(source.read(index), name), name)
            except UserError as error:
                first = first or error
                if not skip_bad:
                    raise
                taken.bad.append(str(error))
                continue
            _add(taken.items, name, items)
    if first is not None and len(taken.bad) == taken.pictures:
        raise first
    return taken


def _add(taken: dict[str, Item], name: str, items: Sequence[Item]) -> None:
    for number, item in enumerate(items):
        stem = Path(name).stem + (f"-{number + 1}" if len(items) > 1 else "")
        if stem in taken:
            raise UserError(
                f"{name!r}: its files would be those of another picture called '{stem}'; "
                "expected different names"
            )
        taken[stem] = item


def natural_key(name: str) -> tuple[object, ...]:
    """Sort key of a name: numbers in it by value, letters without regard to case."""
    key: list[object] = list(re.split(r"([0-9]+)", name.casefold()))
    for i in range(1, len(key), 2):
        # by length and then as text: int() refuses thousands of digits
        digits = str(key[i]).lstrip("0")
        key[i] = (len(digits), digits)
    return (*key, (-1, ""), name)


def _has_suffix(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _is_hidden(name: str) -> bool:
    """Whether a file, or a folder that it lies in, is none of the user's own."""
    return any(
        part == "__MACOSX" or (part.startswith(".") and part not in (".", ".."))
        for part in name.replace("\\", "/").split("/")
    )


def _start(path: Path) -> bytes:
    """The first bytes of a file; none of what is no file or cannot be read."""
    try:
        require_regular(path)
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""


def _read_folder(root: Path, recursive: bool) -> PictureFiles:
    names = _walk(root, recursive)
    pictures = [name for name in names if _has_suffix(name) or is_picture(_start(root / name))]
    others = sorted(set(names) - set(pictures))
    return PictureFiles(pictures, [root / name for name in pictures], others)


def _walk(root: Path, recursive: bool) -> list[str]:
    """Names of all files in natural order."""
    names, seen = [], set()
    for folder, folders, files in os.walk(root, followlinks=True, onerror=_raise):
        real = os.path.realpath(folder)
        if real in seen:  # a link back
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if not _is_hidden(f)) if recursive else []
        relative = Path(folder).relative_to(root)
        names += [(relative / file).as_posix() for file in files if not _is_hidden(file)]
    return sorted(names, key=natural_key)


def _raise(error: OSError) -> None:
    raise error


def _read_list(path: Path) -> PictureFiles:
    lines = read_regular(path, MAX_LIST_BYTES).decode("utf-8-sig").splitlines()
    names = [line.strip() for line in lines if line.strip()]
    return PictureFiles(names, [path.parent / os.path.expanduser(name) for name in names])
