"""One picture, whatever it is: orientations, kinds of pixels, limits, damage."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from gan3d_bench.errors import UserError
from gan3d_bench.files import photographs
from gan3d_bench.files.photographs import (
    decode,
    read_depth_map,
    read_photograph,
    read_picture,
    square,
    to_tensor,
)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(data: bytes, **options: int) -> np.ndarray:
    return np.asarray(decode(data, "x", **options)).astype(int)


def gradient(width: int = 12, height: int = 8) -> Image.Image:
    """No two pixels alike: no orientation goes unnoticed."""
    values = np.arange(width * height * 3).reshape(height, width, 3) * 255 // (width * height * 3)
    return Image.fromarray(values.astype(np.uint8))


def png(header: bytes, body: bytes) -> bytes:
    """A PNG of one header and one data chunk."""
    chunks = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def stored(picture: np.ndarray, orientation: int) -> np.ndarray:
    """How EXIF (2.3, tag 274) says that a picture is stored: which way row 0 and column 0 lie."""
    rows_first = picture if orientation <= 4 else picture.swapaxes(0, 1)
    # row 0 is the picture's bottom or right side, column 0 its right side or bottom
    row = -1 if orientation in (3, 4, 6, 7) else 1
    column = -1 if orientation in (2, 3, 7, 8) else 1
    return rows_first[::row, ::column]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_becomes_upright(orientation, kind):
    upright = np.kron(np.asarray(gradient(4, 2)), np.ones((16, 16, 1), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if kind != "PNG" else {}
    image = Image.fromarray(np.ascontiguousarray(stored(upright, orientation)))
    found = pixels(encoded(image, kind, exif=exif.tobytes(), **options))
    assert found.shape == upright.shape
    assert np.abs(found - upright).mean() < 6  # the JPEG's blocks; a wrong turn gives 40 and more


@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0garbage", b"\0"])
def test_damaged_exif_turns_nothing(exif):
    image = gradient(16, 8)
    np.testing.assert_array_equal(pixels(encoded(image, exif=exif)), np.asarray(image))


def test_unknown_orientations_turn_nothing():
    exif = Image.Exif()
    exif[0x0112] = 9
    image = gradient()
    np.testing.assert_array_equal(pixels(encoded(image, exif=exif.tobytes())), np.asarray(image))


def test_transparent_parts_lie_on_white_or_on_what_is_asked_for():
    values = np.zeros((1, 3, 4), np.uint8)
    values[0, :, 0], values[0, :, 3] = 200, (0, 51, 255)
    data = encoded(Image.fromarray(values))
    np.testing.assert_array_equal(pixels(data)[0], [[255, 255, 255], [244, 204, 204], [200, 0, 0]])
    np.testing.assert_array_equal(
        pixels(data, background=0)[0], [[0, 0, 0], [40, 0, 0], [200, 0, 0]]
    )
    grey = encoded(Image.fromarray(np.array([[[90, 255], [90, 0]]], np.uint8), "LA"))
    np.testing.assert_array_equal(pixels(grey)[0], [[90] * 3, [255] * 3])


def test_palettes():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    np.testing.assert_array_equal(pixels(encoded(image))[0], [[10, 20, 30], [200, 100, 50]])
    np.testing.assert_array_equal(
        pixels(encoded(image, transparency=0))[0], [[255] * 3, [200, 100, 50]]
    )
    np.testing.assert_array_equal(pixels(encoded(image, "GIF"))[0], [[10, 20, 30], [200, 100, 50]])


def test_grey_and_bilevel():
    np.testing.assert_array_equal(pixels(encoded(Image.new("L", (1, 1), 77)))[0, 0], [77] * 3)
    np.testing.assert_array_equal(pixels(encoded(Image.new("1", (1, 1), 1)))[0, 0], [255] * 3)


def test_sixteen_bits_are_rounded_and_not_cut_off():
    values = np.array([[0, 257, 32896, 65535, 300]], np.uint16)
    expected = [[v] * 3 for v in (0, 1, 128, 255, 1)]
    for kind in ("PNG", "TIFF"):
        np.testing.assert_array_equal(pixels(encoded(Image.fromarray(values), kind))[0], expected)
    pgm = b"P5 5 1 65535\n" + values.astype(">u2").tobytes()
    np.testing.assert_array_equal(pixels(pgm)[0], expected)
    colour = np.array([[0, 32896, 65535]], ">u2")
    rgb = png(
        struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0), zlib.compress(b"\0" + colour.tobytes())
    )
    np.testing.assert_array_equal(pixels(rgb)[0], [[0, 128, 255]])


def test_pixels_without_a_range_are_refused():
    for values in (np.float32([[0.5]]), np.int32([[100_000]]), np.int32([[-1]])):
        with pytest.raises(UserError, match="'x': pixels of 32 bits; expected 8 or 16 bits"):
            decode(encoded(Image.fromarray(values), "TIFF"), "x")


def test_cmyk_and_ycbcr():
    """Ink on white, in files as Photoshop writes them (inverted, Adobe's marker) as in TIFFs."""
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for kind in ("JPEG", "TIFF"):
        data = encoded(ink, kind)
        assert np.abs(pixels(data)[8, 8] - [255, 0, 0]).max() < 3
    assert b"Adobe" in encoded(ink, "JPEG")
    ycbcr = Image.new("RGB", (16, 16), (20, 200, 90)).convert("YCbCr")
    # packed: Pillow before 13 cannot read the plain YCbCr files that it writes
    packed = encoded(ycbcr, "TIFF", compression="tiff_lzw")
    assert np.abs(pixels(packed)[0, 0] - [20, 200, 90]).max() < 4


def profile_with_swapped_primaries() -> bytes:
    """An sRGB profile whose red and blue primaries have changed places."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"????", 1).replace(b"bXYZ", b"rXYZ", 1)
    # the description says sRGB, which is not converted
    return swapped.replace(b"????", b"bXYZ", 1).replace("sRGB".encode("utf-16-be"), b"\0T" * 4)


def test_colour_profiles_are_converted():
    red = Image.new("RGB", (4, 4), (220, 30, 30))
    swapped = profile_with_swapped_primaries()
    found = pixels(encoded(red, icc_profile=swapped))[0, 0]
    assert np.abs(found - [30, 30, 220]).max() <= 4
    clear = Image.new("RGBA", (4, 4), (220, 30, 30, 0))
    assert pixels(encoded(clear, icc_profile=swapped)).min() == 255
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"no profile", swapped[:200]):
        np.testing.assert_array_equal(
            pixels(encoded(red, icc_profile=profile))[0, 0], [220, 30, 30]
        )
    # a profile of three colours at grey pixels
    grey = encoded(Image.new("L", (4, 4), 9), icc_profile=swapped)
    np.testing.assert_array_equal(pixels(grey)[0, 0], [9] * 3)


def test_animations_give_their_first_picture():
    frames = [Image.new("RGB", (4, 4), (i * 100, 0, 0)) for i in range(3)]
    for kind in ("GIF", "WEBP", "TIFF", "PNG"):
        data = encoded(frames[1], kind, save_all=True, append_images=frames[2:])
        assert abs(pixels(data)[0, 0, 0] - 100) < 8


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "PPM"])
def test_pictures_cut_short_are_refused(kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    assert decode(data, "x").size == (64, 64)
    for part in (len(data) // 2, 40, 1):
        with pytest.raises(UserError, match="'x' is not a readable image"):
            decode(data[:part], "x")


def test_other_kinds_are_refused():
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n%%EOF\n"
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    for data in (postscript, svg, b"", b"\0" * 1000, encoded(gradient(), "ICO")):
        with pytest.raises(
            UserError, match=r"'x' is not a readable image.*; expected a PNG"
        ) as error:
            decode(data, "x")
        assert str(error.value).isprintable()
    with pytest.raises(UserError, match="'x' is a HEIC image: convert it; expected a PNG"):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "x")


def test_bombs_are_refused_before_they_are_decoded():
    """A few hundred bytes that say they are 10^8 pixels and more."""
    for width, height, message in (
        (10_000, 10_000, "10000x10000 pixels; expected at most 64000000 pixels"),
        (60_000, 60_000, "more than [0-9]+ pixels; expected at most 64000000 pixels"),
        (2**31 - 1, 2**31 - 1, "expected"),
    ):
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        with pytest.raises(UserError, match=f"'x'.*{message}"):
            decode(png(header, zlib.compress(bytes(10**6))), "x")
    text = png(struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0), zlib.compress(bytes(10**7)))
    assert decode(text, "x").size == (4, 4)  # what is too much is not inflated


def test_files_over_the_limits(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(gradient()))
    size = path.stat().st_size
    monkeypatch.setattr(photographs, "MAX_BYTES", size - 1)
    with pytest.raises(
        UserError, match=rf"'.*a\.png': {size} bytes; expected at most {size - 1} bytes"
    ):
        read_picture(path)
    monkeypatch.setattr(photographs, "MAX_BYTES", size)
    monkeypatch.setattr(photographs, "MAX_PIXELS", 95)
    with pytest.raises(UserError, match=r"a\.png': 12x8 pixels; expected at most 95 pixels"):
        read_picture(path)
    monkeypatch.setattr(photographs, "MAX_PIXELS", 96)
    assert read_picture(path).size == (12, 8)


def test_what_is_no_file(tmp_path):
    with pytest.raises(UserError, match=r"none\.png': no such image; expected a PNG"):
        read_picture(tmp_path / "none.png")
    os.mkfifo(tmp_path / "pipe.png")
    others = (tmp_path / "pipe.png", tmp_path, Path("a\0b.png"), Path("n" * 5000), "/dev/zero")
    for path in others:
        with pytest.raises(UserError, match=r"is not a readable image; expected a PNG") as error:
            read_picture(path)
        assert str(error.value).isprintable()


def test_links_are_followed(tmp_path):
    gradient().save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("a.png")
    assert read_picture(tmp_path / "b.png").size == (12, 8)


def test_tensors(tmp_path):
    Image.fromarray(np.array([[[0, 255, 51]]], np.uint8)).save(tmp_path / "a.png")
    expected = torch.tensor([-1.0, 1.0, -0.6])[:, None, None]
    torch.testing.assert_close(read_photograph(tmp_path / "a.png"), expected)


def test_squares_are_centred_and_antialiased():
    values = np.zeros((32, 96, 3), np.uint8)
    values[:, 32:64] = 255
    assert np.asarray(square(Image.fromarray(values), 8)).min() == 255
    # stripes of one pixel become their mean, not one of the two
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8)[None, :, None], (64, 32, 3)))
    small = to_tensor(square(stripes, 8))
    assert small.shape == (3, 8, 8)
    assert small.abs().max() < 0.05
    assert square(gradient(4, 4), 16).size == (16, 16)


def test_depth_maps_are_numbers_and_upright(tmp_path):
    path = tmp_path / "depth.png"
    levels = np.arange(96, dtype=np.uint16).reshape(8, 12) * 680 + 7
    Image.fromarray(stored(levels, 6)).save(path, exif=exif_of(6))
    found = np.asarray(read_depth_map(path), dtype=np.float64)
    np.testing.assert_allclose(found * 257, levels, rtol=0, atol=5e-3)
    # of 8 bits: the first channel, whatever is transparent
    colours = np.asarray(gradient())
    alpha = np.zeros((8, 12, 1), np.uint8)
    Image.fromarray(np.concatenate([colours, alpha], 2)).save(path)
    depth = read_depth_map(path)
    assert depth.mode == "L"
    np.testing.assert_array_equal(np.asarray(depth), colours[..., 0])
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match="not a readable image"):
        read_depth_map(path)


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = orientation
    return exif
