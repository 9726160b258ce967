"""Seconds per image and peak memory of a callable that sleeps and allocates."""

from __future__ import annotations

import time

import numpy as np
import pytest

from gan3d_bench.metrics.cost import measure_cost


def test_seconds_per_image_is_the_median():
    pauses = iter([0.2, 0.01, 0.1, 0.01])  # the first is the warm-up
    calls = []

    def work() -> None:
        calls.append(1)
        time.sleep(next(pauses))

    cost = measure_cost(work, images=2, repeats=3)
    assert len(calls) == 4
    assert 0.005 <= cost.seconds_per_image < 0.04
    assert len(cost.seconds) == 3
    assert max(cost.seconds) >= 0.05


def test_peak_memory_sees_what_was_freed_again():
    megabytes = 2**20

    def work() -> None:
        np.ones(100 * megabytes, dtype=np.uint8)

    idle = measure_cost(lambda: None, images=1, repeats=1)
    busy = measure_cost(work, images=1, repeats=1)
    assert busy.peak_memory - idle.peak_memory > 80 * megabytes
    assert busy.memory in ("RSS", "RSS since start")
    if busy.memory == "RSS":
        again = measure_cost(lambda: None, images=1, repeats=1)
        assert busy.peak_memory - again.peak_memory > 80 * megabytes


def test_bad_counts():
    with pytest.raises(ValueError, match="images=0"):
        measure_cost(lambda: None, images=0)
