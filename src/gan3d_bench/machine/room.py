"""Whether a run fits this machine: said before it starts, since what is too large is killed."""

from __future__ import annotations

import os
from pathlib import Path

from gan3d_bench.config import Need, RunConfig
from gan3d_bench.errors import UserError

GIB = 2**30
CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def require_room(config: RunConfig) -> None:
    """Check what a config needs at least (`RunConfig.needs`) against its limits.

    Raises:
        UserError: more memory than `limits.memory` or than is free, or more rendered than
            `limits.disk`; names the keys that decide it, the estimate and the limit.
    """
    needs, limits = config.needs(), config.limits
    memory, disk = sum(need.memory for need in needs), sum(need.disk for need in needs)
    free = free_memory()
    most = limits.memory * GIB if limits.memory else free
    if most is not None and memory > most:
        where = "" if limits.memory else " that are free"
        raise _refusal(
            max(needs, key=lambda need: need.memory), "memory", memory, most, f"{where} in memory"
        )
    if disk > limits.disk * GIB:
        largest = max(needs, key=lambda need: need.disk)
        raise _refusal(largest, "disk", disk, limits.disk * GIB, " on disk")


def free_memory() -> int | None:
    """Return how much memory a process can still get, in bytes; None where that is not known."""
    found = [_available(), *map(_number, CGROUPS)]
    known = [size for size in found if size is not None]
    return min(known) if known else None


def _refusal(largest: Need, name: str, total: float, most: float, where: str) -> UserError:
    keys = " ".join(f"{key}={value}" for key, value in largest.keys.items())
    return UserError(
        f"{keys}: {largest.what} make the run take at least {_gib(total)} GiB, more than the "
        f"{_gib(most)} GiB{where}; expected less, or limits.{name}={_gib(total * 1.05)} if that is "
        "meant"
    )


def _gib(size: float) -> str:
    return f"{size / GIB:.0f}" if size >= 10 * GIB else f"{size / GIB:.2g}"


def _available() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):  # no such limit
        return None
