"""Cameras that go round a subject, one for each view code, learnt with the inverse graphics.

A camera is what the paper's V is limited to (section 3.3): azimuth, elevation and scale, here the
distance. They are the suite's: see `View.from_orbit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from gan3d_bench.geometry.views import View, euler_matrix

CENTRE_DEPTH = 1.0
"""Distance of a camera with scale 1, scene units."""


@dataclass(frozen=True)
class Orbit:
    """B cameras.

    Attributes:
        azimuth: (B,) radians, how far the camera has gone towards the image's right.
        elevation: (B,) radians, how high it is.
        log_distance: (B,) logarithm of its distance over `CENTRE_DEPTH`; minus that of the scale.
    """

    azimuth: Tensor
    elevation: Tensor
    log_distance: Tensor

    @classmethod
    def of_view(cls, view: View) -> Orbit:
        """The cameras of views (B) as `view` makes them; a roll or a shift aside is left out."""
        rotation = view.rotation_matrix()
        distance = (view.centre_depth + view.translation[:, 2]) / view.centre_depth
        return cls(
            torch.atan2(rotation[:, 0, 2], rotation[:, 0, 0]),
            torch.atan2(rotation[:, 2, 1], rotation[:, 1, 1]),
            distance.clamp(min=1e-3).log(),
        )

    @property
    def view(self) -> View:
        """The same as views (B), in degrees."""
        azimuth, elevation = self.azimuth.rad2deg(), self.elevation.rad2deg()
        view = View.from_orbit(azimuth, elevation, centre_depth=CENTRE_DEPTH)
        return replace(view, translation=self._offset() - view.translation.new_tensor(_CENTRE))

    def transform(self, points: Tensor) -> Tensor:
        """Points (B, V, 3) about the subject's centre, to camera space.

        Not by way of `view`, whose angles have no gradient where the camera looks from the side.
        """
        zero = torch.zeros_like(self.azimuth)
        tilt = euler_matrix(self.elevation, zero, zero)
        turn = euler_matrix(zero, self.azimuth, zero)
        return points @ (tilt @ turn).transpose(1, 2) + self._offset()[:, None]

    def direction(self) -> Tensor:
        """(B, 3) unit, from the subject to the camera; axes of its own, for comparisons."""
        level = self.elevation.cos()
        across, ahead = level * self.azimuth.sin(), level * self.azimuth.cos()
        return torch.stack((across, self.elevation.sin(), ahead), 1)

    def features(self) -> Tensor:
        """(B, 4) what the mapping network reads: cosine and sine of azimuth, elevation, scale."""
        parts = (self.azimuth.cos(), self.azimuth.sin(), self.elevation, -self.log_distance)
        return torch.stack(parts, 1)

    def _offset(self) -> Tensor:
        distance = CENTRE_DEPTH * self.log_distance.exp()
        zero = torch.zeros_like(distance)
        return torch.stack((zero, zero, distance), 1)

    @classmethod
    def join(cls, orbits: Sequence[Orbit]) -> Orbit:
        """Several batches of cameras as one."""
        return cls(*map(torch.cat, zip(*(orbit._parts for orbit in orbits), strict=True)))

    def __len__(self) -> int:
        return len(self.azimuth)

    def __getitem__(self, index: Tensor | slice) -> Orbit:
        """Choose some."""
        return Orbit(*(part[index] for part in self._parts))

    def detach(self) -> Orbit:
        """The same without gradient."""
        return Orbit(*(part.detach() for part in self._parts))

    @property
    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.azimuth, self.elevation, self.log_distance


_CENTRE = (0.0, 0.0, CENTRE_DEPTH)


class ViewCameras(nn.Module):
    """One camera for each of K view codes, shared by all pictures of that code.

    Args:
        azimuths, elevations: K each, degrees, that they start from.

    Attributes:
        annotated: (K,) radians, the azimuths that they started from.
    """

    annotated: Tensor

    def __init__(self, azimuths: Sequence[float], elevations: Sequence[float]) -> None:
        super().__init__()
        start = torch.tensor(azimuths, dtype=torch.float32).deg2rad()
        self.register_buffer("annotated", start)
        self.azimuth = nn.Parameter(start.clone())
        elevation = torch.tensor(elevations, dtype=torch.float32)
        self.elevation = nn.Parameter(elevation.deg2rad())
        self.log_distance = nn.Parameter(torch.zeros_like(start))

    def forward(self) -> Orbit:
        """All K cameras.

        Their distances have the geometric mean `CENTRE_DEPTH`: nearer cameras all round show the
        same as larger objects.
        """
        return Orbit(self.azimuth, self.elevation, self.log_distance - self.log_distance.mean())
