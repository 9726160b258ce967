"""Values that nobody means, and small damage to values that somebody does."""

from __future__ import annotations

import copy
import io
import pickle
import zipfile
from pathlib import Path
from random import Random
from typing import Any

NUMBERS = (
    "0", "-0", "-1", "1", "1.5", "nan", ".nan", "inf", "-inf", ".inf", "1e30", "-1e30", "1e308",
    "1e-320", "9" * 30, "9" * 5000, "4294967296", "0x10", "010", "0o7", "1_000", "190:20:30", "1e",
)  # fmt: skip
TEXTS = (
    *NUMBERS, "", " ", "null", "~", "on", "true", "yes", "[", "]", "[]", "{}", "{a: 1}", "[1, [2]]",
    "a: b", "#x", "x #y", "'", '"', "&a [*a]", "*a",
    "!!python/object/apply:os.system [touch canary]",
    "!!python/name:os.system", "${seed}", "${oc.env:HOME}", "${nothing}", "x" * 300, "x" * 70_000,
    "../" * 200, ".", "..", "~nobody/x", "~/x", "/dev/null", "/dev/null/x", "/dev/zero", "a/b/c",
    "\x1b[2J\x07", "\u202e\u2066", "\udcff\udc80", "é" * 100, "😀", "a\nb", "\r", "\t", "--", "-x",
    "=cmd|' /C calc'!A0", "<img src=x>", "[/red]", "%s%n", "{0}", "$(touch canary)", "a,b", "a,a",
    "[depth,depth]", "[" * 1000, "random-16", "http://host/x",
)  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 2**63, 10**400, 1e308, float("inf"), float("nan"), "", "x" * 20_000,
    "\x1b[2J", "=1+1", [], {}, [[1]], {"a": {"b": 1}}, b"x", ("a",), 1.5, "0.5",
)  # fmt: skip


class Touch:
    """What a pickle that runs something is made of: unpickled, it makes the file `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def text(rng: Random, like: str = "") -> str:
    """Return an odd text, or `like` with small damage."""
    if like and rng.random() < 0.5:
        return damaged_text(rng, like)
    return rng.choice(TEXTS)


def damaged_text(rng: Random, given: str) -> str:
    """Return `given` with one to four places cut, doubled, replaced or filled with odd text."""
    for _ in range(rng.randint(1, 4)):
        start = rng.randint(0, len(given))
        end = min(len(given), start + rng.randint(0, 12))
        part = rng.choice(
            ("", given[start:end] * 2, rng.choice(TEXTS), chr(rng.randint(1, 0x2FFF)))
        )
        given = given[:start] + part + given[end:]
    return given


def damaged_bytes(rng: Random, given: bytes) -> bytes:
    """Return `given` cut, or with bytes flipped, zeroed, doubled or put in."""
    data = bytearray(given)
    for _ in range(rng.randint(1, 4)):
        start = rng.randint(0, max(0, len(data) - 1))
        size = rng.choice((1, 1, 4, 64, 4096))
        how = rng.randint(0, 4)
        if how == 0:
            del data[start:]
        elif how == 1 and data:
            data[start] ^= 1 << rng.randint(0, 7)
        elif how == 2:
            data[start : start + size] = bytes(len(data[start : start + size]))
        elif how == 3:
            data[start:start] = data[start : start + size]
        else:
            data[start:start] = rng.randbytes(size)
    return bytes(data)


def damaged_tree(rng: Random, given: Any, odd: tuple[Any, ...] = ODD) -> Any:
    """Return a copy of nested lists and mappings with one to three values replaced or dropped."""
    tree = copy.deepcopy(given)
    for _ in range(rng.randint(1, 3)):
        holders = [part for part in _holders(tree) if part]
        if not holders:
            return rng.choice(odd)
        holder = rng.choice(holders)
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = rng.choice(keys)
        how = rng.random()
        if how < 0.15:
            del holder[key]
        elif how < 0.25 and isinstance(holder, dict):
            holder[rng.choice(("", "more", 3, "a.b", "\x1b[2J"))] = rng.choice(odd)
        elif how < 0.35:
            holder[key] = _nested(holder[key], rng.choice((2, 50, 400)))
        else:
            holder[key] = rng.choice(odd)
    return tree


def hostile_pickle(rng: Random, canary: Path, within: Any = None) -> bytes:
    """Return a pickle, or a file of torch with one, that makes the file `canary` if it is run."""
    protocol = rng.randint(0, 5)
    content = pickle.dumps([within, Touch(canary)], protocol)
    if rng.random() < 0.5:
        return content
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return stream.getvalue()


def _holders(tree: Any) -> list[Any]:
    found, left = [], [tree]
    while left:
        part = left.pop()
        if isinstance(part, (dict, list)):
            found.append(part)
            left += list(part.values()) if isinstance(part, dict) else part
    return found


def _nested(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = {"a": value} if depth % 3 else [value]
    return value
