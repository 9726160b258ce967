"""How a key of a run is declared: default, one line of help, unit, and what its value may be.

    size: int = key(64, "side of the images", unit="pixels", least=16, most=1024, power_of_two=True)

Checks, ``--print-config`` and ``--keys`` are all made from this declaration. A plain dataclass
field works as well: it has no help and takes every value of its type.
"""

import copy
import dataclasses
import math
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, Union, get_args, get_origin, get_type_hints

from gan3d_bench.errors import UserError, nearest

SEEDS = 2**32  # NumPy takes no more
LARGEST = SEEDS  # of whole numbers
LARGEST_REAL = 1e9  # of other numbers, where a key does not say how large they may be
LEAST_SIDE, MOST_SIDE = 16, 1024  # of square images, pixels
MOST_STEPS = 100_000_000  # of training: hundreds of days
MOST_ITEMS = 100_000_000  # of a data set
MOST_BATCH = 65_536
MOST_CHANNELS = 16_384  # of a network, and features or latents
MOST_RATE = 10.0  # of an optimiser
MOST_FACTOR = 1_000.0  # on a rate or a scale
MOST_WEIGHT = 1e6  # of a loss term
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
SHORT = {int: "whole number", float: "number", bool: "true/false", str: "text"}
METADATA = "gan3d_bench.key"  # of a dataclass field; its value is a `Key`


@dataclass(frozen=True)
class Key:
    """What a key's value is and may be. Of a list or a mapping, each element must be in the range.

    Attributes:
        help: one line.
        unit: such as "pixels" or "degrees"; "" where there is none.
        least: smallest number allowed.
        above: number that the value must be above.
        most: largest number allowed.
        below: number that the value must be below.
        choices: the only values allowed; () for all.
        also: values that are allowed beside the range or the choices, such as -1 for "all".
        power_of_two: whether a whole number must be one.
        multiple_of: what a whole number must be a multiple of; 0 for anything.
        length: number of elements of a list; 0 for any number.
        required: for text that must not be empty: in words what it must be, or a function that
            says so; "" where it may be empty.
        path: whether text is a path, or FAMILY:PATH: it is made whole (`config.paths`), and what is
            there must be the same when a run is resumed.
        names: with `path`, words that are names of something else, or a function that returns them.

    Raises:
        ValueError: two lower or two upper limits.
    """

    help: str = ""
    unit: str = ""
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    choices: tuple[Any, ...] = ()
    also: tuple[Any, ...] = ()
    power_of_two: bool = False
    multiple_of: int = 0
    length: int = 0
    required: str | Callable[[], str] = ""
    path: bool = False
    names: Collection[str] | Callable[[], Collection[str]] = ()

    def __post_init__(self) -> None:
        if None not in (self.least, self.above) or None not in (self.most, self.below):
            raise ValueError(f"'{self.help}': give least or above, and most or below")

    @property
    def limits(self) -> str:
        """In words what the value, or each element of it, may be; "" if all are allowed."""
        text = f"one of {', '.join(map(str, self.choices))}" if self.choices else self._interval()
        if self.power_of_two:
            text = f"a power of two {text}".rstrip()
        if self.multiple_of:
            text = f"a multiple of {self.multiple_of}, {text}".removesuffix(", ")
        return ", or ".join([text, *map(repr, self.also)]) if text else ""

    def allows(self, value: Any) -> bool:
        """Whether a single value, not a list or mapping, is in the range."""
        if value in self.also:
            return True
        if self.choices:
            return value in self.choices
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
            and not (self.power_of_two and (value < 1 or value & (value - 1)))
            and not (self.multiple_of and value % self.multiple_of)
        )

    def check(self, name: str, value: Any) -> None:
        """Raise a `UserError` that names key, value and range unless `value` is allowed."""
        if isinstance(value, Mapping):
            for inner, part in value.items():
                self.check(f"{name}.{inner}", part)
            return
        if value is None:  # of an optional key
            return
        if isinstance(value, list) and self.length and len(value) != self.length:
            raise UserError(f"{name}={value}: expected {self.length} numbers")
        if self.required and not value:
            text = self.required if isinstance(self.required, str) else self.required()
            raise UserError(f"{name}={value!r}: expected {text}")
        for part in _flat(value):
            if not self.allows(part):
                each = "each " if isinstance(value, list) else ""
                near = nearest(str(part), map(str, self.choices))
                limits = self.limits
                if not each and limits.startswith(("above", "below", "from")):
                    limits = f"a number {limits}"
                raise UserError(f"{name}={value!r}: expected {each}{limits}{near}")

    def known_names(self) -> Collection[str]:
        """Words that are names and no paths."""
        return self.names() if callable(self.names) else self.names

    @property
    def bounded(self) -> bool:
        """Whether it is declared how large a number may be."""
        return bool(self.choices) or self.most is not None or self.below is not None

    def _interval(self) -> str:
        if self.least is not None and self.most is not None:
            return f"from {self.least} to {self.most}"
        lower = f"{self.least} or more" if self.least is not None else ""
        lower = f"above {self.above}" if self.above is not None else lower
        upper = f"at most {self.most}" if self.most is not None else ""
        upper = f"below {self.below}" if self.below is not None else upper
        return ", ".join(filter(None, (lower, upper)))


def key(
    default: Any,
    help: str,
    *,
    unit: str = "",
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    choices: Iterable[Any] = (),
    also: Iterable[Any] = (),
    power_of_two: bool = False,
    multiple_of: int = 0,
    length: int = 0,
    required: str | Callable[[], str] = "",
    path: bool = False,
    names: Collection[str] | Callable[[], Collection[str]] = (),
) -> Any:
    """Declare a key of a config dataclass.

    Args:
        default: the value, of which lists and mappings are copied; or a function that makes it,
            such as the dataclass of a section.
        help: one line; the rest is as in `Key`.

    Returns:
        A dataclass field.
    """
    found = Key(
        help, unit, least, above, most, below, tuple(choices), tuple(also),
        power_of_two, multiple_of, length, required, path, names,
    )  # fmt: skip
    metadata = {METADATA: found}
    if isinstance(default, list | dict):
        default = partial(copy.deepcopy, default)
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def steps_key(default: int, help: str, **limits: Any) -> Any:
    """Declare a number of steps, 0 or more unless `limits` say otherwise; see `key`."""
    return _bounded(default, help, MOST_STEPS, limits)


def weight_key(default: float, help: str, **limits: Any) -> Any:
    """Declare the weight of a loss term, likewise."""
    return _bounded(default, help, MOST_WEIGHT, limits)


def factor_key(default: float, help: str, **limits: Any) -> Any:
    """Declare a factor on a rate or a scale, likewise."""
    return _bounded(default, help, MOST_FACTOR, limits)


def rate_key(default: float, help: str, **limits: Any) -> Any:
    """Declare an optimiser's learning rate, above 0; see `key`."""
    return _bounded(default, help, MOST_RATE, {"above": 0, **limits})


def _bounded(default: Any, help: str, most: float, limits: dict[str, Any]) -> Any:
    lower = {} if "above" in limits else {"least": 0}
    return key(default, help, **{**lower, "most": most, **limits})


@dataclass(frozen=True)
class Declared:
    """A key as a config dataclass declares it.

    Attributes:
        name: dotted.
        type: of its value; a dataclass for a section.
        key: help and range; of a plain field an empty one, of a plain section its docstring.
        section: whether further keys are in it.
    """

    name: str
    type: Any
    key: Key
    section: bool

    def of(self, config: Any) -> Any:
        """The key's value in a config."""
        return attrgetter(self.name)(config)

    @property
    def range(self) -> str:
        """In words what the value may be; "" if there is no limit beside its type."""
        text, length = self.key.limits, self.key.length
        if text and get_origin(self.type) in (list, dict):
            text = f"each {text}"
        if length:
            text = f"{length} numbers, {text}".removesuffix(", ")
        return text or ("not empty" if self.key.required else "")


def declared(schema: Any, prefix: str = "") -> Iterator[Declared]:
    """Yield every key of a config dataclass in its order, each section before what is in it."""
    hints = get_type_hints(schema)
    for item in dataclasses.fields(schema):
        name, kind = f"{prefix}{item.name}", hints[item.name]
        section = bool(dataclasses.is_dataclass(kind))
        yield Declared(name, kind, _key_of(schema, item.name, kind), section)
        if section:
            yield from declared(kind, f"{name}.")


def _key_of(schema: type, name: str, kind: Any) -> Key:
    """Return a field's key; a plain field that only changes a default keeps its parent's."""
    for base in schema.__mro__:
        item = vars(base).get("__dataclass_fields__", {}).get(name)
        if item is not None and METADATA in item.metadata:
            return item.metadata[METADATA]
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        summary = (kind.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        if not summary.startswith(f"{kind.__name__}("):  # what dataclasses write themselves
            return Key(summary)
    return Key()


def keys_of(schema: type) -> list[str]:
    """Return every dotted key of a config dataclass, sections included."""
    return [item.name for item in declared(schema)]


def check_values(config: Any, prefix: str = "") -> None:
    """Check every value of a config dataclass against its declaration.

    Args:
        config: the object; sections are checked, too.
        prefix: goes before the keys that errors name.

    Raises:
        UserError: the first value that is out of range, not finite, or huge.
    """
    for item in declared(type(config)):
        if not item.section:
            value = item.of(config)
            _require_numbers(prefix + item.name, value, item.key)
            item.key.check(prefix + item.name, value)


def require(name: str, value: Any, **limits: Any) -> None:
    """Check one value as if it were declared by ``key(..., **limits)``.

    Raises:
        UserError: it is out of range; names `name`, the value and the range.
    """
    Key(**limits).check(name, value)


def type_words(kind: Any) -> str:
    """Return a key's type in few words, such as "list of numbers"."""
    if kind in SHORT:
        return SHORT[kind]
    origin, inner = get_origin(kind), get_args(kind)
    if origin is list:
        word = type_words(inner[0])
        return f"list of {word if word == 'text' else word.replace('list', 'lists') + 's'}"
    if origin is dict:
        return "mapping"
    if origin in (Union, types.UnionType):
        return " or ".join("null" if part is type(None) else type_words(part) for part in inner)
    return getattr(kind, "__name__", str(kind))


def _require_numbers(name: str, value: Any, key: Key) -> None:
    """Raise a `UserError` for a NaN, an infinite or a huge number anywhere in `value`."""
    if isinstance(value, Mapping):
        for inner, part in value.items():
            _require_numbers(f"{name}.{inner}", part, key)
        return
    for number in _flat(value):
        if isinstance(number, float) and not math.isfinite(number):
            raise UserError(f"{name}={value}: expected a finite number")
        if isinstance(number, int) and not -LARGEST < number < LARGEST:
            side = f"below {LARGEST}" if number > 0 else f"above {-LARGEST}"
            raise UserError(f"{name}={value}: expected a number {side}")
        if isinstance(number, float) and abs(number) > LARGEST_REAL and not key.bounded:
            limit = f"{LARGEST_REAL:.0f}"
            raise UserError(f"{name}={value}: expected a number from -{limit} to {limit}")


def _flat(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        return [value]
    return [x for item in value for x in _flat(item)]
