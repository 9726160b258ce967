"""Whether a spec that somebody else wrote has values of the types that it declares.

Specs are read by every command that lists, checks or prints something; a wrong one must be noticed
where it joins.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from gan3d_bench.spec import MethodSpec

MOST_DIGITS = 12
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
"""Of a spec or an asset: it is part of file names."""
_HOLDERS: dict[Any, tuple[type, ...]] = {tuple: (tuple, list), frozenset: (frozenset, set)}


def require_types(spec: Any) -> None:
    """Check every field of a spec, or an asset, and of the dataclasses in it, against its type.

    Raises:
        TypeError, ValueError: a value is not of its type, its name is none for files, or a column
            has no sensible number of digits; names the field, the value and what was expected.
    """
    _require(spec, type(spec), type(spec).__name__)
    if not re.fullmatch(NAME, spec.name):
        raise ValueError(f"name={spec.name!r}: expected letters, digits, '-', '_' and '.'")
    for column in getattr(spec, "columns", ()):
        if not 0 <= column.digits <= MOST_DIGITS:
            raise ValueError(f"column '{column.metric}': {column.digits} digits")
    if isinstance(spec, MethodSpec) and spec.default_preset not in spec.presets:
        raise ValueError(f"default_preset: '{spec.default_preset}' is none of its presets")


def _require(value: Any, hint: Any, place: str) -> None:
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return
    if origin in (Union, types.UnionType):
        (hint,) = (part for part in inner if part is not type(None))  # only optional ones occur
        if value is not None:
            _require(value, hint, place)
    elif origin is Literal:
        _hold(value in inner, value, place, f"one of {inner}")
    elif origin in _HOLDERS:
        _hold(isinstance(value, _HOLDERS[origin]), value, place, origin.__name__)
        for index, part in enumerate(value):
            _require(part, inner[0], f"{place}[{index}]")
    elif origin is Mapping or origin is dict:
        _hold(isinstance(value, Mapping), value, place, "mapping")
        for name, part in value.items():
            _require(name, inner[0], f"{place}, a name")
            _require(part, inner[1], f"{place}[{name!r}]")
    elif origin is Callable or hint is Callable:
        _hold(callable(value), value, place, "function")
    elif hint is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        _hold(number and math.isfinite(value), value, place, "finite number")
    elif dataclasses.is_dataclass(hint):
        _hold(isinstance(value, hint), value, place, hint.__name__)  # type: ignore[arg-type]
        hints = get_type_hints(type(value))
        for item in dataclasses.fields(value):
            _require(getattr(value, item.name), hints[item.name], f"{place}.{item.name}")
    else:
        wrong = hint is int and isinstance(value, bool)
        _hold(isinstance(value, hint) and not wrong, value, place, hint.__name__)


def _hold(fits: bool, value: Any, place: str, expected: str) -> None:
    if not fits:
        raise TypeError(f"{place}={value!r}: expected {expected}")
