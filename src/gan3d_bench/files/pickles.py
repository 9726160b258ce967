"""Reading pickles of strangers: plain values come out, nothing in them is run.

A pickle is a program that may call any function of any module. `read_pickle` follows it with a
stack and a memo of its own: names stay names, and a call is answered by the reader's own function
for that name, or refused. No module is imported, no attribute is set, nothing is hashed but texts
and small numbers, and the work is bounded.

All pickles of the suite are read here; each kind of file brings its table of names: tensors
`torch_files`, arrays `array_pickles`, NVIDIA's networks `generators.stylegan2.nvidia_pickle`. Who
owns which bound: this module a file's bytes, instructions, nesting and keys; `torch_files` the
number, sizes and storages of tensors; `array_pickles` the sizes and kinds of arrays;
`nvidia_pickle` the number of modules and of their entries. Files without pickles bound themselves:
`photographs` (bytes and pixels), `generators.mobilestylegan.openvino_ir` (bytes and nesting of the
XML, constants within the mapped file), `faces.onnx_network` (protobuf's own limit of 2 GiB).
"""

from __future__ import annotations

import mmap
import pickletools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

Names = Mapping[str, Callable[..., Any] | None]
"""Allow-list ``module.name`` -> what answers a call of it, or None for a name that is only told."""
Build = Callable[[Any, Any], None]
"""Called with an object that a name's answer made, and what the pickle wants to set on it."""

MAX_BYTES = 4 * 2**30
MAX_OPCODES = 200_000
MAX_DEPTH = 200
MAX_KEY = 2**32

_VALUES = frozenset(
    {
        *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    }
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
# a list stands for a set: hashing what is in it could take for ever
_CONTAINERS = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": list}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class RefusedPickle(ValueError):
    """A pickle that is damaged, too large, or asks for something that is not allowed."""


class UnknownName(RefusedPickle):
    """A pickle that asks for a name outside the allow-list."""

    def __init__(self, name: str) -> None:
        super().__init__(f"it asks for {clip(name)}, which is never run")
        self.name = name


@dataclass(frozen=True)
class Global:
    """A name in a pickle, ``module.name``. It stands for itself; nothing is imported."""

    name: str


@dataclass(frozen=True)
class Inert:
    """Stands for an object of a class, `name`, that nobody has asked for; nothing of it is kept."""

    name: str


@dataclass(frozen=True)
class EncodedBytes:
    """Answers ``_codecs.encode``: bytes as protocol 2 holds them, one character for each."""

    text: Any
    encoding: Any = "latin1"

    def decode(self) -> bytes:
        """Raises RefusedPickle where these are no bytes."""
        return self._bytes

    @cached_property
    def _bytes(self) -> bytes:
        if type(self.text) is not str:
            raise RefusedPickle("encoded bytes that are no text")
        try:
            return self.text.encode("latin-1")
        except UnicodeEncodeError:
            raise RefusedPickle("encoded bytes with other characters") from None


def clip(text: str, length: int = 60) -> str:
    """Return `text` in quotes, escaped and shortened, fit to be shown."""
    return repr(text if len(text) <= length else text[:length] + "…")


def read_pickle(
    file: BinaryIO,
    names: Names,
    persistent: Callable[[Any], Any] | None = None,
    max_opcodes: int = MAX_OPCODES,
    build: Build | None = None,
    inert: bool = False,
) -> Any:
    """Return the value of the pickle that begins at the position of `file`, and go past it.

    Dicts, lists, tuples, texts, bytes and numbers are Python's; sets come as lists; what a pickle
    wants to set on an object (BUILD) is left out unless `build` takes it.

    Args:
        file: from which `read(n)` returns what there is without making room for `n` bytes first,
            such as `io.BytesIO` and `mmap.mmap`.
        names: the allow-list.
        persistent: answers persistent ids; None refuses them.
        max_opcodes: limit of the work.
        build: sets what a pickle wants to set; None leaves it out.
        inert: names outside the allow-list, and what is made of them, become `Inert` instead of
            being refused: they may stand beside what is wanted.

    Raises:
        RefusedPickle: see there.
    """
    machine = _Machine(names, persistent, build, inert)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if count == max_opcodes:
                raise RefusedPickle(f"it has more than {max_opcodes} instructions")
            if opcode.name == "STOP":
                return machine.finish()
            machine.step(opcode.name, argument)
    except RefusedPickle:
        raise
    except (ValueError, TypeError, LookupError, OverflowError, MemoryError) as error:
        raise RefusedPickle("it is truncated, damaged or not a pickle") from error
    raise RefusedPickle("it is truncated")


@contextmanager
def open_bounded(path: Path) -> Iterator[BinaryIO]:
    """Give a file as `read_pickle` wants it; whatever fails while it is read is a RefusedPickle.

    The file stays open as long as somebody keeps what was given.

    Raises:
        RefusedPickle: missing, a folder, empty, above `MAX_BYTES`, damaged.
    """
    with refusing():
        if not path.is_file():  # a pipe or a device would block
            raise RefusedPickle("a folder" if path.is_dir() else "no such file")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise RefusedPickle(f"{size} bytes, more than {MAX_BYTES}")
        if size == 0:
            raise RefusedPickle("an empty file")
    with refusing(), path.open("rb") as file:
        yield mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # type: ignore[misc]


@contextmanager
def refusing() -> Iterator[None]:
    """Turn every exception into a RefusedPickle: a foreign file may fail in any way."""
    try:
        yield
    except RefusedPickle:
        raise
    except PermissionError as error:
        raise RefusedPickle("it may not be read") from error
    except Exception as error:
        raise RefusedPickle("it cannot be read, or it is truncated or damaged") from error


class _Machine:
    def __init__(
        self,
        names: Names,
        persistent: Callable[[Any], Any] | None,
        build: Build | None,
        inert: bool,
    ) -> None:
        self.names = names
        self.inert = inert
        self.persistent = persistent
        self.build = build
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        if opcode in _VALUES:
            stack.append(argument)
        elif opcode in _CONSTANTS:
            stack.append(_CONSTANTS[opcode])
        elif opcode in _CONTAINERS:
            stack.append(_CONTAINERS[opcode]())
        elif opcode in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif opcode == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif opcode in _TUPLES:
            self._tuple(_TUPLES[opcode])
        elif opcode == "MARK":
            self._mark()
        elif opcode == "TUPLE":
            stack.append(tuple(self._since_mark()))
        elif opcode == "APPEND":
            self._extend([self._pop()])
        elif opcode in ("APPENDS", "ADDITEMS"):
            self._extend(self._since_mark())
        elif opcode == "SETITEM":
            value, key = self._pop(), self._pop()
            self._update([key, value])
        elif opcode == "SETITEMS":
            self._update(self._since_mark())
        elif opcode == "GLOBAL":
            self._global(".".join(argument.split(" ", 1)))
        elif opcode == "STACK_GLOBAL":
            name, module = self._pop(), self._pop()
            if type(name) is not str or type(module) is not str:
                raise RefusedPickle("it is damaged: a name that is no text")
            self._global(f"{module}.{name}")
        elif opcode in ("REDUCE", "NEWOBJ"):
            arguments = self._pop()
            stack.append(self._call(self._pop(), arguments))
        elif opcode == "NEWOBJ_EX" and self.inert:
            keywords, arguments = self._pop(), self._pop()
            stack.append(self._call(self._pop(), (*arguments, keywords)))
        elif opcode == "BUILD":
            state = self._pop()
            if isinstance(stack[-1], Inert):
                return
            if isinstance(stack[-1], Global):
                raise RefusedPickle(f"it changes {clip(stack[-1].name)}, which is never done")
            if self.build is not None:
                self.build(stack[-1], state)
        elif opcode == "BINPERSID" and self.persistent is not None:
            stack.append(self.persistent(self._pop()))
        elif opcode not in ("PROTO", "FRAME"):
            raise RefusedPickle(f"it has an instruction {opcode}, which no checkpoint needs")

    def finish(self) -> Any:
        if len(self.stack) != 1 or self.marks:
            raise RefusedPickle("it is damaged: values are left over")
        return self.stack[0]

    def _pop(self) -> Any:
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise RefusedPickle("it is damaged: a value is missing")
        return self.stack.pop()

    def _mark(self) -> None:
        self.marks.append(len(self.stack))
        if len(self.marks) > MAX_DEPTH:
            raise RefusedPickle(f"it is nested more than {MAX_DEPTH} deep")

    def _since_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _tuple(self, length: int) -> None:
        items = [self._pop() for _ in range(length)]
        self.stack.append(tuple(reversed(items)))

    def _extend(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], Inert):
            return
        if type(self.stack[-1]) is not list:
            raise RefusedPickle("it is damaged: items for something that is no list")
        self.stack[-1].extend(items)

    def _update(self, items: list[Any]) -> None:
        target, keys = self.stack[-1], items[::2]
        if isinstance(target, Inert):
            return
        if type(target) is not dict or len(items) % 2:
            raise RefusedPickle("it is damaged: items for something that is no dictionary")
        for key in keys:
            # hashing a tuple of tuples, or whole numbers made to collide, could take for ever
            if type(key) is not str and not (type(key) is int and abs(key) < MAX_KEY):
                raise RefusedPickle("it has a dictionary with keys other than texts and numbers")
        target.update(zip(keys, items[1::2], strict=True))

    def _global(self, name: str) -> None:
        if name in self.names:
            self.stack.append(Global(name))
        elif self.inert:
            self.stack.append(Inert(name))
        else:
            raise UnknownName(name)

    def _call(self, function: Any, arguments: Any) -> Any:
        if isinstance(function, Inert):
            return function
        if not isinstance(function, Global) or type(arguments) is not tuple:
            raise RefusedPickle("it is damaged: a call of something that is no function")
        answer = self.names[function.name]
        if answer is None:
            raise RefusedPickle(f"it calls {clip(function.name)}, which is never run")
        return answer(*arguments)
