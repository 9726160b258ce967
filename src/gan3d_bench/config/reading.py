"""YAML of strangers as plain text: mappings, lists and scalars as written, nothing guessed.

What a scalar means, a key's type says (`values.typed`): ``010`` is ten, ``on`` and ``2024_11_26``
are text where text is asked for. Anchors, tags and deep nesting, which configs have no use for, are
refused while they are read.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gan3d_bench.errors import UserError
from gan3d_bench.regular_files import read_regular

MOST_BYTES = 2**20
MOST_DEPTH = 24
NULLS = ("", "~", "null", "Null", "NULL")
_TEXT_TAG = "tag:yaml.org,2002:str"


class Plain(str):
    """A scalar that was written without quotes."""


class _RefusedError(Exception):
    """Valid YAML of a kind that configs do not have."""


def read_mapping(path: Path, prefix: str = "") -> dict[str, Any]:
    """Return the mapping that a YAML file holds, see `parse`; an empty file is an empty one.

    Args:
        path: a regular file.
        prefix: goes before it in errors.

    Raises:
        UserError: missing, not a regular file, over `MOST_BYTES`, not text, not such YAML.
    """
    try:
        text = read_regular(path, MOST_BYTES).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise UserError(f"{prefix}{path}: {reason}; expected a readable YAML file") from error
    return parse_mapping(text, str(path))


def parse_mapping(text: str, origin: str) -> dict[str, Any]:
    """Return the mapping that a text holds, see `parse`; `origin` is what errors call it."""
    found = parse(text, origin)
    if not isinstance(found, dict | None):
        raise UserError(f"{origin}: expected YAML of the form 'key: value'")
    return found or {}


def parse(text: str, origin: str) -> Any:
    """Return what a YAML document holds: dictionaries, lists, None, and every scalar as text.

    Raises:
        UserError: not valid YAML, or YAML that is refused (see above); names `origin` and the line.
    """
    events = yaml.parse(text, Loader=yaml.SafeLoader)
    try:
        next(events)  # the stream begins
        found = None
        if isinstance(next(events), yaml.DocumentStartEvent):
            found = _node(events, next(events), 0)
            next(events)  # the document ends
            if isinstance(next(events), yaml.DocumentStartEvent):
                raise _RefusedError("a second document")
        return found
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error).strip().partition("\n")[0]
        raise UserError(f"{origin}: not valid YAML{where} ({reason})") from error
    except _RefusedError as refused:
        raise UserError(f"{origin}: not valid YAML for a config ({refused})") from refused


def _node(events: Iterator[yaml.Event], event: yaml.Event, depth: int) -> Any:
    """The value that begins with `event`."""
    if depth > MOST_DEPTH:
        raise _RefusedError(f"nested more than {MOST_DEPTH} deep")
    if isinstance(event, yaml.AliasEvent):
        raise _RefusedError(f"an alias, *{event.anchor}")
    tag = getattr(event, "tag", None)
    if tag not in (None, "!", _TEXT_TAG):
        raise _RefusedError(f"a tag, {tag}")
    if isinstance(event, yaml.ScalarEvent):
        if event.style is not None or tag is not None:
            return str(event.value)
        return None if event.value in NULLS else Plain(event.value)
    if isinstance(event, yaml.SequenceStartEvent):
        items = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(_node(events, event, depth + 1))
        return items
    found: dict[str, Any] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key = _node(events, event, depth + 1)
        if not isinstance(key, str):
            raise _RefusedError("a key that is not text")
        if key in found:
            raise _RefusedError(f"'{key}' given twice")
        found[key] = _node(events, next(events), depth + 1)
    return found
