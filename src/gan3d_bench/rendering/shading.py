"""Shading: one directional light, or spherical harmonics, behind one `shade`.

Normals are unit maps (B, 3, H, W) in camera space (x right, y down, z forward) pointing to the
viewer: a frontal plane has (0, 0, -1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Light:
    """Ambient light and one directional light, Lambert's law.

    Attributes:
        ambient: (B,) weight of the light from everywhere.
        diffuse: (B,) weight of the directional light.
        direction: (B, 3) unit vector from the subject TOWARDS the light, camera space; a light
            at the camera is (0, 0, -1).
    """

    ambient: Tensor
    diffuse: Tensor
    direction: Tensor

    @classmethod
    def from_slopes(cls, ambient: Tensor, diffuse: Tensor, x: Tensor, y: Tensor) -> Light:
        """From the parameters of Unsup3D, GAN2Shape and LiftedGAN, each (B,).

        Their direction (x, y, 1)/norm points away from the light (and their normals away from the
        viewer), so ours is minus that: x > 0 lights from the left, y > 0 from above.
        """
        direction = F.normalize(torch.stack((x, y, torch.ones_like(x)), -1), dim=-1)
        return cls(ambient, diffuse, -direction)

    @classmethod
    def frontal(
        cls,
        batch: int = 1,
        ambient: float = 0.5,
        diffuse: float = 0.5,
        *,
        device: torch.device | str | None = None,
    ) -> Light:
        """A light at the camera."""
        return cls(
            torch.full((batch,), ambient, device=device),
            torch.full((batch,), diffuse, device=device),
            torch.tensor([0.0, 0.0, -1.0], device=device).expand(batch, 3),
        )

    def __len__(self) -> int:
        return self.ambient.shape[0]

    def to(self, device: torch.device | str) -> Light:
        """The same light on another device."""
        return Light(*(x.to(device) for x in (self.ambient, self.diffuse, self.direction)))


@dataclass(frozen=True)
class SphericalHarmonicsLight:
    """Light of any shape by nine spherical harmonics a colour (ascust/3DMM-Fitting-Pytorch).

    The basis is taken of the normal in the morphable model's axes: x right, y UP, z TO the
    viewer. `shade` converts from camera space.

    Attributes:
        coefficients: (B, 3, 9), colours by bands.
    """

    coefficients: Tensor

    @classmethod
    def from_gamma(cls, gamma: Tensor) -> SphericalHarmonicsLight:
        """From the 27 coefficients of the BFM fits, (B, 27); 0.8 is added to each constant band."""
        coefficients = gamma.reshape(-1, 3, 9)
        constant = F.one_hot(torch.tensor(0), 9).to(coefficients)
        return cls(coefficients + 0.8 * constant)

    def __len__(self) -> int:
        return self.coefficients.shape[0]

    def to(self, device: torch.device | str) -> SphericalHarmonicsLight:
        """The same light on another device."""
        return SphericalHarmonicsLight(self.coefficients.to(device))


def spherical_harmonics_basis(normals: Tensor) -> Tensor:
    """The nine basis functions, already multiplied by the Lambert kernel.

    As in ``core/BaseModel.py`` of ascust/3DMM-Fitting-Pytorch (Ramamoorthi and Hanrahan 2001).

    Args:
        normals: (..., 3) unit vectors, x right, y up, z to the viewer.

    Returns:
        (..., 9).
    """
    x, y, z = normals.unbind(-1)
    kernel = (math.pi, 2 * math.pi / math.sqrt(3), 2 * math.pi / math.sqrt(8))
    norm = (
        1 / math.sqrt(4 * math.pi),
        math.sqrt(3) / math.sqrt(4 * math.pi),
        3 * math.sqrt(5) / math.sqrt(12 * math.pi),
    )
    constant, linear, quadratic = (k * n for k, n in zip(kernel, norm, strict=True))
    return torch.stack(
        (
            torch.full_like(x, constant),
            -linear * y,
            linear * z,
            -linear * x,
            quadratic * x * y,
            -quadratic * y * z,
            quadratic * 0.5 / math.sqrt(3) * (3 * z**2 - 1),
            -quadratic * x * z,
            quadratic * 0.5 * (x**2 - y**2),
        ),
        -1,
    )


def diffuse_shading(normals: Tensor, direction: Tensor) -> Tensor:
    """``max(0, <n, l>)``: normals (B, 3, H, W), direction (B, 3), to (B, 1, H, W) in [0, 1]."""
    return (normals * direction[..., None, None]).sum(1, keepdim=True).clamp(min=0)


def shade(normals: Tensor, light: Light | SphericalHarmonicsLight) -> Tensor:
    """Shading of a normal map, to be multiplied with the albedo; not clamped.

    Args:
        normals: (B or 1, 3, H, W) unit, camera space, pointing to the viewer.
        light: `Light` or `SphericalHarmonicsLight` of B (or 1) lights.

    Returns:
        (B, 1, H, W) for a `Light`: ``ambient + diffuse * max(0, <n, l>)``;
        (B, 3, H, W) for a `SphericalHarmonicsLight`.
    """
    if isinstance(light, Light):
        ambient, diffuse = (x[:, None, None, None] for x in (light.ambient, light.diffuse))
        return ambient + diffuse * diffuse_shading(normals, light.direction)
    model_axes = normals.new_tensor([1.0, -1.0, -1.0])
    basis = spherical_harmonics_basis(normals.movedim(1, -1) * model_axes)
    shading = basis @ light.coefficients.transpose(1, 2)[:, None]
    return shading.movedim(-1, 1)


def lit_texture(albedo: Tensor, shading: Tensor) -> Tensor:
    """Albedo (B, 3, H, W) in [-1, 1] times shading, back in image range; not clamped.

    ``2 (albedo / 2 + 0.5) shading - 1`` (GAN2Shape, gan2shape/model.py).
    """
    return (albedo + 1) * shading - 1
