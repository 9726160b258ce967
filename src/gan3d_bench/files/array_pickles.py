"""Reading pickles that hold nothing but NumPy arrays in plain containers, such as JAX's weights.

The pickle is `pickles.read_pickle`'s, with its bounds; here an array must have a number type and
exactly the bytes that its shape asks for.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from gan3d_bench.errors import UserError
from gan3d_bench.files.pickles import (
    EncodedBytes,
    Global,
    Names,
    RefusedPickle,
    open_bounded,
    read_pickle,
)

KINDS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
MAX_DIMENSIONS = 8


class _DType:
    """Answers ``numpy.dtype``; the byte order comes with the state."""

    def __init__(self, kind: Any, *_: Any) -> None:
        if kind not in KINDS:
            raise RefusedPickle("an array of something other than numbers")
        self.kind = kind
        self.order = "|"

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.kind)


def _empty(kind: Any, *_: Any) -> np.ndarray:
    if not (isinstance(kind, Global) and kind.name == "numpy.ndarray"):
        raise RefusedPickle("an array of an unknown class")
    return np.empty(0)


def _build(target: Any, state: Any) -> None:
    match target, state:
        case _DType(), (int(), ("<" | ">" | "|") as order, *_):
            target.order = order
        case np.ndarray(), (int(), tuple(shape), _DType() as kind, bool() | int(), data):
            content = data.decode() if isinstance(data, EncodedBytes) else data
            dtype = kind.dtype
            if len(shape) > MAX_DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
                raise RefusedPickle("an array with a shape that makes no sense")
            if type(content) is not bytes or len(content) != math.prod(shape) * dtype.itemsize:
                raise RefusedPickle("an array with more or fewer bytes than its shape needs")
            target.__setstate__((1, shape, dtype, bool(state[3]), content))  # type: ignore[attr-defined]
        case _:
            raise RefusedPickle("it is damaged: a state that fits nothing")


# Files written under numpy 1 name numpy.core, those under numpy 2 numpy._core.
NAMES: Names = {
    "numpy.ndarray": None,
    "numpy.dtype": _DType,
    "numpy.core.multiarray._reconstruct": _empty,
    "numpy._core.multiarray._reconstruct": _empty,
    "_codecs.encode": EncodedBytes,
}


def load_array_pickle(path: Path) -> Any:
    """Return the nested containers of NumPy arrays pickled in `path`. Runs none of its code.

    Raises:
        UserError: the file is not such a pickle: truncated, damaged, or asking for anything else.
    """
    try:
        with open_bounded(path) as file:
            return read_pickle(file, NAMES, build=_build)
    except RefusedPickle as error:
        raise UserError(f"{path} is not a pickle of arrays alone: {error}") from error
