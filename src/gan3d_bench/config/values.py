"""From text to the values of a config's fields, and back: a field's type says what a text means."""

import dataclasses
import math
import re
import types
from collections.abc import Mapping
from enum import Enum
from functools import cache
from pathlib import Path, PurePath
from typing import Any, TypeGuard, TypeVar, Union, get_args, get_origin, get_type_hints

from gan3d_bench.config.reading import NULLS, Plain

MISSING = "???"
"""Of a field without a default: whoever runs it must give a value."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,400}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NOT_FINITE = re.compile(r"([+-]?)\.?(inf|infinity|nan)", re.IGNORECASE)
_TRUTH = {"true": True, "false": False}

Config = TypeVar("Config")


class Misfit(Exception):
    """A value that its key's type does not take.

    Attributes:
        key: dotted.
    """

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class UnknownKey(Misfit):
    """A key that the config does not have."""


@cache
def types_of(schema: type) -> dict[str, Any]:
    """Return the fields of a config dataclass and their types."""
    hints = get_type_hints(schema)
    return {item.name: hints[item.name] for item in dataclasses.fields(schema)}  # type: ignore[arg-type]


def type_at(schema: type, key: str) -> Any:
    """Return the type of a dotted key, of a section its dataclass; None if there is no such key."""
    kind: Any = schema
    for name in key.split("."):
        if not dataclasses.is_dataclass(kind):
            return None
        kind = types_of(kind).get(name)  # type: ignore[arg-type]
    return kind


def _is_class(kind: Any) -> TypeGuard[type]:
    # in Python 3.10 ``list[str]`` is an instance of `type`, too
    return isinstance(kind, type) and get_origin(kind) is None


def is_scalar(kind: Any) -> bool:
    """Whether a type's values are one word or text, not lists, mappings or sections."""
    if _is_union(kind):
        return all(is_scalar(part) for part in get_args(kind))
    return _is_class(kind) and (
        kind in (int, float, bool, str, type(None)) or issubclass(kind, Enum | PurePath)
    )


def updated(config: Config, given: Mapping[str, Any], prefix: str = "") -> Config:
    """Return a config dataclass with some values replaced; mappings are merged key by key.

    Args:
        config: is left as it is.
        given: keys to text, lists and mappings of it, as `reading.parse` returns them.
        prefix: of the keys that errors name.

    Raises:
        Misfit: a value of another type, or an unknown key.
    """
    kinds, changes = types_of(type(config)), {}
    for name, value in given.items():
        key = f"{prefix}{name}"
        if name not in kinds:
            raise UnknownKey(key)
        kind, before = kinds[name], getattr(config, name)
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, Mapping):
                raise Misfit(key)
            changes[name] = updated(before, value, f"{key}.")
        else:
            new = typed(value, kind, key)
            merges = isinstance(before, dict) and isinstance(new, dict)
            changes[name] = {**before, **new} if merges else new
    return dataclasses.replace(config, **changes)  # type: ignore[type-var]


def typed(value: Any, kind: Any, key: str) -> Any:
    """Return what `value`, see `updated`, means to a key of a type. Raises Misfit."""
    if _is_union(kind):
        return _first_that_fits(value, get_args(kind), key)
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if kind is Any:
        return guessed(value)
    if origin in (list, tuple) and isinstance(value, list):
        return origin(typed(item, inner[0] if inner else Any, key) for item in value)
    if origin is dict and isinstance(value, dict):
        kinds = inner or (Any, Any)
        return {
            typed(name, kinds[0], key): typed(item, kinds[1], f"{key}.{name}")
            for name, item in value.items()
        }
    if isinstance(value, str):
        try:
            return _scalar(value, kind)
        except (KeyError, TypeError):
            pass
    raise Misfit(key)


def guessed(value: Any) -> Any:
    """Return what YAML 1.2 takes `value` for, where no type says it."""
    if isinstance(value, list):
        return [guessed(item) for item in value]
    if isinstance(value, dict):
        return {name: guessed(item) for name, item in value.items()}
    for kind in (bool, int, float) if isinstance(value, Plain) else ():
        try:
            return _scalar(value, kind)
        except (KeyError, TypeError):
            continue
    return str(value) if isinstance(value, str) else value


def plain(value: Any) -> Any:
    """Return a config, or a value of it, as dictionaries, lists, numbers and text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.name
    return str(value) if isinstance(value, PurePath) else value


def _scalar(text: str, kind: Any) -> Any:
    """What a text means to a type. Raises KeyError or TypeError where it means nothing."""
    if kind is str:
        return str(text)
    if kind is bool:
        return _TRUTH[text.lower()]
    if kind is int and _WHOLE.fullmatch(text):
        return int(text)  # in decimal, whatever it begins with
    if kind is float and _NUMBER.fullmatch(text):
        return float(text)
    if kind is float and (found := _NOT_FINITE.fullmatch(text)):
        sign = -1 if found[1] == "-" else 1
        return sign * (math.nan if found[2].lower() == "nan" else math.inf)
    if _is_class(kind) and issubclass(kind, Enum):
        return kind[text]
    if _is_class(kind) and issubclass(kind, PurePath):
        return Path(text)
    raise TypeError


def _first_that_fits(value: Any, kinds: tuple[Any, ...], key: str) -> Any:
    if type(None) in kinds and (value is None or (isinstance(value, Plain) and value in NULLS)):
        return None
    for kind in kinds:
        try:
            return typed(value, kind, key)
        except Misfit:
            continue
    raise Misfit(key)


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)
