"""Light and shading: one directional light, or spherical harmonics, behind one `Light`.

Normals are unit maps (B, 3, H, W) pointing to the viewer in camera axes (x right, y down,
z forward): a frontal plane has (0, 0, -1).

A light has a frame, and `Light.shade` wants normals of that frame. Two frames occur:

- camera space at one view. A light that is *given* to a scene is meant so, as a photographer
  would: "from the left" stays at the picture's left however the subject is turned.
- the scene's frame, in which the subject is at the canonical view. A scene's *own* light belongs
  to the scene and turns with the subject: novel views of a photograph move the camera, not the
  lamps.

`Light.in_camera` and `Light.in_scene` go from one to the other by the view's rotation.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.geometry.views import View

if TYPE_CHECKING:
    from typing_extensions import Self


class Light(ABC):
    """B lights; subclasses are dataclasses of tensors whose first axis is B."""

    @abstractmethod
    def shade(self, normals: Tensor) -> Tensor:
        """Shading of a normal map, to be multiplied with the albedo; not clamped.

        Args:
            normals: (B or 1, 3, H, W) unit, in the light's frame.

        Returns:
            (B, 1, H, W) of white light, (B, 3, H, W) of coloured light.
        """

    @abstractmethod
    def rotated(self, rotation: Tensor) -> Self:
        """The same lights after a rotation (B or 1, 3, 3) that acts on column vectors."""

    def in_camera(self, view: View) -> Self:
        """Lights of the scene's frame as the camera of `view` sees them."""
        return self.rotated(view.rotation_matrix())

    def in_scene(self, view: View) -> Self:
        """Lights of camera space at `view` in the scene's frame; the inverse of `in_camera`."""
        return self.rotated(view.rotation_matrix().transpose(1, 2))

    def to(self, device: torch.device | str) -> Self:
        """The same lights on another device."""
        return type(self)(*(value.to(device) for value in self._tensors()))

    def expand(self, batch: int) -> Self:
        """One light for a whole batch; B lights stay as they are.

        Raises:
            ValueError: there are neither one nor `batch` lights.
        """
        if len(self) == batch:
            return self
        if len(self) != 1:
            raise ValueError(f"{len(self)} lights do not fit {batch} subjects")
        return type(self)(*(value.expand(batch, *value.shape[1:]) for value in self._tensors()))

    def __getitem__(self, index: slice | Tensor) -> Self:
        """Choose some of the lights."""
        return type(self)(*(value[index] for value in self._tensors()))

    def __len__(self) -> int:
        return len(self._tensors()[0])

    @property
    def device(self) -> torch.device:
        return self._tensors()[0].device

    def _tensors(self) -> list[Tensor]:
        return [getattr(self, item.name) for item in fields(self)]  # type: ignore[arg-type]


@dataclass(frozen=True)
class LambertLight(Light):
    """Ambient light and one directional light, Lambert's law.

    Attributes:
        ambient: (B,) weight of the light from everywhere.
        diffuse: (B,) weight of the directional light.
        direction: (B, 3) unit vector from the subject TOWARDS the light; a light at the camera is
            (0, 0, -1).
    """

    ambient: Tensor
    diffuse: Tensor
    direction: Tensor

    @classmethod
    def from_slopes(cls, ambient: Tensor, diffuse: Tensor, x: Tensor, y: Tensor) -> LambertLight:
        """From the parameters of Unsup3D, GAN2Shape and LiftedGAN, each (B,).

        Their direction (x, y, 1)/norm points away from the light (and their normals away from the
        viewer), so ours is minus that: x > 0 lights from the left, y > 0 from above. They shade
        canonical normals: the light is in the scene's frame.
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
    ) -> LambertLight:
        """A light at the camera."""
        return cls(
            torch.full((batch,), ambient, device=device),
            torch.full((batch,), diffuse, device=device),
            torch.tensor([0.0, 0.0, -1.0], device=device).expand(batch, 3),
        )

    def shade(self, normals: Tensor) -> Tensor:
        """See `Light.shade`: (B, 1, H, W), ``ambient + diffuse * max(0, <n, l>)``."""
        ambient, diffuse = (x[:, None, None, None] for x in (self.ambient, self.diffuse))
        return ambient + diffuse * diffuse_shading(normals, self.direction)

    def rotated(self, rotation: Tensor) -> LambertLight:
        """See `Light.rotated`."""
        turned = (rotation.to(self.direction) @ self.direction[..., None]).squeeze(-1)
        batch = len(turned)
        return LambertLight(self.ambient.expand(batch), self.diffuse.expand(batch), turned)


@dataclass(frozen=True)
class SphericalHarmonicsLight(Light):
    """Light of any shape by nine spherical harmonics a colour (Ramamoorthi and Hanrahan, 2001).

    The basis is taken of the normal in the morphable model's axes: x right, y UP, z TO the
    viewer, as the released 3DMM fits do; `shade` converts from camera axes.

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

    def shade(self, normals: Tensor) -> Tensor:
        """See `Light.shade`: (B, 3, H, W)."""
        basis = spherical_harmonics_basis(_model_axes(normals.movedim(1, -1)))
        shading = basis @ self.coefficients.transpose(1, 2)[:, None]
        return shading.movedim(-1, 1)

    def rotated(self, rotation: Tensor) -> SphericalHarmonicsLight:
        """See `Light.rotated`; exact, since each band maps onto itself."""
        like = self.coefficients
        # what lights a normal n after the rotation lit R^T n before it
        probes = _PROBES.to(like)
        before = (rotation.to(like).transpose(1, 2)[:, None] @ probes[..., None]).squeeze(-1)
        seen = spherical_harmonics_basis(_model_axes(before))  # (B, P, 9)
        fit = _probe_solver().to(like)  # (9, P): shading at the probes -> coefficients
        return SphericalHarmonicsLight(like @ (fit @ seen).transpose(1, 2))


# directions at which a rotated light is read off: more than enough to tell nine coefficients
_PROBES = F.normalize(
    torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)] * 3)[
        [*range(13), *range(14, 27)]
    ],
    dim=1,
)


@functools.cache
def _probe_solver() -> Tensor:
    return torch.linalg.pinv(spherical_harmonics_basis(_model_axes(_PROBES)))


def _model_axes(normals: Tensor) -> Tensor:
    """Camera axes (..., 3) to the morphable model's: y up, z to the viewer."""
    return normals * normals.new_tensor([1.0, -1.0, -1.0])


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


def lit_texture(albedo: Tensor, shading: Tensor) -> Tensor:
    """Albedo (B, 3, H, W) in [-1, 1] times shading, back in image range; not clamped.

    ``2 (albedo / 2 + 0.5) shading - 1`` (GAN2Shape, gan2shape/model.py).
    """
    return (albedo + 1) * shading - 1
