"""What a config asks of the machine at least, reckoned before any of it is taken."""

from dataclasses import dataclass
from typing import Any

FLOAT, HALF, BYTE = 4, 2, 1  # bytes of a number


@dataclass(frozen=True)
class Need:
    """A part of what a run takes.

    Attributes:
        keys: the keys that decide it -> their values.
        what: it is, in words.
        memory, disk: bytes, at least.
    """

    keys: dict[str, Any]
    what: str
    memory: float = 0
    disk: float = 0


def pixels(count: int, side: int, channels: int, bytes_each: float = FLOAT) -> float:
    """Return the bytes of `count` maps (channels, side, side)."""
    return float(count) * side * side * channels * bytes_each
