"""Fits of a Basel Face Model to and from the vectors of 257 numbers that its fitting tool stores.

80 of identity, 64 of expression, 80 of texture, 3 angles, 27 of light and 3 of translation, in this
order and in the tool's axes (ascust/3DMM-Fitting-Pytorch, ``core/BaseModel.py``). Lossless: weights
are the same, the tool's translation towards the camera is our scale.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gan3d_bench.faces.face_model import FaceModel
from gan3d_bench.faces.morphable_fit import FaceFit
from gan3d_bench.geometry.basel import NUM_ALBEDO, NUM_EXPRESSION, NUM_IDENTITY, BaselCamera
from gan3d_bench.rendering.shading import SphericalHarmonicsLight

PARTS = (NUM_IDENTITY + NUM_EXPRESSION, NUM_ALBEDO, 3, 27, 3)
"""Shape, texture, angles, light, translation."""
DISTANCE = BaselCamera.distance
TO_OURS = (-1.0, 1.0, -1.0)  # angles (x, y, z) of the tool to pitch, yaw, roll, see `View.from_bfm`


def to_bfm_vector(fit: FaceFit, space: FaceModel) -> Float[Tensor, "B 257"]:
    """The vectors of fits, for the camera of a focal length of as many pixels as the fit's own.

    Args:
        fit: of a Basel Face Model.
        space: of that model.

    Raises:
        ValueError: the space has not as many weights.
    """
    _require_basel(space)
    yaw, pitch, roll, x, y, scale = fit.pose.unbind(1)
    angles = torch.stack((pitch, yaw, roll), 1) * fit.pose.new_tensor(TO_OURS)
    # the face in decimetres, `depth` in front of the camera, looks as ours does at depth 1
    depth = 1 / (scale.exp() * space.unit)
    translation = torch.stack((x * depth, -y * depth, DISTANCE - depth), 1)
    gamma = fit.light - SphericalHarmonicsLight.from_gamma(fit.light.new_zeros(1, 27)).coefficients
    return torch.cat((fit.shape, fit.colour, angles, gamma.flatten(1), translation), 1)


def from_bfm_vector(vector: Float[Tensor, "B 257"], space: FaceModel) -> FaceFit:
    """Fits from vectors; their errors, which a vector does not hold, are NaN.

    Raises:
        ValueError: the space or the vectors have not as many numbers.
    """
    _require_basel(space)
    if vector.shape[1] != sum(PARTS):
        raise ValueError(f"vectors of {vector.shape[1]} numbers, expected {sum(PARTS)}")
    shape, colour, angles, gamma, translation = vector.split(PARTS, 1)
    pitch, yaw, roll = (angles * angles.new_tensor(TO_OURS)).unbind(1)
    x, y, z = translation.unbind(1)
    depth = DISTANCE - z
    scale = (1 / (depth * space.unit)).log()
    unknown = torch.full_like(depth, torch.nan)
    return FaceFit(
        torch.ones_like(depth, dtype=torch.bool),
        torch.stack((yaw, pitch, roll, x / depth, -y / depth, scale), 1),
        shape,
        colour,
        SphericalHarmonicsLight.from_gamma(gamma).coefficients,
        unknown,
        unknown,
    )


def _require_basel(space: FaceModel) -> None:
    if (space.num_shape, space.num_colour) != PARTS[:2]:
        raise ValueError(
            f"{space.num_shape} weights of shape and {space.num_colour} of colour, expected "
            f"{PARTS[0]} and {PARTS[1]} of a Basel Face Model"
        )
