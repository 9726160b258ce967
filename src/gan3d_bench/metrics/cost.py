"""What a callable costs: seconds per image and peak memory."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Cost:
    """Cost of one call on a batch.

    Attributes:
        seconds_per_image: median over the repeats.
        seconds: per image, of each repeat.
        peak_memory: bytes; what `memory` says.
        memory: ``CUDA allocated`` (tensors on the device, those held before included), ``RSS``
            (resident memory of the whole process during the calls) or ``RSS since start``.
    """

    seconds_per_image: float
    seconds: tuple[float, ...]
    peak_memory: int
    memory: str


def measure_cost(
    function: Callable[[], object],
    images: int,
    *,
    repeats: int = 5,
    warm_up: int = 1,
    device: torch.device | str = "cpu",
) -> Cost:
    """Call `function` some times and return what it costs.

    Args:
        function: handles a batch; its result is dropped.
        images: how many images that batch has.
        repeats: timed calls.
        warm_up: calls before, neither timed nor counted.
        device: where it computes; CUDA is waited for.

    Raises:
        ValueError: `images` or `repeats` below 1.
    """
    if min(images, repeats) < 1:
        raise ValueError(f"cost: images={images}, repeats={repeats}; expected at least 1")
    device = torch.device(device)
    for _ in range(warm_up):
        function()
    _reset_peak(device)
    seconds = tuple(_seconds(function, device) / images for _ in range(repeats))
    peak, memory = _peak(device)
    return Cost(statistics.median(seconds), seconds, peak, memory)


def _seconds(function: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    start = time.perf_counter()
    function()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _reset_peak(device: torch.device) -> None:
    _wait(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _resettable():
        _CLEAR.write_text("5")  # forgets the peak of resident memory; man 5 proc


def _peak(device: torch.device) -> tuple[int, str]:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), "CUDA allocated"
    if _resettable():
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024, "RSS"
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "RSS since start"


def _resettable() -> bool:
    try:
        with _CLEAR.open("w"):
            return "VmHWM:" in _STATUS.read_text()
    except OSError:
        return False
