"""Batches of images: sizes, and the way to 8 bits and back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(images: Tensor, size: int) -> Tensor:
    """Images (B, C, H, W) to width `size`, the height in proportion: bilinear up, area down."""
    height, width = images.shape[-2:]
    if width == size:
        return images
    shape = (round(height * size / width), size)
    if size > width:
        return F.interpolate(images, shape, mode="bilinear", align_corners=False)
    return F.interpolate(images, shape, mode="area")


def central_rows(images: Tensor, rows: int) -> Tensor:
    """The middle `rows` rows of images (B, C, H, W), H - rows even and not negative."""
    margin = (images.shape[-2] - rows) // 2
    return images[..., margin : margin + rows, :]


def to_uint8(images: Tensor) -> Tensor:
    """Quantise images in [-1, 1] (float) to [0, 255] (uint8), to nearest; uint8 passes through."""
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise ValueError(f"images: expected float in [-1, 1] or uint8, got {images.dtype}")
    if not images.isfinite().all():
        raise ValueError("images: values are not finite")
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def from_uint8(images: Tensor) -> Tensor:
    """Inverse of `to_uint8`."""
    return images.float() / 127.5 - 1


def frame(images: Tensor, image_size: int, crop: int, original_size: int) -> Tensor:
    """Whole images (B, C, T, T) of a teacher to the frame that a method works in.

    Resized to the original size, centre-cropped, resized to `image_size`; without a crop
    resized at once.
    """
    if crop:
        margin = (original_size - crop) // 2
        images = resize(images, original_size)[..., margin : margin + crop, margin : margin + crop]
    return resize(images, image_size)
