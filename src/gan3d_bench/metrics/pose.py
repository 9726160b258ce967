"""Errors of predicted poses and cameras against the true ones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from gan3d_bench.geometry.views import View
from gan3d_bench.metrics.angles import without_mean
from gan3d_bench.metrics.instances import PairedSet

ANGLES = ("yaw", "pitch", "roll")


def wrap(degrees: Tensor) -> Tensor:
    """Return the angles in [-180, 180) that differ from `degrees` by whole turns."""
    return torch.remainder(degrees + 180, 360) - 180


def angle_errors(
    predicted: Float[Tensor, "N 3"], target: Float[Tensor, "N 3"], *, centred: bool = True
) -> Float[Tensor, "N 3"]:
    """Absolute errors of angles, degrees in [0, 180].

    Args:
        predicted, target: degrees, of one method over the whole set.
        centred: remove from each column the mean difference over the set (`without_mean`).
    """
    error = wrap(predicted.double() - target.double())
    if not centred:
        return error.abs()
    columns = [without_mean(column.tolist()) for column in error.unbind(1)]
    return torch.tensor(columns, dtype=error.dtype, device=error.device).T


def angle_differences(predicted: View, target: View) -> dict[str, Float[Tensor, " N"]]:
    """Signed errors of yaw, pitch and roll of N views, degrees in [-180, 180), float64."""
    errors = wrap(_angles(predicted).double() - _angles(target).double())
    return dict(zip(ANGLES, errors.unbind(1), strict=True))


class PoseError(PairedSet):
    """Errors in yaw, pitch and roll, degrees, averaged over images; 0 is perfect.

    Source: LiftedGAN (Shi et al. 2021), Table 2: each method's average angle is subtracted first.
    That the mean absolute error is meant is our reading; the paper publishes no script.

    Args:
        centred: whether the averages are subtracted; see `angle_errors`.

    `compute` returns ``{"yaw", "pitch", "roll"}``, each with "mean", "standard_error", "count" and
    "max".
    """

    higher_is_better = False

    def __init__(self, centred: bool = True, **kwargs: object) -> None:
        super().__init__(3, **kwargs)
        self.centred = centred

    def errors(self, predicted: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        errors = angle_errors(predicted, target, centred=self.centred)
        return dict(zip(ANGLES, errors.unbind(1), strict=True))

    def instances(self, predicted: View, target: View) -> Mapping[str, Tensor]:
        """Return the errors (N,) of N views, which are the whole set."""
        return self.errors(_angles(predicted), _angles(target))

    def update(self, predicted: View, target: View) -> None:
        """Add B predicted views and the true ones."""
        super().update(_angles(predicted), _angles(target))


def _angles(view: View) -> Tensor:
    return torch.stack([getattr(view, name) for name in ANGLES], 1)


def camera_differences(
    predicted: Float[Tensor, "N 3 3"], target: Float[Tensor, "N 3 3"], *, aligned: bool = True
) -> dict[str, Float[Tensor, " N"]]:
    """Differences of two sets of camera rotations, degrees.

    One rotation G of the world, the mean of ``predicted^T target`` (the principal eigenvector of
    the quaternions' outer products; scipy's ``Rotation.mean``), is removed: ``predicted G`` is
    compared with `target`. Target angles lie in 0 to 180 degrees; of a prediction's two
    quaternions, q and -q, the one nearer to the target's is taken.

    Args:
        predicted, target: rotation matrices from the world (canonical pose) to the camera.
        aligned: whether G is removed.

    Returns:
        ``axis``: angle between the rotation axes, 0 where a rotation is the identity, which has
        none; where rotation angles are small it is large and means little. ``angle``: absolute
        difference of the rotation angles. ``rotation``: angle of the rotation that takes one
        camera to the other, which depends on no choice of the world's axes. All float64.

    Raises:
        ValueError: other shapes, or a matrix whose determinant is not positive.
    """
    if not len(predicted):
        empty = predicted.new_empty(0, dtype=torch.float64)
        return {"axis": empty, "angle": empty, "rotation": empty}
    a, b = _rotations(predicted), _rotations(target)
    if aligned:
        a = a * (a.inv() * b).mean()
    p, q = (torch.from_numpy(x.as_quat(canonical=True)) for x in (a, b))  # x, y, z, w; w >= 0
    p = torch.where((p * q).sum(1, keepdim=True) < 0, -p, p)
    (axis_p, angle_p), (axis_q, angle_q) = _axis_angle(p), _axis_angle(q)
    sine = torch.linalg.vector_norm(torch.linalg.cross(axis_p, axis_q, dim=1), dim=1)
    differences = {
        "axis": torch.atan2(sine, (axis_p * axis_q).sum(1)),
        "angle": (angle_p - angle_q).abs(),
        "rotation": torch.from_numpy((a.inv() * b).magnitude()),
    }
    return {name: value.rad2deg().to(predicted.device) for name, value in differences.items()}


def _rotations(matrices: Tensor) -> Rotation:
    if matrices.ndim != 3 or matrices.shape[1:] != (3, 3):
        raise ValueError(f"rotations: expected (N, 3, 3), got {tuple(matrices.shape)}")
    return Rotation.from_matrix(matrices.detach().double().cpu().numpy())


def _axis_angle(quaternion: Tensor) -> tuple[Tensor, Tensor]:
    """Axis (zero for the identity) and angle, radians in [0, 2 pi], of (N, 4) quaternions."""
    vector, scalar = quaternion[:, :3], quaternion[:, 3]
    sine = torch.linalg.vector_norm(vector, dim=1)
    axis = torch.where(sine[:, None] > 1e-9, vector / sine[:, None], 0.0)
    return axis, 2 * torch.atan2(sine, scalar)


class CameraAgreement(PairedSet):
    """How far two sets of cameras differ in axis and angle, degrees; 0 is equal.

    Source: StyleGAN-R (Zhang et al. 2021), Table A; the removal of one global rotation is our
    reading. See `camera_differences`.

    Args:
        aligned: whether the global rotation is removed.

    `compute` returns ``{"axis", "angle", "rotation"}``, each with "mean", "standard_error",
    "count" and "max"; the paper has mean and maximum of the first two.
    """

    higher_is_better = False

    def __init__(self, aligned: bool = True, **kwargs: object) -> None:
        super().__init__(9, **kwargs)
        self.aligned = aligned

    def errors(self, predicted: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        a, b = predicted.view(-1, 3, 3), target.view(-1, 3, 3)
        return camera_differences(a, b, aligned=self.aligned)

    def instances(self, predicted: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        """Return the differences (N,) of rotations (N, 3, 3), which are the whole set."""
        return camera_differences(predicted, target, aligned=self.aligned)

    def update(self, predicted: Tensor, target: Tensor) -> None:
        """Add rotation matrices (B, 3, 3) from the world to the camera."""
        super().update(predicted.flatten(1), target.flatten(1))
