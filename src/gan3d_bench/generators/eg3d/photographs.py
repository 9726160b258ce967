"""Photographs as EG3D takes them: the crop, and the camera as 25 numbers.

Source: dataset_preprocessing of NVlabs/eg3d. There five points of a standard face give the crop and
Deep3DFaceRecon the pose; here both come from a fit of a morphable model. What is theirs: the size
and place of the head in the crop, and what its pose says of the camera.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gan3d_bench.faces.face_model import FaceModel
from gan3d_bench.faces.ffhq import cut, outside_share
from gan3d_bench.faces.landmark_fit import place, pose_view
from gan3d_bench.faces.landmark_sources import LandmarkSource
from gan3d_bench.faces.morphable_fit import FaceFit, FitConfig, MorphableFit, open_space
from gan3d_bench.generators.eg3d.cameras import CameraOrbit, camera_labels
from gan3d_bench.geometry.morphable_model import HEADS_ASSET, SCENE_UNITS_PER_DECIMETRE

SIDES_PER_DECIMETRE = 300 / 700
"""A decimetre of the head is 300 pixels of a picture of which the middle 700 are kept."""
WORLD_PER_DECIMETRE = 0.27
FACE_ORIGIN = (0.0, 0.006, 0.161)
"""Where the Basel model's origin, the mean of its front face, lies in EG3D's world."""
WINDOW = 3.0  # side of the square in which the crop is looked for, in faces


@dataclass(frozen=True)
class PhotographCamera:
    """One face, cut out of its photograph as EG3D's training pictures are.

    Attributes:
        image: (3, S, S) RGB in [-1, 1].
        label: (25,) see `generators.eg3d.cameras`.
        matrix: (2, 3) similarity from the photograph's pixels to those of `image`.
        landmark_error: of the fit, root mean square, pixels of 256.
        invented: share of `image` that lies outside of the photograph.
    """

    image: Tensor
    label: Tensor
    matrix: Tensor
    landmark_error: float
    invented: float


class PhotographCameras:
    """Finds the largest face of a photograph, its crop and its camera.

    Args:
        model: None is the bundled head model; a path is that of a Basel Face Model.
        source: of the landmarks, see `MorphableFit`.
        orbit: gives the cameras' focal length and distance.
        device: where to compute.

    Raises:
        UserError: an asset or the model is missing or damaged.
    """

    def __init__(
        self,
        model: str | None = None,
        source: LandmarkSource | None = None,
        orbit: CameraOrbit | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.orbit = orbit or CameraOrbit()
        fov = math.degrees(2 * math.atan(0.5 / self.orbit.focal))
        space = open_space(model)
        self.fit = MorphableFit(space, FitConfig(fov=fov), source=source, device=device)
        self.origin, self.decimetre = face_origin(space).to(device), decimetre(space)

    @torch.no_grad()
    def __call__(
        self, photograph: Float[Tensor, "3 H W"], size: int = 512
    ) -> PhotographCamera | None:
        """Of a photograph in [-1, 1], with a crop of `size` pixels; None without a face."""
        photograph = photograph.to(self.origin)
        points, found = self.fit.source(photograph[None])
        if not found:
            return None
        matrix = self.frame(points[0], size)
        image = cut(photograph.cpu(), matrix.cpu(), size)
        fit = self.fit(image[None])
        if not fit.found:
            return None
        return PhotographCamera(
            image,
            self.labels(fit)[0].cpu(),
            matrix.cpu(),
            float(fit.landmark_error),
            outside_share(matrix.cpu(), size, photograph.shape[-1], photograph.shape[-2]),
        )

    def frame(self, points: Float[Tensor, "L 2"], size: int) -> Float[Tensor, "2 3"]:
        """The similarity from a photograph's pixels to those of the crop; it does not turn.

        Args:
            points: landmarks, pixels of the photograph.
            size: pixels a side of the crop.
        """
        low, high = points.amin(0), points.amax(0)
        centre, focal = (low + high) / 2, WINDOW * (high - low).max() * self.orbit.focal
        state = self.fit.landmarks((points - centre)[None] / focal, self.fit.config.iterations)
        x, y, z = place(state[:, :6], self.origin[None, None])[0, 0]
        middle = centre + focal * torch.stack((x, y)) / z
        side = focal * state[0, 5].exp() * self.decimetre / z / SIDES_PER_DECIMETRE
        rate = size / side
        turn = rate * torch.eye(2, device=points.device)
        return torch.cat((turn, ((size - 1) / 2 - rate * middle)[:, None]), 1)

    def labels(self, fit: FaceFit) -> Float[Tensor, "B 25"]:
        """Cameras of fits of crops; NaN without a face.

        Distances cannot be told from one picture: as in EG3D's training data each camera is moved
        along its line to the world's origin until it is `radius` away.
        """
        rotation = pose_view(fit.pose).rotation_matrix()
        origin = place(fit.pose, self.origin.expand(len(fit), 1, 3))[:, 0]
        apart = (rotation.mT @ origin[..., None]).squeeze(-1)  # from the camera, head's axes
        apart = apart / (fit.scale * self.decimetre)[:, None]
        half_turn = origin.new_tensor([1.0, -1.0, -1.0])  # to x right, y up, z out of the face
        position = origin.new_tensor(FACE_ORIGIN) - WORLD_PER_DECIMETRE * half_turn * apart
        position = self.orbit.radius * F.normalize(position, dim=1)
        return camera_labels(half_turn[:, None] * rotation.mT, position, self.orbit.focal)


def face_origin(space: FaceModel) -> Float[Tensor, " 3"]:
    """The mean of the front face of the mean shape, model axes and units.

    It is the Basel model's own origin, and stands for it where the model is another.
    """
    if space.name != HEADS_ASSET:
        return torch.zeros_like(space.mean[0])
    return space.mean[space.faces[space.in_region].unique()].mean(0)


def decimetre(space: FaceModel) -> float:
    """Scene units that a decimetre is."""
    return SCENE_UNITS_PER_DECIMETRE if space.name == HEADS_ASSET else space.unit
