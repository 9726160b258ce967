"""Bringing faces to ArcFace's template by five points: eyes, nose tip, mouth corners."""

from __future__ import annotations

import torch
from jaxtyping import Float
from kornia.geometry.transform import warp_affine
from torch import Tensor

TEMPLATE_SIZE = 112
TEMPLATE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""(x, y) in pixels of 112: eye, eye, nose tip, mouth corner, mouth corner; image-left ones first
(insightface, ``utils/face_align.py``)."""


def template(size: int = TEMPLATE_SIZE) -> Float[Tensor, "5 2"]:
    """Return the five points for aligned images of `size` pixels.

    Multiples of 128 have InsightFace's margin: scale size/128, then 8 * size/128 to the right.
    """
    points = torch.tensor(TEMPLATE)
    if size % 128 == 0:
        return (points + torch.tensor([8.0, 0.0])) * (size / 128)
    return points * (size / TEMPLATE_SIZE)


def similarity(
    source: Float[Tensor, "B N 2"], target: Float[Tensor, "B N 2"]
) -> Float[Tensor, "B 2 3"]:
    """Return the least-squares similarity (rotation, scale, translation) from `source` to `target`.

    With points as complex numbers about their means p, q the map is ``a p``, and the sum of
    ``|a p - q|^2`` is least at ``a = sum conj(p) q / sum |p|^2``: Umeyama 1991 in two dimensions,
    never a reflection. Differentiable. `source` and `target` broadcast over B.

    Returns:
        Matrices M with ``target = M[:, :2] @ source + M[:, 2]``; not finite where all source points
        coincide.
    """
    source, target = torch.broadcast_tensors(source, target)
    p_mean, q_mean = source.mean(1), target.mean(1)
    p, q = source - p_mean[:, None], target - q_mean[:, None]
    norm = p.square().sum((1, 2))
    real = (p * q).sum((1, 2)) / norm
    imaginary = (p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]).sum(1) / norm
    linear = torch.stack([real, -imaginary, imaginary, real], dim=1).view(-1, 2, 2)
    shift = q_mean[..., None] - linear @ p_mean[..., None]
    return torch.cat([linear, shift], dim=2)


def warp(
    images: Float[Tensor, "B 3 H W"], matrices: Float[Tensor, "B 2 3"], size: int
) -> Float[Tensor, "B 3 S S"]:
    """Return images in [-1, 1] moved by `matrices` (pixels to pixels), bilinear, black outside.

    Raises:
        ValueError: the numbers of images and matrices differ.
    """
    if len(images) != len(matrices):
        raise ValueError(f"{len(images)} images, but {len(matrices)} matrices")
    # kornia's border is 0; black is -1
    return warp_affine(images.float() + 1, matrices, (size, size), align_corners=True) - 1


def align(
    images: Float[Tensor, "B 3 H W"],
    points: Float[Tensor, "B 5 2"],
    size: int = TEMPLATE_SIZE,
) -> Float[Tensor, "B 3 S S"]:
    """Return faces aligned to the template by their five points, as InsightFace does.

    Differentiable in images and points. Sampling is bilinear without a filter: shrink images in
    which the face is more than twice as large as in the result beforehand.

    Args:
        images: RGB in [-1, 1].
        points: pixels (x, y) in the template's order; (1, 5, 2) serves all images.
        size: of the result, pixels a side.
    """
    points = points.to(images.device, torch.float32).expand(len(images), -1, -1)
    return warp(images, similarity(points, template(size).to(images.device)[None]), size)
