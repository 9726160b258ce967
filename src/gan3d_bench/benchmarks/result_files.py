"""Reading stored results, which anybody may have written: within limits, checked, plain data.

What comes out of `read_rows` can be averaged, compared, drawn and printed without a further look:
every number is finite and of a size that sums and squares bear, every text is Unicode, and what a
table looks for is there and of its type. Imports no torch.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from stat import S_ISREG
from typing import Any

from gan3d_bench.errors import UserError

MOST_BYTES = 64 * 2**20
MOST_BRACKETS = 100_000
"""Lists and mappings of one file; an empty one takes 20 times the memory of its two characters."""
DEEPEST = 20
LARGEST = 2.0**64
LONGEST_NAME, LONGEST_TEXT = 200, 10_000
"""In characters: of a row's or a table's name, of any other text."""


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows in a row's JSON file or in a table's, as `Result.to_json` made them.

    Raises:
        UserError: the file is missing or no regular file, too large, or holds something else; the
            line names the place in it, the value, and what was expected.
    """
    try:
        content = json.loads(_read(path), parse_int=_integer, parse_constant=float)
        _plain(content, "", 0)
        mapping = _mapping(content, "")
        rows = mapping.get("results", [content])
        if not isinstance(rows, list):
            raise _wrong("results", rows, "a list of rows")
        for number, row in enumerate(rows):
            _row(row, f"results[{number}]" if "results" in mapping else "")
        return rows
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; expected stored results") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not stored results of a table: {error}") from error


def _read(path: Path) -> str:
    status = path.stat()
    if not S_ISREG(status.st_mode):
        raise ValueError("no regular file")
    if status.st_size > MOST_BYTES:
        raise ValueError(f"{status.st_size} bytes; expected at most {MOST_BYTES}")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    brackets = content.count(b"[") + content.count(b"{")
    if len(content) > MOST_BYTES or brackets > MOST_BRACKETS:
        raise ValueError(f"{brackets} lists and mappings; expected at most {MOST_BRACKETS}")
    return content.decode("utf-8-sig")


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= 20 else float(digits)


def _plain(value: Any, place: str, depth: int) -> None:
    """Check every number and every text, wherever it stands."""
    if depth > DEEPEST:
        raise ValueError(f"{place}: nested too deeply; expected at most {DEEPEST} levels")
    if isinstance(value, dict):
        for key, part in value.items():
            _text(key, f"{place}, a key" if place else "a key")
            _plain(part, f"{place}.{key}" if place else key, depth + 1)
    elif isinstance(value, list):
        for index, part in enumerate(value):
            _plain(part, f"{place}[{index}]", depth + 1)
    elif isinstance(value, str):
        _text(value, place)
    elif isinstance(value, (int, float)) and not abs(value) <= LARGEST:  # NaN, too
        raise _wrong(place, value, f"a number from {-LARGEST:g} to {LARGEST:g}")


def _text(text: str, place: str) -> None:
    if len(text) > LONGEST_TEXT:
        raise _wrong(place, text, f"at most {LONGEST_TEXT} characters")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise _wrong(place, text, "whole Unicode characters")


def _row(row: Any, place: str) -> None:
    """Check that a row has all that `Result.from_json` takes, each of its type."""
    _mapping(row, place)
    for key in ("table", "row", "run", "data"):
        where, text = _at(place, key), row.get(key)
        if not isinstance(text, str):
            raise _wrong(where, text, "text")
        if key in ("table", "row") and not 1 <= len(text) <= LONGEST_NAME:
            raise _wrong(where, text, f"1 to {LONGEST_NAME} characters")
    for key in ("protocol", "provenance"):
        _mapping(row.get(key), _at(place, key))
    where, networks = _at(place, "protocol.networks"), row["protocol"].get("networks", {})
    for metric, network in _mapping(networks, where).items():
        _hold(isinstance(network, str), f"{where}.{metric}", network, "a network's name")
    provenance, where = row["provenance"], _at(place, "provenance")
    _mapping(provenance.get("measured", {}), f"{where}.measured")
    seed = provenance.get("seed")
    _hold(seed is None or _is_count(seed, 0), f"{where}.seed", seed, "a whole number from 0")
    for key in (key for key in provenance if key.endswith("_sha256")):
        digest = provenance[key]
        _hold(digest is None or isinstance(digest, str), f"{where}.{key}", digest, "text")

    items = row.get("items")
    where = _at(place, "items")
    whole = isinstance(items, list) and all(_is_count(item, 0) for item in items)
    if not whole or not items or sorted(set(items)) != items:
        raise _wrong(where, items, "indices of test items, ascending, each once")
    for name, columns in (("values", row.get("values")), ("signed", row.get("signed", {}))):
        for metric, column in _mapping(columns, _at(place, name)).items():
            where = _at(place, f"{name}.{metric}")
            _hold(isinstance(column, list), where, column, "a list of numbers")
            if len(column) != len(items):
                raise ValueError(f"{where}: items and values differ in number")
            for index, value in enumerate(column):
                fits = value is None or _is_number(value)
                _hold(fits, f"{where}[{index}]", value, "a number or null")
    for metric, estimate in _mapping(row.get("sets", {}), _at(place, "sets")).items():
        where = _at(place, f"sets.{metric}")
        for key, fits, expected in _ESTIMATE:
            part = _mapping(estimate, where).get(key, "nothing")
            _hold(fits(part), f"{where}.{key}", part, expected)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


_ESTIMATE: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("mean", _is_number, "a number"),
    (
        "standard_error",
        lambda value: value is None or (_is_number(value) and value >= 0),
        "a number from 0, or null",
    ),
    ("count", lambda value: _is_count(value, 1), "a whole number from 1"),
)


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    _hold(isinstance(value, dict), place, value, "a mapping")
    return value


def _at(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _hold(fits: bool, place: str, value: Any, expected: str) -> None:
    if not fits:
        raise _wrong(place, value, expected)


def _wrong(place: str, value: Any, expected: str) -> ValueError:
    shown = "nothing" if value is None else reprlib.repr(value)
    return ValueError(f"{place}: {shown}; expected {expected}".removeprefix(": "))
