"""EG3D's cameras: 25 numbers each, and the suite's views and pinhole cameras.

A label is cam2world, 4 x 4 row by row, then the intrinsics, 3 x 3 row by row, in units of the image
side. The world has x right, y up and z out of the face; cameras have OpenCV's axes (x right, y
down, z forward), as the suite's. Pixel i of R lies at (i + 0.5) / R of the side.

Source: camera_utils.py and training/volumetric_rendering/ray_sampler.py of NVlabs/eg3d.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.geometry.views import View
from gan3d_bench.rendering.cameras import PinholeCamera

LABEL_DIM = 25
LIMIT = 1e4  # of distances in scene units, and of focal lengths in sides of the image
TOLERANCE = 1e-3  # of rotations and intrinsics that were stored in few digits


@dataclass(frozen=True)
class CameraOrbit:
    """Where a generator's cameras are, and what they look at.

    The canonical view of the suite is that of the frontal camera, at (0, 0, radius) with the axes
    of the image along those of the world; views turn the subject about the pivot's depth.

    Attributes:
        radius: distance of the cameras from the world's origin, scene units.
        pivot: (x, y, z) that they look at, world axes.
        focal: focal length in units of the image side. 4.2647, of the FFHQ models, is a field of
            view of 13.4 degrees (18.8 along the diagonal).
    """

    radius: float = 2.7
    pivot: tuple[float, float, float] = (0.0, 0.0, 0.2)
    focal: float = 4.2647

    def __post_init__(self) -> None:
        if not (0 < self.radius < LIMIT and 0 < self.focal < LIMIT):
            raise UserError(
                f"radius={self.radius}, focal={self.focal}: expected numbers above 0, below "
                f"{LIMIT:g}"
            )
        if len(self.pivot) != 3 or not all(-self.radius < x < self.radius for x in self.pivot):
            raise UserError(
                f"pivot={self.pivot}: expected three numbers within {self.radius} of the origin"
            )

    @property
    def centre_depth(self) -> float:
        """Depth of the pivot as the frontal camera sees it: where views have their centre."""
        return self.radius - self.pivot[2]

    def camera(self, image_size: int) -> PinholeCamera:
        """The pinhole camera of these intrinsics."""
        return PinholeCamera.from_focal(image_size, self.focal * image_size)

    def frontal(self, batch: int = 1) -> Tensor:
        """Labels (batch, 25) of the camera that generators are conditioned on at inference."""
        return self.look_at(torch.zeros(batch), torch.zeros(batch))

    def look_at(self, a: Tensor, b: Tensor) -> Tensor:
        """Labels of cameras on the sphere about the origin that look at the pivot, as released.

        Args:
            a: (B,) offset to the right from the frontal camera, radians: +a moves towards +x.
            b: (B,) vertical offset. Not an angle, as the released sampler spreads it evenly over
                the sphere: the sine of the elevation is -2 b / pi, so that +b moves down.

        Returns:
            (B, 25) of the dtype of `a`.
        """
        vertical = (b + math.pi / 2).clamp(1e-5, math.pi - 1e-5) / math.pi
        phi = torch.acos(1 - 2 * vertical)
        position = self.radius * torch.stack(
            (phi.sin() * a.sin(), phi.cos(), phi.sin() * a.cos()), -1
        )
        forward = F.normalize(position.new_tensor(self.pivot) - position, dim=-1)
        up = position.new_tensor([0.0, 1.0, 0.0]).expand_as(forward)
        right = -F.normalize(torch.linalg.cross(up, forward), dim=-1)
        # the world is right-handed with y up; OpenCV's second axis points down
        down = torch.linalg.cross(forward, right)
        rotation = torch.stack((right, down, forward), -1)
        return camera_labels(rotation, position, self.focal)

    def sample(
        self,
        count: int,
        rng: torch.Generator,
        spread: tuple[float, float] = (0.0, 0.0),
        kind: Literal["gaussian", "uniform"] = "gaussian",
    ) -> Tensor:
        """Draw labels (count, 25) of cameras about the frontal one.

        Args:
            count: how many.
            rng: draws the offsets a and b of `look_at`.
            spread: of a and of b: standard deviation, or half of the range of uniform offsets.
            kind: their distribution.
        """
        shape = (2, count)
        if kind == "gaussian":
            drawn = torch.randn(shape, generator=rng, device=rng.device)
        else:
            drawn = 2 * torch.rand(shape, generator=rng, device=rng.device) - 1
        a, b = drawn * drawn.new_tensor(spread)[:, None]
        return self.look_at(a, b)

    def trajectory(self, frames: int = 120) -> Tensor:
        """Labels (frames, 25) around the frontal camera, as of the released videos."""
        turn = torch.arange(frames) * (2 * 3.14 / frames)  # the released value of pi
        return self.look_at(0.35 * turn.sin(), 0.25 * turn.cos() - 0.05)

    def labels(self, view: View, camera: PinholeCamera | None = None) -> Tensor:
        """Labels (B, 25) of the cameras that see the subject at the suite's views.

        Args:
            view: B views, of any centre.
            camera: gives the focal length; None takes the orbit's.
        """
        rotation, shift = _rigid(view)
        # P' = R (F (X - c) ) + d of a world point X, c the frontal camera, F a half turn about x
        half = _half_turn(rotation)
        inverse = half @ rotation.transpose(1, 2)
        position = self._frontal(rotation) - (inverse @ shift[..., None]).squeeze(-1)
        focal = self.focal if camera is None else camera.focal / camera.width
        return camera_labels(inverse, position, focal)

    def view(self, labels: Tensor) -> View:
        """The views (B) at which the suite's camera sees what the labels' cameras see.

        Inverse of `labels`, up to the angles' range: yaw within +-90 degrees.
        """
        pose = labels[:, :16].unflatten(1, (4, 4))
        rotation = pose[:, :3, :3].transpose(1, 2) @ _half_turn(pose)
        offset = self._frontal(pose) - pose[:, :3, 3]
        shift = (pose[:, :3, :3].transpose(1, 2) @ offset[..., None]).squeeze(-1)
        centre = shift.new_tensor([0.0, 0.0, self.centre_depth])
        translation = shift + rotation @ centre - centre
        return View.from_matrix(rotation, translation, centre_depth=self.centre_depth)

    def _frontal(self, like: Tensor) -> Tensor:
        """Position of the frontal camera, world axes."""
        return like.new_tensor([0.0, 0.0, self.radius])


def mirrored(labels: Tensor) -> Tensor:
    """Labels (B, 25) of the cameras that see a mirrored subject as the mirrored pictures.

    Source: dataset_preprocessing of NVlabs/eg3d: entries [0,1], [0,2], [1,0], [2,0] and [0,3] of
    cam2world change their sign.
    """
    sign = labels.new_ones(4, 4)
    for entry in ((0, 1), (0, 2), (1, 0), (2, 0), (0, 3)):
        sign[entry] = -1
    return torch.cat((labels[:, :16] * sign.flatten(), labels[:, 16:]), 1)


def camera_of(labels: Tensor, image_size: int) -> PinholeCamera:
    """The one pinhole camera that all labels (B, 25) share.

    Raises:
        UserError: labels of several focal lengths, of oblong or skewed pixels, or whose optical
            axis is off the image's centre, which a `PinholeCamera` is not.
    """
    require_cameras(labels)
    own = labels[:, 16:].unflatten(1, (3, 3)).double()
    focal = own[:, 0, 0].mean().item()
    expected = own.new_tensor([[focal, 0.0, 0.5], [0.0, focal, 0.5], [0.0, 0.0, 1.0]])
    if (own - expected).abs().max() > TOLERANCE * max(1.0, focal):
        raise UserError(
            f"cameras: intrinsics {[round(x, 4) for x in own[0].flatten().tolist()]} and others, "
            "expected one focal length and the optical axis at the image's centre"
        )
    return PinholeCamera.from_focal(image_size, focal * image_size)


def require_cameras(labels: Tensor, batch: int | None = None) -> None:
    """Check labels before anything is rendered with them.

    Args:
        labels: what is given.
        batch: samples that they are for, if that is known.

    Raises:
        UserError: another shape, values that are not finite, a matrix that is no rotation, a focal
            length that is not positive.
    """
    if labels.ndim != 2 or labels.shape[1] != LABEL_DIM or batch not in (None, len(labels)):
        wanted = f"({'B' if batch is None else batch}, {LABEL_DIM})"
        raise UserError(f"cameras: {tuple(labels.shape)}, expected {wanted}")
    own = labels.detach().double()
    rotation = own[:, :16].unflatten(1, (4, 4))[:, :3, :3]
    identity = torch.eye(3, dtype=own.dtype, device=own.device)
    wrong = (
        ~own.isfinite().all(1)
        | ((rotation @ rotation.transpose(1, 2) - identity).abs().amax((1, 2)) > 0.01)
        | (torch.linalg.det(rotation) < 0)
        | (own[:, 16] <= 0)
        | (own[:, 20] <= 0)
    )
    if wrong.any():
        index = int(wrong.nonzero()[0])
        shown = [round(x, 3) for x in own[index].tolist()]
        raise UserError(
            f"cameras: number {index} is {shown}, expected a 4 x 4 cam2world with a rotation and "
            "3 x 3 intrinsics with positive focal lengths, all finite"
        )


def camera_labels(rotation: Tensor, position: Tensor, focal: float | Tensor) -> Tensor:
    """Labels (B, 25) of cameras with the optical axis at the image's centre.

    Args:
        rotation: (B, 3, 3), columns right, down and forward in world axes.
        position: (B, 3).
        focal: in units of the image side, one or (B,).
    """
    pose = torch.eye(4, dtype=position.dtype, device=position.device).repeat(len(position), 1, 1)
    pose[:, :3, :3] = rotation
    pose[:, :3, 3] = position
    own = position.new_tensor([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 1.0]])
    own = own.repeat(len(position), 1, 1)
    own[:, 0, 0] = own[:, 1, 1] = focal
    return torch.cat((pose.flatten(1), own.flatten(1)), 1)


def _rigid(view: View) -> tuple[Tensor, Tensor]:
    """Rotation (B, 3, 3) and shift (B, 3) of ``P' = R P + d``."""
    rotation = view.rotation_matrix()
    return rotation, view.transform(rotation.new_zeros(1, 1, 3))[:, 0]


def _half_turn(like: Tensor) -> Tensor:
    """World axes to the frontal camera's, and back: a half turn about x."""
    return torch.diag(like.new_tensor([1.0, -1.0, -1.0]))
