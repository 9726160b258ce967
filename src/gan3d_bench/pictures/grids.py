"""Tensors as pictures: colours for depth and normals, labelled grids, 16-bit depth files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from torch import Tensor
from torchvision.utils import make_grid

from gan3d_bench.errors import UserError
from gan3d_bench.files.atomic import atomic_write
from gan3d_bench.files.photographs import read_depth_map
from gan3d_bench.rendering.rendering import Rendering

# 17 evenly spaced colours of matplotlib's magma (CC0), dark to light
_MAGMA = (
    "000004 0a0822 1d1147 36106b 51127c 6a1c81 832681 9c2e7f b73779 d0416f e75263 f56b5c fc8961 "
    "fea772 fec488 fde2a3 fcfdbf"
)
_INK = (40, 40, 40)
_DEPTH_LEVELS = 65534  # 1 .. 65535; 0 means no surface
# a seventh of the time that Pillow's `optimize` takes, for files larger by 4 %
_COMPRESSION = 4


@dataclass(frozen=True)
class Column:
    """A column of a labelled grid: pictures (B, 3, h, w) in [0, 1], one a row."""

    label: str
    pictures: Tensor


def unit_range(images: Tensor) -> Tensor:
    """Images in [-1, 1] to [0, 1], clamped, float32 on the CPU."""
    return ((images.detach().float().cpu() + 1) / 2).clamp(0, 1)


def on_white(pictures: Tensor, mask: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1] with white where mask (B, 1, H, W) is 0."""
    return 1 - (1 - pictures) * mask.detach().float().cpu().clamp(0, 1)


def colour_on_white(rendering: Rendering) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1], white around subjects that have no background."""
    return unit_range(rendering.over(1.0))


def depth_colours(depth: Tensor, mask: Tensor) -> Tensor:
    """Depth (B, 1, H, W) as colours (B, 3, H, W) in [0, 1]: near is light, far is dark.

    The range of colours spans the 1st to the 99th percentile of each subject.
    """
    depth, mask = depth.detach().float().cpu(), mask.detach().cpu() > 0.5
    nearness = torch.zeros_like(depth)
    for i in range(len(depth)):
        seen = depth[i][mask[i]]
        if len(seen):
            near, far = np.percentile(seen.numpy(), (1, 99))
            nearness[i] = ((far - depth[i]) / max(far - near, 1e-6)).clamp(0, 1)
    return _magma(nearness.squeeze(1))


def normal_colours(normal: Tensor) -> Tensor:
    """Normals (B, 3, H, W) in camera space as colours: red right, green up, blue to the viewer."""
    axes = torch.tensor([1.0, -1.0, -1.0]).view(3, 1, 1)
    flipped = normal.detach().float().cpu() * axes
    return ((flipped + 1) / 2).clamp(0, 1)


def shape_picture(normal: Tensor) -> Tensor:
    """The bare shape in plaster: normals (B, 3, H, W) lit from the upper left, (B, 3, H, W)."""
    towards_light = F.normalize(torch.tensor([-0.5, -0.6, -1.0]), dim=0).view(3, 1, 1)
    cosine = (normal.detach().float().cpu() * towards_light).sum(1, keepdim=True)
    # half-Lambert: shape stays legible on the side away from the light
    return (0.08 + 0.84 * ((cosine + 1) / 2).clamp(0, 1) ** 1.7).expand(-1, 3, -1, -1)


def resized(pictures: Tensor, width: int) -> Tensor:
    """Pictures (B, 3, H, W) scaled to a width, smoothly."""
    height = round(pictures.shape[2] * width / pictures.shape[3])
    if pictures.shape[2:] == (height, width):
        return pictures
    options = {"mode": "bicubic", "antialias": True, "align_corners": False}
    return F.interpolate(pictures, size=(height, width), **options).clamp(0, 1)


def image_grid(images: Tensor, *, tile: int = 128, most: int = 64) -> Image.Image:
    """Images (N, 3, H, W) in [-1, 1] as a nearly square grid, at most `most` of them."""
    images = images[:most]
    pictures = unit_range(images)
    if pictures.shape[3] < tile:
        pictures = resized(pictures, tile)
    columns = math.ceil(math.sqrt(len(pictures)))
    return to_image(make_grid(pictures, nrow=columns, padding=4, pad_value=1.0))


def labelled_grid(
    groups: Sequence[Sequence[Column]], *, tile: int = 128, names: Sequence[str] = ()
) -> Image.Image:
    """Columns under their labels, groups of columns set apart, one row a subject.

    Args:
        groups: groups of columns that all have the same number of pictures; empty groups are
            left out.
        tile: width of a picture in pixels.
        names: written to the left of the rows; none, or one for each.
    """
    groups = [group for group in groups if group]
    gutter, gap, margin = max(2, tile // 32), max(6, tile // 8), max(6, tile // 8)
    font = ImageFont.load_default(tile / 8)
    widest = max(font.getlength(column.label) for group in groups for column in group)
    if widest > tile:
        font = ImageFont.load_default(tile / 8 * tile / widest)
    header = tile // 8 + gap // 2
    scaled = [[resized(column.pictures, tile) for column in group] for group in groups]
    row = max(pictures.shape[2] for group in scaled for pictures in group)
    rows = len(scaled[0][0])
    columns = sum(len(group) for group in groups)
    side = round(max((font.getlength(name) + gap for name in names), default=0))
    width = side + columns * tile + (columns - len(groups)) * gutter + (len(groups) - 1) * gap
    height = header + rows * row + (rows - 1) * gutter
    canvas = Image.new("RGB", (width + 2 * margin, height + 2 * margin), "white")
    draw = ImageDraw.Draw(canvas)
    for i, name in enumerate(names):
        y = margin + header + i * (row + gutter) + row // 2
        draw.text((margin, y), name, _INK, font, anchor="lm")
    x = margin + side
    for group, tensors in zip(groups, scaled, strict=True):
        for column, pictures in zip(group, tensors, strict=True):
            draw.text((x + tile // 2, margin), column.label, _INK, font, anchor="mt")
            for i, picture in enumerate(pictures):
                canvas.paste(to_image(picture), (x, margin + header + i * (row + gutter)))
            x += tile + gutter
        x += gap - gutter
    return canvas


def to_image(picture: Tensor) -> Image.Image:
    """A picture (3, H, W) in [0, 1] for PIL."""
    pixels = (picture * 255).round().clamp(0, 255).byte().permute(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(pixels.cpu().numpy()))


def save_png(image: Image.Image, path: Path, text: dict[str, str] | None = None) -> Path:
    """Write a PNG whole or not at all, with text chunks."""
    info = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        info.add_text(key, value)
    with atomic_write(path) as temporary:
        image.save(temporary, pnginfo=info, compress_level=_COMPRESSION)
    return path


def save_depth(depth: Tensor, mask: Tensor, path: Path) -> Path:
    """Write one depth map as a 16-bit PNG that `load_depth` reads back.

    Level 0 is no surface; 1 to 65535 go evenly from `near` to `far`, which the file has as text.

    Args:
        depth: (1, H, W), scene units.
        mask: (1, H, W); there is a surface above 0.5.
    """
    values = depth.detach().cpu().double().numpy()[0]
    seen = mask.detach().cpu().numpy()[0] > 0.5
    near, far = (values[seen].min(), values[seen].max()) if seen.any() else (0.0, 0.0)
    levels = 1 + np.round((values - near) / max(far - near, 1e-12) * _DEPTH_LEVELS)
    pixels = np.where(seen, levels, 0).astype(np.uint16)
    return save_png(
        Image.fromarray(pixels), path, {"near": repr(float(near)), "far": repr(float(far))}
    )


def load_depth(path: Path) -> tuple[Tensor, Tensor]:
    """Read a file of `save_depth`: depth (1, H, W), 0 without surface, and mask (1, H, W).

    Raises:
        UserError: not such a file.
    """
    try:
        image = read_depth_map(path)
        near, far = float(image.info["near"]), float(image.info["far"])
    except (UserError, KeyError, ValueError) as error:
        raise UserError(f"{path}: expected a 16-bit depth map written by gan3d-bench") from error
    levels = (np.asarray(image, dtype=np.float64) * 257).round()[None]
    mask = levels > 0
    depth = np.where(mask, near + (levels - 1) / _DEPTH_LEVELS * (far - near), 0.0)
    return torch.from_numpy(depth).float(), torch.from_numpy(mask).float()


def _magma(values: Tensor) -> Tensor:
    """Values (B, H, W) in [0, 1] to colours (B, 3, H, W)."""
    table = torch.tensor([tuple(bytes.fromhex(colour)) for colour in _MAGMA.split()]) / 255
    position = values * (len(table) - 1)
    low = position.long().clamp(max=len(table) - 2)
    colours = torch.lerp(table[low], table[low + 1], (position - low)[..., None])
    return colours.permute(0, 3, 1, 2)
