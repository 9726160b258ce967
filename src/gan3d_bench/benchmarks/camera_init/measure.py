"""Measures the cameras that a run learnt from twelve bins against the exact ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.benchmarks.measure import Measure, Settings, Values
from gan3d_bench.benchmarks.results import Estimate
from gan3d_bench.errors import UserError
from gan3d_bench.files.json_text import parse_json
from gan3d_bench.files.run_folder import Run
from gan3d_bench.geometry.views import View
from gan3d_bench.heads.sampling import CENTRE_DEPTH
from gan3d_bench.methods.base import Method
from gan3d_bench.metrics.pose import camera_differences
from gan3d_bench.regular_files import read_regular

MOST_BYTES = 16 * 2**20
LIMITS = {
    "bin_azimuth": (-360, 360),
    "azimuth": (-1e6, 1e6),
    "elevation": (-90, 90),
    "distance": (0, 1e6),
    "true_azimuth": (-360, 360),
    "true_elevation": (-90, 90),
}
"""What a run's ``results/cameras.json``, a list, says of each of its cameras, and the ranges:
degrees, as `View.from_orbit` takes them, and scene units."""


def read_cameras(path: Path) -> dict[str, Tensor]:
    """Read the cameras of a run.

    Returns:
        (N,) float64 of each of `LIMITS`, N >= 2.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    try:
        cameras = parse_json(read_regular(path, MOST_BYTES).decode("utf-8"))
        if not isinstance(cameras, list) or len(cameras) < 2:
            raise ValueError("expected a list of two cameras or more")
        for number, camera in enumerate(cameras):
            _require(camera, number)
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; expected the cameras that a finished run of 'stylegan-r' on "
            "cars leaves there"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; expected a run's cameras") from error
    except ValueError as error:
        raise UserError(f"{path}: not the cameras of a run: {error}") from error
    return {key: torch.tensor([float(c[key]) for c in cameras]).double() for key in LIMITS}


def _require(camera: Any, number: int) -> None:
    if not isinstance(camera, Mapping):
        raise ValueError(f"camera {number}: {camera!r:.60}; expected a mapping")
    for key, (least, most) in LIMITS.items():
        value = camera.get(key)
        known = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not known or not least <= value <= most:
            raise ValueError(
                f"camera {number}: {key}={value!r:.60}; expected a number from {least:g} to "
                f"{most:g}"
            )


class CameraInitMeasure(Measure):
    """Learnt cameras, and the bins they started from, against the exact ones; items are cameras."""

    data = "cameras of the run"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._count = settings.samples
        self._cameras: dict[str, Tensor] = {}
        self._values: dict[str, Tensor] = {}

    def protocol(self) -> Mapping[str, Any]:
        return {"aligned": "one rotation of the world removed", "start": "bin's azimuth, level"}

    def open(self, run: Run) -> None:
        """Read the run's cameras.

        Raises:
            UserError: see `read_cameras`.
        """
        self._cameras = read_cameras(run.path / "results" / "cameras.json")
        self._count = min(self._count, len(self._cameras["azimuth"]))

    def items(self) -> list[int]:
        """Cameras that all runs have, at most as many as were asked for."""
        return list(range(self._count))

    def begin(self, method: Method, kind: str, items: Sequence[int]) -> None:
        """Compare the cameras of the run, all of them: they are aligned as a whole."""
        cameras = self._cameras
        true = _rotations(cameras["true_azimuth"], cameras["true_elevation"])
        level = torch.zeros_like(cameras["elevation"])
        start = camera_differences(_rotations(cameras["bin_azimuth"], level), true)
        learnt = camera_differences(_rotations(cameras["azimuth"], cameras["elevation"]), true)
        self._values = {
            **learnt,
            "rotation_bins": start["rotation"],
            "gain": start["rotation"] - learnt["rotation"],
        }

    def method(self, method: Method, kind: str, items: Sequence[int]) -> Values:
        return {name: column[list(items)].tolist() for name, column in self._values.items()}

    def baseline(self, row: str, items: Sequence[int]) -> Values:
        raise ValueError(f"table 'camera-init' has no row '{row}' of its own")

    def sets(self) -> dict[str, Estimate]:
        """The largest differences of all cameras of the run."""
        return {
            f"{name}_max": Estimate(
                float(f"{self._values[name].max().item():.12g}"), math.nan, len(self._values[name])
            )
            for name in ("axis", "angle", "rotation")
        }


def _rotations(azimuth: Tensor, elevation: Tensor) -> Tensor:
    return View.from_orbit(azimuth, elevation, centre_depth=CENTRE_DEPTH).rotation_matrix()
