"""Reading what strangers saved with ``torch.save``, or pickled, without running any of it.

``torch.load(weights_only=True)`` runs nothing either, but a hostile file can make it fill the
memory or work for ever, and it opens no pickle with classes of other packages. Here every size is
checked against the file, tensors are read only when they are wanted, and the caller says which
names of a pickle mean what. The pickles themselves are `pickles.read_pickle`'s, with its bounds.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from gan3d_bench.files.pickles import (
    MAX_DEPTH,
    MAX_OPCODES,
    Build,
    EncodedBytes,
    Global,
    Inert,
    Names,
    RefusedPickle,
    UnknownName,
    clip,
    open_bounded,
    read_pickle,
    refusing,
)

MAX_TENSORS = 2000
MAX_DIMENSIONS = 8
MAX_READING = 16
"""How often the bytes of a file's tensors may be read for them."""
MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001

_DTYPES = {
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.DoubleStorage": torch.float64,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}


@dataclass(frozen=True)
class Storage:
    """Values in a file: `read` returns their bytes, little-endian."""

    dtype: torch.dtype
    numel: int
    read: Callable[[], bytes]


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that is still in its file; `storage` is found when it is wanted."""

    storage: Callable[[], Storage]
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Loader:
    """Reads the tensors of one file, with a limit of their bytes and of the work.

    Tensors may be views of one storage: it is read once for those that follow each other.
    """

    def __init__(self, max_bytes: int) -> None:
        self.bytes = max_bytes
        self.reading = MAX_READING * max_bytes
        self._last: tuple[Storage, bytearray] | None = None

    def load(self, stored: StoredTensor) -> Tensor:
        """Return a tensor of its own, with the strides that were saved if it has no gaps.

        Raises:
            RefusedPickle: it reaches out of its storage, or there is too much to read.
        """
        with refusing():
            return self._load(stored, stored.storage())

    def _load(self, stored: StoredTensor, storage: Storage) -> Tensor:
        count = math.prod(stored.size)
        self.bytes -= count * storage.dtype.itemsize
        if self.bytes < 0:
            raise RefusedPickle("its tensors are larger than the file")
        if not count:
            return torch.empty(stored.size, dtype=storage.dtype)
        steps = zip(stored.size, stored.stride, strict=True)
        if stored.offset + sum((side - 1) * step for side, step in steps) >= storage.numel:
            raise RefusedPickle("a tensor reaches out of its storage")
        values = torch.frombuffer(self._content(storage), dtype=storage.dtype)
        return values.as_strided(stored.size, stored.stride, stored.offset).clone()

    def _content(self, storage: Storage) -> bytearray:
        if self._last is not None and self._last[0] is storage:
            return self._last[1]
        length = storage.numel * storage.dtype.itemsize
        self.reading -= length
        if self.reading < 0:
            raise RefusedPickle("its tensors are many views of few values")
        content = bytearray(storage.read())
        if len(content) != length:
            raise RefusedPickle(f"a storage of {storage.numel} values has {len(content)} bytes")
        self._last = storage, content
        return content


def load_tensors(part: Any, max_bytes: int) -> dict[str, Tensor]:
    """Return the tensors of `part`, a dict of names and `StoredTensor`.

    Args:
        part: what a file holds where a state dict is expected.
        max_bytes: limit of all tensors together; the file's size is a safe one.

    Raises:
        RefusedPickle: `part` is something else, or its tensors are damaged or too large.
    """
    for value in (part, *(part.values() if isinstance(part, dict) else ())):
        if isinstance(value, Inert):
            raise UnknownName(value.name)
    if not isinstance(part, dict) or not all(
        isinstance(key, str) and isinstance(value, StoredTensor) for key, value in part.items()
    ):
        raise RefusedPickle("expected the names and tensors of a network")
    if len(part) > MAX_TENSORS:
        raise RefusedPickle(f"{len(part)} tensors, expected at most {MAX_TENSORS}")
    loader = _Loader(max_bytes)
    return {key: loader.load(stored).contiguous() for key, stored in part.items()}


def read_file(path: Path, names: Names, inert: bool = False, build: Build | None = None) -> Any:
    """Return what a file holds: of ``torch.save`` in either of its formats, or a plain pickle.

    Args:
        path: the file.
        names: allow-list in addition to PyTorch's tensors.
        inert: leaves objects of unknown classes where they are, as `Inert`; see `read_pickle`.
        build: sets what a pickle wants to set on the objects of `names`; see `read_pickle`.

    Returns:
        plain values, with a `StoredTensor` for each tensor.

    Raises:
        RefusedPickle: see there; also for a file that `pickles.open_bounded` refuses.
    """
    # not closed at the end: storages are read from it later
    with open_bounded(path) as file:
        size = path.stat().st_size
        if file.read(2) == b"PK":
            return _read_zip(path, size, names, inert, build)
        file.seek(0)
        return _read_stream(file, size, names, inert, build=build)


def read_everything(path: Path) -> Any:
    """Return what a file of ``torch.save`` holds: plain values and tensors, all of them read.

    Raises:
        RefusedPickle: see `read_file`; too many values, nested too deep, or tensors damaged or
            too large.
    """
    part = read_file(path, {})
    # tensors may share a storage, which the file holds once
    loader = _Loader(2 * path.stat().st_size)
    values = iter(range(MAX_OPCODES))
    loaded: dict[int, Tensor] = {}

    def whole(part: Any, depth: int) -> Any:
        if next(values, None) is None or depth > MAX_DEPTH:
            raise RefusedPickle("it holds too many values or nests them too deep")
        match part:
            case StoredTensor():
                if id(part) not in loaded:
                    loaded[id(part)] = loader.load(part)
                return loaded[id(part)]
            case dict():
                return {key: whole(value, depth + 1) for key, value in part.items()}
            case list() | tuple():
                return type(part)(whole(value, depth + 1) for value in part)
            case EncodedBytes():
                return part.decode()
            case None | bool() | int() | float() | str() | bytes():
                return part
        raise RefusedPickle("it holds something other than tensors and plain values")

    return whole(part, 0)


# -- names --------------------------------------------------------------------------------------


def _names(names: Names) -> Names:
    return {
        **dict.fromkeys(_DTYPES),
        "collections.OrderedDict": lambda: {},
        "argparse.Namespace": lambda: {},
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
        "torch.storage._load_from_bytes": _Nested,
        "_codecs.encode": EncodedBytes,
        **names,
    }


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> StoredTensor:
    if isinstance(storage, Storage):
        find: Callable[[], Storage] = lambda: storage  # noqa: E731
    elif isinstance(storage, _Nested):
        find = storage.open
    else:
        raise RefusedPickle("a tensor without a storage")
    numbers = (offset, *size, *stride)
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        raise RefusedPickle("a tensor with sizes that are no whole numbers")
    if len(size) != len(stride) or len(size) > MAX_DIMENSIONS:
        raise RefusedPickle(f"a tensor of {len(size)} sizes and {len(stride)} strides")
    return StoredTensor(find, offset, tuple(size), tuple(stride))


@dataclass(frozen=True)
class _Nested:
    """A storage inside a pickle: a complete file of ``torch.save``, in its old format."""

    content: Any

    def open(self) -> Storage:
        return self._storage

    @cached_property
    def _storage(self) -> Storage:
        content = self.content
        if isinstance(content, EncodedBytes):
            content = content.decode()
        if type(content) is not bytes:
            raise RefusedPickle("a storage that is no bytes")
        storage = _read_stream(io.BytesIO(content), len(content), {}, max_opcodes=200)
        if not isinstance(storage, Storage):
            raise RefusedPickle("a storage that holds something else")
        return storage


def _storage_of(identity: Any) -> tuple[str, torch.dtype, int]:
    """Take a persistent id apart: key, type, number of values."""
    match identity:
        case ("storage", Global(name=kind), str(key), str(), int(numel), *view) if (
            kind in _DTYPES and 0 <= numel < 2**63 and view in ([], [None])
        ):
            return key, _DTYPES[kind], numel
    raise RefusedPickle("a storage of an unknown kind")


# -- files --------------------------------------------------------------------------------------


def _read_zip(path: Path, size: int, names: Names, inert: bool, build: Build | None) -> Any:
    archive = zipfile.ZipFile(path)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise RefusedPickle("an archive with compressed entries, which torch.save never writes")
    if sum(entry.file_size for entry in archive.infolist()) > size:
        raise RefusedPickle("an archive that claims to hold more than its size")
    entries = set(archive.namelist())
    found = [name for name in entries if name.endswith("/data.pkl")]
    if len(found) != 1:
        raise RefusedPickle("an archive, but not of torch.save")
    root = found[0].removesuffix("data.pkl")
    if f"{root}byteorder" in entries and archive.read(f"{root}byteorder") != b"little":
        raise RefusedPickle("numbers are big-endian, expected little-endian")

    stored: dict[tuple[str, torch.dtype, int], Storage] = {}

    def storage(identity: Any) -> Storage:
        key, dtype, numel = described = _storage_of(identity)
        name = f"{root}data/{key}"
        if name not in entries:
            raise RefusedPickle(f"a storage is missing: {clip(name)}")
        if described not in stored:
            stored[described] = Storage(dtype, numel, lambda: archive.read(name))
        return stored[described]

    content = io.BytesIO(archive.read(found[0]))
    return read_pickle(content, _names(names), storage, build=build, inert=inert)


def _read_stream(
    file: BinaryIO,
    size: int,
    names: Names,
    inert: bool = False,
    max_opcodes: int = MAX_OPCODES,
    build: Build | None = None,
) -> Any:
    """Read the old format of ``torch.save``, or a plain pickle."""
    stored: dict[str, Storage] = {}
    places: dict[str, int] = {}

    def storage(identity: Any) -> Storage:
        key, dtype, numel = _storage_of(identity)
        known = stored.get(key)
        if known is None:
            length = numel * dtype.itemsize
            stored[key] = known = Storage(dtype, numel, lambda: _window(file, places[key], length))
        elif (known.dtype, known.numel) != (dtype, numel):
            raise RefusedPickle("a storage with two kinds or sizes")
        return known

    def value(names: Names, persistent: Callable[[Any], Any] | None = None) -> Any:
        return read_pickle(file, names, persistent, max_opcodes, build, inert)

    first = value(_names(names))
    if first != MAGIC:
        return first
    if value({}) != PROTOCOL:
        raise RefusedPickle(f"not protocol {PROTOCOL} of torch.save")
    system = value({})
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise RefusedPickle("numbers are big-endian, expected little-endian")
    content, keys = value(_names(names), storage), value({})
    if not isinstance(keys, list) or not all(type(key) is str for key in keys):
        raise RefusedPickle("its list of storages is damaged")
    if sorted(keys) != sorted(stored):
        raise RefusedPickle("its list of storages is damaged")
    for key in keys:
        count = int.from_bytes(file.read(8), "little", signed=True)
        length = stored[key].numel * stored[key].dtype.itemsize
        places[key] = file.tell()
        if count != stored[key].numel or places[key] + length > size:
            raise RefusedPickle(f"it is truncated: a storage of {count} values is not there")
        file.seek(length, os.SEEK_CUR)
    return content


def _window(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)
