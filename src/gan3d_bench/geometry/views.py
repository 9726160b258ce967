"""Views: how the subject is turned and moved in front of the camera.

Camera space has x right, y down, z forward. A view rotates the subject about a fixed point on the
optical axis, (0, 0, 1) unless said otherwise, and then translates it:
``P' = R (P - o) + o + t``.

Signs, looking at the image: +yaw turns the nose towards the right edge, +pitch towards the top
edge, +roll turns the subject clockwise; +x, +y, +z translation moves it right, down, away.
Angles are degrees at every public door. The order of rotation is pitch, then yaw, then roll:
``R = Rz(roll) Ry(-yaw) Rx(-pitch)`` with the right-handed matrices of GAN2Shape.

The papers' own conventions, and where each is converted:

============= ================================================ ==================================
paper         its parameters                                   ours (degrees)
============= ================================================ ==================================
GAN2Shape,    (a, b, c) radians, R = Rz(c) Ry(b) Rx(a) in our  yaw = -b, pitch = -a, roll = c;
Unsup3D       axes, about (0, 0, 1); then t                    `from_gan2shape`, `to_gan2shape`
LiftedGAN     (rx, ry, rz), the same matrices; network values  yaw = -ry, pitch = -rx, roll = rz;
              times 60 degrees, translation times 0.1          `from_gan2shape` after scaling
UV generator, (x, y, z) radians, R = Rz Ry Rx, x right, y up,  yaw = y, pitch = -x, roll = -z,
BFM fitting   z to the viewer, about the mean vertex           t = (tx, -ty, -tz); `from_bfm`
StyleGAN-R    camera on a sphere: azimuth (camera to the       yaw = -azimuth, pitch = -elevation
              image's right), elevation (camera up)            (in the order yaw, then pitch);
                                                               `from_orbit`
W_tri, EG3D   camera offsets: a to the right (radians), b      `from_orbit(a, asin(-2 b / pi))`
              down with sin(elevation) = -2 b / pi             up to the pivot
============= ================================================ ==================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Angle = float | Sequence[float] | Tensor


@dataclass(frozen=True)
class View:
    """A batch of B views.

    Attributes:
        yaw, pitch, roll: (B,) degrees.
        translation: (B, 3) scene units, camera axes.
        centre_depth: depth of the rotation centre on the optical axis, scene units.
    """

    yaw: Tensor
    pitch: Tensor
    roll: Tensor
    translation: Tensor
    centre_depth: float = 1.0

    @classmethod
    def from_angles(
        cls,
        yaw: Angle = 0.0,
        pitch: Angle = 0.0,
        roll: Angle = 0.0,
        translation: Sequence[float] | Tensor = (0.0, 0.0, 0.0),
        *,
        centre_depth: float = 1.0,
        device: torch.device | str | None = None,
    ) -> View:
        """Build views from numbers, lists or tensors, broadcast to one batch size.

        Args:
            yaw, pitch, roll: degrees; a number or (B,).
            translation: (3,) or (B, 3), scene units.
            centre_depth: depth of the rotation centre.
            device: where the tensors go; by default they stay where they are.

        Raises:
            ValueError: batch sizes that do not broadcast.
        """
        given = (yaw, pitch, roll, translation)
        dtype = next(
            (x.dtype for x in given if isinstance(x, Tensor) and x.is_floating_point()),
            torch.get_default_dtype(),
        )
        device = device or next((x.device for x in given if isinstance(x, Tensor)), None)
        angles = [torch.as_tensor(x, dtype=dtype, device=device).reshape(-1) for x in given[:3]]
        shift = torch.as_tensor(translation, dtype=dtype, device=device).reshape(-1, 3)
        sizes = {len(x) for x in (*angles, shift)} - {1}
        if len(sizes) > 1:
            raise ValueError(f"views: batch sizes {sorted(sizes)} do not fit together")
        batch = sizes.pop() if sizes else 1
        yaw, pitch, roll = (x.expand(batch) for x in angles)
        return cls(yaw, pitch, roll, shift.expand(batch, 3), centre_depth)

    @classmethod
    def from_matrix(
        cls, rotation: Tensor, translation: Tensor | None = None, *, centre_depth: float = 1.0
    ) -> View:
        """The view of rotation matrices (B, 3, 3) in camera axes and translations (B, 3)."""
        pitch = -torch.atan2(rotation[:, 2, 1], rotation[:, 2, 2])
        yaw = torch.asin(rotation[:, 2, 0].clamp(-1, 1))
        roll = torch.atan2(rotation[:, 1, 0], rotation[:, 0, 0])
        if translation is None:
            translation = torch.zeros_like(rotation[:, 0])
        return cls(yaw.rad2deg(), pitch.rad2deg(), roll.rad2deg(), translation, centre_depth)

    @classmethod
    def from_gan2shape(cls, view: Tensor, *, centre_depth: float = 1.0) -> View:
        """From GAN2Shape's (B, 6): angles (a, b, c) in radians, then translation (x, y, z)."""
        a, b, c = view[:, :3].rad2deg().unbind(1)
        return cls(-b, -a, c, view[:, 3:6], centre_depth)

    def to_gan2shape(self) -> Tensor:
        """(B, 6): GAN2Shape's angles in radians and translation."""
        angles = torch.stack((-self.pitch, -self.yaw, self.roll), 1).deg2rad()
        return torch.cat((angles, self.translation), 1)

    @classmethod
    def from_bfm(cls, angles: Tensor, translation: Tensor, *, centre_depth: float) -> View:
        """From the BFM fit's angles (B, 3) in radians and translation (B, 3), y up, z to viewer."""
        x, y, z = angles.rad2deg().unbind(1)
        return cls(y, -x, -z, translation * translation.new_tensor([1, -1, -1]), centre_depth)

    @classmethod
    def from_orbit(cls, azimuth: Angle, elevation: Angle = 0.0, *, centre_depth: float) -> View:
        """The view of a camera that moves on a sphere around the upright subject.

        Args:
            azimuth: degrees, positive when the camera moves towards the image's right.
            elevation: degrees, positive when the camera rises.
            centre_depth: distance from the camera to the centre of the sphere.
        """
        turn = cls.from_angles(-_tensor(azimuth), centre_depth=centre_depth)
        tilt = cls.from_angles(0.0, -_tensor(elevation), centre_depth=centre_depth)
        rotation = tilt.rotation_matrix() @ turn.rotation_matrix()
        return cls.from_matrix(rotation, centre_depth=centre_depth)

    @classmethod
    def between(cls, before: View, after: View) -> View:
        """The views (B) that move what is seen at views `before` to where `after` shows it.

        Raises:
            ValueError: the numbers of views do not fit, or the centres of rotation differ.
        """
        if before.centre_depth != after.centre_depth:
            raise ValueError(f"centres at depths {before.centre_depth} and {after.centre_depth}")
        after = after.expand(len(before))
        rotation = after.rotation_matrix() @ before.rotation_matrix().transpose(1, 2)
        carried = (rotation @ before.translation[..., None]).squeeze(-1)
        return cls.from_matrix(
            rotation, after.translation - carried, centre_depth=after.centre_depth
        )

    @classmethod
    def sweep(
        cls,
        yaw: tuple[float, float] = (0.0, 0.0),
        pitch: tuple[float, float] = (0.0, 0.0),
        steps: int = 9,
        *,
        device: torch.device | str | None = None,
    ) -> View:
        """`steps` views whose angles go evenly from the first to the last value (degrees)."""
        angles = (torch.linspace(*ends, steps, device=device) for ends in (yaw, pitch))
        return cls.from_angles(*angles)

    @classmethod
    def join(cls, views: Sequence[View]) -> View:
        """Several batches of views, at least one, as one batch.

        Raises:
            ValueError: they turn about different centres.
        """
        centres = {view.centre_depth for view in views}
        if len(centres) != 1:
            raise ValueError(f"views about centres at {sorted(centres)} cannot be joined")
        parts = zip(*((v.yaw, v.pitch, v.roll, v.translation) for v in views), strict=True)
        return cls(*map(torch.cat, parts), centre_depth=centres.pop())

    def __len__(self) -> int:
        return self.yaw.shape[0]

    def __getitem__(self, index: int | slice | Tensor) -> View:
        """Choose views; an integer gives a batch of one."""
        if isinstance(index, int):
            index = slice(index, index + 1 or None)
        yaw, pitch, roll = self.yaw[index], self.pitch[index], self.roll[index]
        return View(yaw, pitch, roll, self.translation[index], self.centre_depth)

    def expand(self, batch: int) -> View:
        """One view for a whole batch; B views stay as they are.

        Raises:
            ValueError: there are neither one nor `batch` views.
        """
        if len(self) == batch:
            return self
        if len(self) != 1:
            raise ValueError(f"{len(self)} views do not fit {batch} subjects")
        yaw, pitch, roll = (x.expand(batch) for x in (self.yaw, self.pitch, self.roll))
        return View(yaw, pitch, roll, self.translation.expand(batch, 3), self.centre_depth)

    def to(self, device: torch.device | str) -> View:
        """The same views on another device."""
        yaw, pitch, roll = self.yaw.to(device), self.pitch.to(device), self.roll.to(device)
        return View(yaw, pitch, roll, self.translation.to(device), self.centre_depth)

    def gone_round(self, degrees: float) -> View:
        """The views once the camera has gone round the subject's upright axis by so much more.

        Of `from_orbit` it adds to the azimuth alone.
        """
        turn = rotation_matrix(View.from_angles(-degrees)).to(self.yaw)
        rotation = self.rotation_matrix() @ turn
        return View.from_matrix(rotation, self.translation, centre_depth=self.centre_depth)

    def rotation_matrix(self) -> Tensor:
        """(B, 3, 3): see `rotation_matrix`."""
        return rotation_matrix(self)

    def transform(self, points: Tensor) -> Tensor:
        """Turn and move points (B or 1, ..., 3) in camera space; returns (B, ..., 3)."""
        rotation = self.rotation_matrix()
        centre = self._centre()
        offset = centre + self.translation - (rotation @ centre)
        return _affine(points, rotation, offset)

    def inverse_transform(self, points: Tensor) -> Tensor:
        """Undo `transform`: points (B or 1, ..., 3) back to the canonical pose, (B, ..., 3)."""
        inverse = self.rotation_matrix().transpose(1, 2)
        centre = self._centre()
        shift = (inverse @ (self.translation + centre)[..., None]).squeeze(-1)
        return _affine(points, inverse, centre - shift)

    def rotate(self, vectors: Tensor) -> Tensor:
        """Turn directions such as normals (B or 1, ..., 3), without moving them."""
        return _affine(vectors, self.rotation_matrix(), None)

    def _centre(self) -> Tensor:
        return self.translation.new_tensor([0.0, 0.0, self.centre_depth])


def rotation_matrix(view: View) -> Tensor:
    """Rotation matrices of views in camera axes (x right, y down, z forward).

    ``Rz(roll) Ry(-yaw) Rx(-pitch)``, differentiable in the angles.

    Returns:
        (B, 3, 3), to be applied to column vectors.
    """
    return euler_matrix(-view.pitch.deg2rad(), -view.yaw.deg2rad(), view.roll.deg2rad())


def euler_matrix(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """``Rz(c) Ry(b) Rx(a)`` of angles (B,) in radians, right-handed: (B, 3, 3).

    Written out, since kornia has it by way of quaternions only (other rounding, and the angles of
    stored views would change in the last bits), and PyTorch3D's version is for a part of the suite
    that runs without PyTorch3D.
    """
    (ca, sa), (cb, sb), (cc, sc) = ((x.cos(), x.sin()) for x in (a, b, c))
    rows = (
        (cc * cb, cc * sb * sa - sc * ca, cc * sb * ca + sc * sa),
        (sc * cb, sc * sb * sa + cc * ca, sc * sb * ca - cc * sa),
        (-sb, cb * sa, cb * ca),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def _affine(points: Tensor, matrix: Tensor, offset: Tensor | None) -> Tensor:
    """``matrix @ p + offset`` for points (B or 1, ..., 3)."""
    flat = points.reshape(points.shape[0], -1, 3) @ matrix.transpose(1, 2)
    if offset is not None:
        flat = flat + offset[:, None]
    return flat.view(-1, *points.shape[1:])


def _tensor(value: Angle) -> Tensor:
    return torch.as_tensor(value, dtype=None if isinstance(value, Tensor) else torch.float32)
