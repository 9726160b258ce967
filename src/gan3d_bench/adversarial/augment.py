"""Adaptive discriminator augmentation (Karras et al. 2020, arXiv:2006.06676), pipeline ``bgc``.

Pixel blitting, general geometry and colour, each transformation drawn with probability p for each
image. Geometry is one affine warp through kornia, bilinear with reflection at the border; the
official wavelet filters around it are left out. Geometry moves all channels alike, whatever they
are. Colour is for RGB: channels count as RGB triples, tinted alike, where their number is a
multiple of three; other images (masks, depth) are only moved.
"""

from __future__ import annotations

import math

import kornia.geometry as KG
import torch
from torch import Tensor

_LUMA = torch.full((3,), 1 / math.sqrt(3))


def draw(batch: int, p: float, size: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw the transformations of a batch.

    Args:
        batch: B.
        p: probability of each transformation, in [0, 1].
        size: S, side of the images.
        rng: on the CPU.

    Returns:
        geometry (B, 3, 3) and colour (B, 4, 4), float32, for `apply`.
    """
    # coordinates in bfloat16 would be off by whole pixels
    with torch.autocast("cpu", enabled=False):
        return geometry(batch, p, size, rng), colour(batch, p, rng)


def apply(images: Tensor, warp: Tensor, tint: Tensor) -> Tensor:
    """Transform each image; differentiable in `images`.

    Args:
        images: (B, C, S, S). RGB in [-1, 1] where C is a multiple of three: one triple, or several
            that show the same (an image and its low-resolution copy, resized), tinted alike.
            With any other C there is no colour to change, and images are only moved.
        warp: (B, 3, 3) from `geometry`, of the same S.
        tint: (B, 4, 4) from `colour`.

    Returns:
        (B, C, S, S), float32.
    """
    images = images.float()
    size = images.shape[-1]
    warp, tint = warp.to(images.device), tint.to(images.device)
    with torch.autocast(images.device.type, enabled=False):
        warped = KG.warp_affine(
            images, warp[:, :2], (size, size), padding_mode="reflection", align_corners=True
        )
        # images that drew no geometry stay as they are to the bit
        still = (warp == torch.eye(3, device=warp.device)).all(2).all(1)[:, None, None, None]
        images = torch.where(still, images, warped)
        if images.shape[1] % 3:
            return images
        tint = tint.repeat_interleave(images.shape[1] // 3, 0)
        triples = images.reshape(-1, 3, size, size)
        turned = torch.einsum("bij,bjhw->bihw", tint[:, :3, :3], triples)
        return (turned + tint[:, :3, 3, None, None]).reshape(images.shape)


def resized(warp: Tensor, size: int, other: int) -> Tensor:
    """Return the geometry (B, 3, 3) of images of side `size` for such of side `other`."""
    if other == size:
        return warp
    # pixel centres: x of the one is (x + 1/2) other / size - 1/2 of the other
    scale = other / size
    forth = torch.tensor(
        [[scale, 0.0, scale / 2 - 0.5], [0.0, scale, scale / 2 - 0.5], [0.0, 0.0, 1.0]]
    ).to(warp)
    with torch.autocast(warp.device.type, enabled=False):
        return forth @ warp @ torch.linalg.inv(forth)


def geometry(batch: int, p: float, size: int, rng: torch.Generator) -> Tensor:
    """Draw affine maps of pixel coordinates (x, y, 1), source to destination, (B, 3, 3)."""

    def gate(probability: float = p) -> Tensor:
        return (torch.rand(batch, generator=rng) < probability).float()

    def uniform() -> Tensor:
        return torch.rand(batch, generator=rng)

    def normal() -> Tensor:
        return torch.randn(batch, generator=rng)

    ones = torch.ones(batch)
    # rotation happens before or after anisotropic scaling, together with probability p
    either = 1 - math.sqrt(1 - p)
    flip = 1 - 2 * gate() * (uniform() < 0.5)
    quarter = gate() * torch.floor(4 * uniform()) * (math.pi / 2)
    shifted = gate()
    shift_x, shift_y = (shifted * torch.round((2 * uniform() - 1) * 0.125 * size) for _ in range(2))
    scale = 2 ** (gate() * normal() * 0.2)
    before = gate(either) * (2 * uniform() - 1) * math.pi
    stretch = 2 ** (gate() * normal() * 0.2)
    after = gate(either) * (2 * uniform() - 1) * math.pi
    moved = gate()
    float_x, float_y = (moved * normal() * 0.125 * size for _ in range(2))

    centre = (size - 1) / 2
    return (
        _translate(centre + float_x, centre + float_y)
        @ _rotate(after)
        @ _scale(stretch, 1 / stretch)
        @ _rotate(before)
        @ _scale(scale, scale)
        @ _translate(shift_x, shift_y)
        @ _rotate(quarter)
        @ _scale(flip, ones)
        @ _translate(-centre * ones, -centre * ones)
    )


def colour(batch: int, p: float, rng: torch.Generator) -> Tensor:
    """Draw affine maps of RGB in [-1, 1], homogeneous, (B, 4, 4)."""

    def gate() -> Tensor:
        return (torch.rand(batch, generator=rng) < p).float()

    def normal() -> Tensor:
        return torch.randn(batch, generator=rng)

    def uniform() -> Tensor:
        return torch.rand(batch, generator=rng)

    eye = torch.eye(4).expand(batch, 4, 4)
    projector = torch.zeros(4, 4)
    projector[:3, :3] = torch.outer(_LUMA, _LUMA)
    rgb = torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0]))

    brightness = torch.eye(4).repeat(batch, 1, 1)
    brightness[:, :3, 3] = (gate() * normal() * 0.2)[:, None]
    factor = 2 ** (gate() * normal() * 0.5)
    contrast = torch.diag_embed(torch.cat([factor[:, None].expand(-1, 3), torch.ones(batch, 1)], 1))
    mirrored = gate() * (uniform() < 0.5)
    luma_flip = eye - 2 * mirrored[:, None, None] * projector
    hue = KG.axis_angle_to_rotation_matrix(
        (gate() * (2 * uniform() - 1) * math.pi)[:, None] * _LUMA
    )
    turn = torch.eye(4).repeat(batch, 1, 1)
    turn[:, :3, :3] = hue
    strength = 2 ** (gate() * normal())
    saturation = eye + (strength - 1)[:, None, None] * (rgb - projector)
    return saturation @ turn @ luma_flip @ contrast @ brightness


def adapt(p: float, mean_sign: float, images: int, target: float, speed_kimg: float) -> float:
    """Return p after `images` more images: up when the discriminator is too sure, else down.

    Args:
        p: present probability.
        mean_sign: mean sign of D(real) since the last call.
        images: images seen since then.
        target: mean sign aimed at (0.6).
        speed_kimg: thousand images for p to move by 1.
    """
    direction = math.copysign(1.0, mean_sign - target) if mean_sign != target else 0.0
    return max(0.0, p + direction * images / (1000 * speed_kimg))


def _translate(x: Tensor, y: Tensor) -> Tensor:
    matrix = torch.eye(3).repeat(len(x), 1, 1)
    matrix[:, 0, 2], matrix[:, 1, 2] = x, y
    return matrix


def _scale(x: Tensor, y: Tensor) -> Tensor:
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], 1))


def _rotate(angle: Tensor) -> Tensor:
    matrix = torch.eye(3).repeat(len(angle), 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
    matrix[:, 0, 1], matrix[:, 1, 0] = -angle.sin(), angle.sin()
    return matrix
