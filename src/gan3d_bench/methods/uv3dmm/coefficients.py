"""3DMM coefficients of a head in a picture, f of the paper (section 3.1), in the suite's terms."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gan3d_bench.faces.landmark_fit import pose_view
from gan3d_bench.geometry.views import View
from gan3d_bench.rendering.shading import SphericalHarmonicsLight

ROTATION, LIGHT, TRANSLATION = 3, 27, 3
REST = ROTATION + LIGHT + TRANSLATION
"""Coefficients that are not the shape's."""


@dataclass(frozen=True)
class Coefficients:
    """B heads.

    Attributes:
        shape: (B, K) identity, then expression, in standard deviations (`faces.face_model`); 80 +
            64 of a Basel Face Model.
        pose: (B, 6) see `faces.landmark_fit.POSE`: rotation in radians, shift in x and y in scene
            units, logarithm of the size. A single picture does not tell size and distance apart, so
            that the size stands in the place of the paper's translation in z.
        gamma: (B, 27) spherical harmonics, red's nine first; 0.8 belongs to each constant band
            beside them (`SphericalHarmonicsLight.from_gamma`). In camera space.
    """

    shape: Tensor
    pose: Tensor
    gamma: Tensor

    @classmethod
    def of_fit(cls, fit: dict[str, Tensor]) -> Coefficients:
        """Of the tensors of a `FaceFit`."""
        light = fit["light"].clone()
        light[..., 0] -= 0.8
        return cls(fit["shape"], fit["pose"], light.flatten(1))

    @classmethod
    def unpack(cls, values: Tensor) -> Coefficients:
        """Of a vector (B, K + 33) in the order of `pack`."""
        shape, angles, gamma, shift = values.split(
            (values.shape[1] - REST, ROTATION, LIGHT, TRANSLATION), 1
        )
        return cls(shape, torch.cat((angles, shift), 1), gamma)

    def pack(self) -> Tensor:
        """One vector (B, K + 33): shape, rotation, light, translation, as the paper orders f."""
        return torch.cat((self.shape, self.pose[:, :3], self.gamma, self.pose[:, 3:]), 1)

    @property
    def yaw(self) -> Tensor:
        """(B,) radians."""
        return self.pose[:, 0]

    @property
    def view(self) -> View:
        """Views (B) at which the pictures show the heads."""
        return pose_view(self.pose)

    @property
    def scale(self) -> Tensor:
        """(B,) of the heads."""
        return self.pose[:, 5].exp()

    @property
    def light(self) -> SphericalHarmonicsLight:
        """B lights in camera space."""
        return SphericalHarmonicsLight.from_gamma(self.gamma)

    def seen_as(self, other: Coefficients) -> Coefficients:
        """The same shapes with another's rotation, translation and light."""
        return replace(self, pose=other.pose, gamma=other.gamma)

    def __getitem__(self, index: slice | Tensor) -> Coefficients:
        return Coefficients(self.shape[index], self.pose[index], self.gamma[index])

    def __len__(self) -> int:
        return len(self.shape)
