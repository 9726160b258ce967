"""Keys that hold paths: made whole when a run is composed, so that it means the same anywhere."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from gan3d_bench.config.fields import declared
from gan3d_bench.config.values import updated
from gan3d_bench.errors import UserError
from gan3d_bench.regular_files import is_special

Config = TypeVar("Config")


def with_whole_paths(config: Config) -> Config:
    """Return a config whose paths (`Key.path`) are those of `whole_path`.

    Raises:
        UserError: a path of something that is neither a file nor a folder.
    """
    for key, text in _texts(config):
        whole = whole_path(text)
        if is_special(whole):
            raise UserError(f"{key}={text!r}: a pipe or a device; expected a file or a folder")
        if whole != text:
            given: object = whole
            for name in reversed(key.split(".")):
                given = {name: given}
            config = updated(config, given)  # type: ignore[arg-type]
    return config


def paths_of(config: object) -> dict[str, Path]:
    """Return the keys that hold the path of something that exists, and where it is."""
    found = {}
    for key, text in _texts(config):
        _, path = _split(text)
        if path and os.path.lexists(path):
            found[key] = Path(path)
    return found


def whole_path(text: str) -> str:
    """Return a path, or ``NAME:PATH``, from the root on if it exists; ``~`` is the home folder.

    Links stay links. What does not exist may be a name, and stays as it is but for the ``~``.
    """
    prefix, path = _split(text)
    return prefix + (str(Path(path).absolute()) if os.path.lexists(path) else path)


def _split(text: str) -> tuple[str, str]:
    """What stands before the path, and the path without ``~``."""
    path = os.path.expanduser(text)
    name, colon, rest = text.partition(":")
    rest = os.path.expanduser(rest)
    if colon and not os.path.lexists(path) and rest and os.path.lexists(rest):
        return f"{name}:", rest
    return "", path


def _texts(config: object) -> Iterator[tuple[str, str]]:
    """Keys that hold a path, and the text of each that is neither empty nor a name."""
    for item in declared(type(config)):
        if item.key.path and not item.section:
            text = str(item.of(config))
            if text and text not in item.key.known_names():
                yield item.name, text
