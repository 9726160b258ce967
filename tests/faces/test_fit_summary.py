"""Which fits are any good."""

from __future__ import annotations

import torch

from gan3d_bench.faces.fit_summary import AT_CLAMP, FitSummary
from gan3d_bench.faces.landmark_fit import LARGEST_ANGLE


def test_fits_that_failed_are_counted() -> None:
    n = 6
    fits = {
        "found": torch.tensor([True, False, True, True, True, True]),
        "pose": torch.zeros(n, 6),
        "shape": torch.zeros(n, 3),
        "colour": torch.zeros(n, 2),
        "light": torch.zeros(n, 3, 9),
        "landmark_error": torch.tensor([1.0, torch.nan, 1.0, 9.0, 1.0, 1.0]),
        "colour_error": torch.zeros(n),
        "w": torch.full((n, 2), torch.nan),  # what belongs to an item is none of its business
    }
    fits["light"][2, 1, 4] = torch.inf
    fits["pose"][4, 0] = -LARGEST_ANGLE
    fits["pose"][5, 0] = 0.9 * AT_CLAMP * LARGEST_ANGLE
    summary = FitSummary.of(fits)
    assert summary.counts() == {
        **{"items": n, "usable": 2, "missing": 1},
        **{"broken": 1, "far": 1, "turned": 1},
    }
    assert summary.status() == ["usable", "missing", "broken", "far", "turned", "usable"]
    assert str(summary) == (
        "2 of 6 fits usable; no face in 1, not finite 1, landmarks too far off 1, turned too far 1"
    )
    assert FitSummary.of(fits, largest_error=10.0).counts()["far"] == 0
