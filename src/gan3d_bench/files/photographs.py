"""Reading one picture that somebody else made: within limits, upright, opaque, in sRGB.

What the camera or the editor meant is what comes out: EXIF's orientation is applied, an embedded
colour profile is converted to sRGB, transparent parts lie on white, 16 bits are rounded to 8. Only
the formats below are tried: no decoder that runs a program (EPS) or that nobody needs is reached.
"""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from gan3d_bench.errors import UserError
from gan3d_bench.regular_files import read_regular

if TYPE_CHECKING:
    from torch import Tensor

MAX_BYTES = 256 * 2**20
"""Of one picture's file."""
MAX_PIXELS = 64_000_000
"""Of one picture; decoded it takes three bytes a pixel, as a float tensor twelve."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "AVIF", "PPM", "GIF")
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".ppm", ".pgm", ".gif",
    ".jfif", ".jpe", ".heic", ".heif",
)  # fmt: skip
"""What counts as a picture in a folder. HEIC is not decoded, but said to be there."""
HEAD = 16
"""Bytes at the start of a file that `is_picture` looks at."""
_STARTS = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|II\*\0|MM\0\*|RIFF....WEBP|BM....\0\0\0\0"
    rb"|....ftyp(?:avi[fs]|hei[cxms]|hevc|mif1|msf1)|P[56]\s\d",
    re.DOTALL,
)
KINDS = "a PNG, JPEG, WebP, BMP, TIFF, AVIF, PPM or GIF file"

WHITE = 255
_SRGB = ImageCms.createProfile("sRGB")
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation -> what undoes it."""
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


def read_photograph(path: str | Path) -> Float[Tensor, "3 H W"]:
    """Return a photograph, RGB in [-1, 1]; see `read_picture`."""
    return to_tensor(read_picture(path))


def read_picture(path: str | Path, *, background: int = WHITE) -> Image.Image:
    """Return a local picture as RGB of 8 bits, upright.

    Args:
        path: of the file; links are followed.
        background: grey level, 0 to 255, behind transparent parts.

    Raises:
        UserError: missing, not a regular file, damaged, of another kind, or over `MAX_BYTES` or
            `MAX_PIXELS`.
    """
    return decode(read_bytes(path), str(path), background=background)


def read_depth_map(path: str | Path) -> Image.Image:
    """Return a local depth map: numbers, not colours, of which the first channel counts.

    Upright, as the image it belongs to; colour profile and transparency say nothing of depth.

    Returns:
        of mode L (8 bits) or F (16 bits, their fractions kept), both 0 to 255; with the texts that
        the file has in `info`.

    Raises:
        UserError: as `read_picture`.
    """
    return _decode(read_bytes(path), str(path), _depth_levels)


def is_picture(start: bytes) -> bool:
    """Whether a file that begins so is of a kind that is read, or HEIC, whatever its name."""
    return bool(_STARTS.match(start))


def read_bytes(path: str | Path) -> bytes:
    """Return what is in a picture's file.

    Raises:
        UserError: missing, not a regular file, unreadable, or over `MAX_BYTES`.
    """
    try:
        check_bytes(os.stat(path).st_size, str(path))
        return read_regular(path, MAX_BYTES)
    except FileNotFoundError:
        raise UserError(f"{str(path)!r}: no such image; expected {KINDS}") from None
    except (OSError, ValueError) as error:  # names with a null byte are ValueErrors
        raise UserError(f"{str(path)!r} is not a readable image; expected {KINDS}") from error


def check_bytes(size: int, name: str) -> None:
    """Refuse a file of more than `MAX_BYTES`. Raises UserError."""
    if size > MAX_BYTES:
        raise UserError(f"{name!r}: {size} bytes; expected at most {MAX_BYTES} bytes")


def decode(data: bytes, name: str, *, background: int = WHITE) -> Image.Image:
    """Return a picture as RGB of 8 bits, upright: of an animation or a multi-page file the first.

    Args:
        data: the file's contents.
        name: what errors call it.
        background: grey level, 0 to 255, behind transparent parts.

    Raises:
        UserError: damaged, cut short, of another kind, or over `MAX_PIXELS`.
    """
    return _decode(data, name, lambda image, name: _opaque(_eight_bits(image, name), background))


def _decode(data: bytes, name: str, take: Callable[[Image.Image, str], Image.Image]) -> Image.Image:
    """Open within the limits, take the pixels, turn them upright."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limit, and remarks on metadata
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_pixels(image.size, name)
                image.load()
                return _upright(take(image, name), image)
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(
            f"{name!r}: more than {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels; expected at most "
            f"{MAX_PIXELS} pixels"
        ) from None
    except Exception as error:  # a foreign file may fail in any way
        raise UserError(f"{name!r} {_complaint(data, error)}; expected {KINDS}") from error


def to_tensor(picture: Image.Image) -> Float[Tensor, "3 H W"]:
    """Return an RGB picture of 8 bits as a tensor in [-1, 1]."""
    import torch  # here: who only reads pictures, such as the report, needs none

    values = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
    return values.float().div_(127.5).sub_(1)  # in place: a photograph fills half a gigabyte


def centre(picture: Image.Image) -> Image.Image:
    """Return the largest centred square."""
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def square(picture: Image.Image, size: int) -> Image.Image:
    """Return the largest centred square, resized to `size` pixels a side by antialiased Lanczos."""
    return centre(picture).resize((size, size), Image.Resampling.LANCZOS)


def _check_pixels(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise UserError(f"{name!r}: {width}x{height} pixels; expected at most {MAX_PIXELS} pixels")


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Grey of 16 bits as 8, which Pillow's own conversion would cut off at 255."""
    if not image.mode.startswith(("I", "F")):
        return image
    return Image.fromarray(np.round(_sixteen_bits(image, name) / 257).astype(np.uint8))


def _sixteen_bits(image: Image.Image, name: str) -> np.ndarray:
    values = np.asarray(image)
    # mode I has 32 bits, but only files of 16 bits are opened in it
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise UserError(f"{name!r}: pixels of 32 bits; expected 8 or 16 bits")
    return values


def _depth_levels(image: Image.Image, name: str) -> Image.Image:
    """The first channel; 16 bits are brought to 0 to 255 without rounding."""
    if image.mode.startswith(("I", "F")):
        levels = Image.fromarray((_sixteen_bits(image, name) / 257).astype(np.float32))
    else:
        # a palette and one bit stand for colours and for black and white
        coded = image.mode in ("P", "1", "CMYK", "YCbCr")
        levels = (image.convert("RGB") if coded else image).getchannel(0)
    levels.info.update(image.info)
    return levels


def _opaque(image: Image.Image, background: int) -> Image.Image:
    """RGB in sRGB, transparent parts over `background`."""
    profile = image.info.get("icc_profile")
    if not image.has_transparency_data:
        return _srgb(image.convert("RGB") if image.mode == "P" else image, profile)
    image = image.convert("RGBA")
    below = Image.new("RGBA", image.size, (background, background, background, 255))
    # the mixture is made of sRGB values, as viewers do
    colours = _srgb(image.convert("RGB"), profile)
    colours.putalpha(image.getchannel("A"))
    return Image.alpha_composite(below, colours).convert("RGB")


def _srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB of an opaque image, by its colour profile if that can be used."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "sRGB" not in ImageCms.getProfileDescription(source):
                converted = ImageCms.profileToProfile(image, source, _SRGB, outputMode="RGB")
                assert converted is not None  # None is for conversion in place
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # damaged, or of another kind of pixels: viewers ignore it too
    return image.convert("RGB")


def _upright(picture: Image.Image, original: Image.Image) -> Image.Image:
    try:
        orientation = original.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF fails in many ways, and the pixels are good
        orientation = None
    return picture.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else picture


def _complaint(data: bytes, error: Exception) -> str:
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
        return "is a HEIC image: convert it"
    if isinstance(error, UnidentifiedImageError):
        return "is not a readable image"
    return "is not a readable image (damaged or cut short)"
