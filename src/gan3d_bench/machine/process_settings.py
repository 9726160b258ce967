"""Settings of a process that are read when it starts: memory of glibc, waiting threads of OpenMP.

Imports no torch: the process is started anew before anything heavy is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping

# By default glibc hands every block above 32 MiB back to the system when it is freed, so each step
# of training on a CPU faults the pages of its activations in again: up to three times slower.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**30),
    "MALLOC_TRIM_THRESHOLD_": str(8 * 2**30),
}
# By default a thread of GNU's OpenMP (PyTorch's) that has nothing to do spins for milliseconds
# before it sleeps. Beside other work it thereby keeps the thread it waits for from running. A short
# spin keeps most of the speed on an idle machine; see perf/threads.py.
SPIN = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "3000"}


def missing_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the settings to add to `environment`: of each kind all, or none if one is given."""
    missing: dict[str, str] = {}
    for kind in (ALLOCATOR, SPIN):
        if not any(name in environment for name in kind):
            missing.update(kind)
    return missing


def waiting_threads(environment: Mapping[str, str] = os.environ) -> str:
    """Return in words how OpenMP's threads wait in a command that computes, and who says so."""
    if sys.platform != "linux":
        return "OpenMP's own way"
    given = {name: environment[name] for name in SPIN if name in environment}
    words = " ".join(f"{name}={value}" for name, value in (given or SPIN).items())
    own = given and given != SPIN
    return f"{words} ({'from the environment' if own else 'the default of the command line'})"


def restart_with_settings(environment: MutableMapping[str, str] = os.environ) -> None:
    """Start this interpreter anew, with the same arguments, unless all settings are there.

    Linux only: elsewhere memory and threads have other implementations.
    """
    missing = missing_settings(environment) if sys.platform == "linux" else {}
    if missing:
        environment.update(missing)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
