"""Every number that a key of the suite takes has a range that leaves out what makes no sense."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, get_args, get_origin

import pytest

from gan3d_bench.config import check_values, declared, key
from gan3d_bench.config.fields import LARGEST_REAL, Declared
from gan3d_bench.errors import UserError
from gan3d_bench.generators.inversion.config import InversionConfig
from gan3d_bench.registry import BUILTIN, registry
from gan3d_bench.spec import load

SCHEMAS = {name: load(registry("methods").get(name).config) for name in BUILTIN["methods"]}
SCHEMAS["invert"] = InversionConfig


def numbers_in(kind: Any) -> set[Any]:
    """Types of the numbers of a type's values."""
    inner = set().union(*(numbers_in(part) for part in get_args(kind)), set())
    return {kind} if kind in (int, float) else inner


NUMERIC = [
    pytest.param(schema, item, id=f"{method}:{item.name}")
    for method, schema in SCHEMAS.items()
    for item in declared(schema)
    if not item.section and numbers_in(item.type)
]


def with_value(config: Any, name: str, value: Any) -> Any:
    """The config with another value at a dotted key, whatever it is."""
    first, _, rest = name.partition(".")
    new = with_value(getattr(config, first), rest, value) if rest else value
    return dataclasses.replace(config, **{first: new})


def wrapped(number: float, item: Declared) -> Any:
    """The number as a value of the key's type."""
    if get_origin(item.type) is list:
        values = [number] * (item.key.length or 1)
        return [values] if get_origin(get_args(item.type)[0]) is list else values
    return {4: number} if get_origin(item.type) is dict else number


@pytest.mark.parametrize(("schema", "item"), NUMERIC)
def test_what_makes_no_sense_is_refused(schema: type, item: Declared) -> None:
    limits = item.key
    assert limits.bounded, "declare `most` or `below`"
    assert (limits.least, limits.above, limits.choices) != (None, None, ()), "declare a lower limit"
    config = schema()
    for needed in declared(schema):
        if needed.key.required:
            setattr(config, needed.name, "needed")
    wrong = [1e30, -1e30, math.inf, -math.inf, math.nan, 10**30, -(10**30), 2**33]
    for number in wrong:
        with pytest.raises(UserError) as caught:
            check_values(with_value(config, item.name, wrapped(number, item)))
        message = str(caught.value)
        assert message.startswith((f"{item.name}=", f"{item.name}.4=")) and "expected" in message


def test_there_are_many() -> None:
    assert len(NUMERIC) > 150


def test_a_plugins_key_without_a_range_is_finite_and_not_huge() -> None:
    @dataclasses.dataclass
    class Made:
        loose: float = 1.0
        wide: float = key(1.0, "made", most=1e40)

    check_values(Made(LARGEST_REAL, 1e35))
    for value in (2 * LARGEST_REAL, -2 * LARGEST_REAL, math.inf, math.nan):
        with pytest.raises(UserError, match=r"^loose="):
            check_values(Made(value))
