"""Weak priors of canonical depth: an ellipsoid over the object's mask, and variants of it.

GAN2Shape's (Table 2): a spherical cap of radius 0.4, stretched in the image plane (released
gan2shape/model.py). A network is regressed onto it once, before training; it plays no role
afterwards.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

SHAPES = ("ellipsoid", "asymmetric", "shift-6", "shift-4", "weak", "flat")
CATEGORIES = ("face", "synface", "cat", "car", "church", "other")

RADIUS = 0.4
FOREGROUND = 0.7
# A network's output is centred about this depth, the only constant it can give.
FLAT_DEPTH = 1.0


class Extent(NamedTuple):
    """First and last pixel of the object along each axis, inclusive; fractions are allowed."""

    top: float
    bottom: float
    left: float
    right: float


def mask_extent(mask: Tensor, category: str = "other") -> Extent:
    """Extent of the foreground (>= 0.7) of a mask (H, W), adjusted to the category.

    Faces reach the lower image edge and lose a twelfth of their width on either side (the masks
    include hair and neck); synthetic faces gain a sixth above; cars and churches a sixth below.
    An empty mask counts as full.
    """
    foreground = mask >= FOREGROUND
    if not foreground.any():
        foreground = torch.ones_like(foreground)
    rows = foreground.any(1).nonzero().flatten()
    columns = foreground.any(0).nonzero().flatten()
    top, bottom = float(rows[0]), float(rows[-1])
    left, right = float(columns[0]), float(columns[-1])
    height, width = bottom - top, right - left
    if category == "synface":
        top -= height / 6
    elif category == "face":
        bottom = mask.shape[0] - 1.0
        left, right = left + width / 12, right - width / 12
    elif category in ("car", "church"):
        bottom += height / 6
    return Extent(top, bottom, left, right)


def prior_depth(
    extent: Extent, image_size: int, near: float, far: float, shape: str = "ellipsoid"
) -> Tensor:
    """Depth map of a prior.

    Args:
        extent: object extent in pixels.
        image_size: S.
        near, far: depth at the centre and on the rim and beyond, scene units.
        shape: ``ellipsoid``; ``asymmetric``, a sphere on the right half; ``shift-6`` and
            ``shift-4``, moved right by a sixth and a quarter of the image; ``weak``, half the
            height; ``flat``, a plane (paper, Table 2).

    Returns:
        (S, S), scene units.
    """
    if shape == "flat":
        return torch.full((image_size, image_size), FLAT_DEPTH)
    if shape == "weak":
        near = far - (far - near) / 2
    radius = (extent.right - extent.left) / 2
    aspect = (extent.bottom - extent.top) / (extent.right - extent.left)
    centre_x = (extent.left + extent.right) / 2
    if shape in ("shift-6", "shift-4"):
        centre_x += image_size / (6 if shape == "shift-6" else 4)
    centre_y = (extent.top + extent.bottom) / 2
    pixel = torch.arange(image_size, dtype=torch.float32)
    middle = image_size / 2
    # Rows are rescaled about the image's middle, yet compared with the unscaled centre: the
    # released ellipsoid sits at middle + aspect * (centre_y - middle).
    row = ((pixel - middle) / aspect + middle - centre_y)[:, None]
    column = (pixel - centre_x)[None]
    distance = (row**2 + column**2).sqrt()
    if shape == "asymmetric":
        true_centre = middle + aspect * (centre_y - middle)
        circle = ((pixel - true_centre)[:, None] ** 2 + column**2).sqrt()
        distance = torch.where(column > 0, circle, distance)
    reach = math.sqrt(RADIUS**2 - (RADIUS - (far - near)) ** 2)
    cap = near + RADIUS - (RADIUS**2 - (distance * reach / radius) ** 2).abs().sqrt()
    return torch.where(distance <= radius, cap, torch.full_like(cap, far))
