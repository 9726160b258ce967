"""Draw the pictures of docs/conventions.md: view signs, light directions, normals, half pixel.

python docs/figures/make_conventions.py
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
import trimesh
from PIL import Image, ImageDraw
from torch import Tensor

from gan3d_bench.geometry.views import View
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import warp_to_view
from gan3d_bench.rendering.mesh import UVTexture, render_mesh
from gan3d_bench.rendering.shading import LambertLight, Light

HERE = Path(__file__).parent
SIZE = 112
LABEL = 18
GAP = 6
CAMERA = PinholeCamera(SIZE)


def manikin() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Vertices (1, V, 3) in camera space, faces, UVs (frontal projection) and texture.

    Its own right eye, on the image's left, is blue and the other one green, so that mirroring
    would show.
    """
    mesh = trimesh.creation.icosphere(subdivisions=5)
    xyz = torch.tensor(mesh.vertices, dtype=torch.float32)
    x, y, z = xyz.unbind(1)
    nose = torch.exp(-(((x / 0.16) ** 2) + ((y + 0.05) / 0.24) ** 2)) * (z > 0)
    shape = torch.stack((0.75 * x, y, 0.85 * z + 0.35 * nose), 1) * 0.06
    vertices = shape * torch.tensor([1.0, -1.0, -1.0]) + torch.tensor([0.0, 0.0, 1.0])
    texture = Image.new("RGB", (256, 256), (224, 178, 150))
    draw = ImageDraw.Draw(texture)
    draw.rectangle((0, 0, 256, 40), fill=(70, 45, 30))
    for left, colour in ((70, (40, 90, 220)), (156, (40, 170, 70))):
        draw.ellipse((left, 84, left + 30, 106), fill="white")
        draw.ellipse((left + 8, 86, left + 22, 104), fill=colour)
    draw.ellipse((96, 186, 160, 204), fill=(180, 60, 60))
    pixels = torch.tensor(list(texture.tobytes()), dtype=torch.float32)
    pixels = pixels.view(1, 256, 256, 3).permute(0, 3, 1, 2)
    return vertices[None], torch.tensor(mesh.faces), xyz[:, :2] / 2 + 0.5, pixels / 127.5 - 1


def look(view: View, light: Light | None = None, background: float = 1.0):
    """The manikin at a batch of views, optionally lit (one light each, or one for all)."""
    vertices, faces, uvs, texture = manikin()
    light = light or LambertLight.frontal(ambient=0.45, diffuse=0.55)
    turned = view.transform(vertices)
    surface = UVTexture(uvs, faces, texture)
    seen = render_mesh(turned, faces, surface, CAMERA, light=light, supersample=2)
    return replace(seen, rgb=seen.over(background))


def to_image(rgb: Tensor) -> Image.Image:
    """(3, H, W) in [-1, 1] to a picture."""
    array = ((rgb.clamp(-1, 1) + 1) * 127.5).round().byte()
    return Image.fromarray(array.permute(1, 2, 0).contiguous().numpy())


def sheet(rows: list[list[tuple[str, Tensor]]], path: Path) -> None:
    """Labelled pictures in rows, saved as a PNG."""
    columns = max(map(len, rows))
    page = Image.new("RGB", (columns * (SIZE + GAP), len(rows) * (SIZE + LABEL)), "white")
    draw = ImageDraw.Draw(page)
    for r, row in enumerate(rows):
        for c, (label, rgb) in enumerate(row):
            corner = (c * (SIZE + GAP), r * (SIZE + LABEL) + LABEL)
            page.paste(to_image(rgb).resize((SIZE, SIZE), Image.Resampling.NEAREST), corner)
            draw.text((corner[0] + 4, corner[1] - LABEL + 3), label, fill="black")
    page.save(path, optimize=True)


def views_sheet() -> None:
    rows = []
    for name in ("yaw", "pitch", "roll"):
        angles = (-40, -20, 0, 20, 40)
        seen = look(View.from_angles(**{name: [float(a) for a in angles]}))
        rows.append([(f"{name} {a:+d}", rgb) for a, rgb in zip(angles, seen.rgb, strict=True)])
    shifts = {"x +0.02": (0.02, 0, 0), "y +0.02": (0, 0.02, 0), "z +0.3": (0, 0, 0.3)}
    view = View.from_angles(translation=torch.tensor(list(shifts.values())))
    rows.append(list(zip(shifts, look(view).rgb, strict=True)))
    sheet(rows, HERE / "conventions_views.png")


def light_sheet() -> None:
    directions = {
        "l = (0, 0, -1)": (0.0, 0.0, -1.0),
        "l ~ (-1, 0, -1)": (-1.0, 0.0, -1.0),
        "l ~ (1, 0, -1)": (1.0, 0.0, -1.0),
        "l ~ (0, -1, -1)": (0.0, -1.0, -1.0),
        "l ~ (0, 1, -1)": (0.0, 1.0, -1.0),
    }
    unit = torch.nn.functional.normalize(torch.tensor(list(directions.values())), dim=1)
    light = LambertLight(torch.full((5,), 0.1), torch.full((5,), 0.9), unit)
    seen = look(View.from_angles([0.0] * 5), light)
    lit = list(zip(directions, seen.rgb, strict=True))
    normal = seen.normal[0]
    empty = (seen.mask[0] == 0).float()
    parts = [
        (f"n_{axis} (white +1)", (normal[k : k + 1] + 2 * empty).clamp(-1, 1).expand(3, -1, -1))
        for k, axis in enumerate("xyz")
    ]
    depth = ((seen.depth[0] - 0.94) / 0.03 - 1).clamp(-1, 1)
    far = torch.where(empty > 0, 1.0, depth).expand(3, -1, -1)
    sheet([lit, [*parts, ("depth (white far)", far)]], HERE / "conventions_light.png")


def half_pixel_sheet() -> None:
    """A checkerboard at the identity view: ours, and with the released code's shift."""
    size = 14
    index = torch.arange(size)
    board = ((index[:, None] + index) % 2).float() * 2 - 1
    texture = board.expand(1, 3, size, size)
    row = [("texture", texture[0])]
    for label, compat in (("identity view", False), ("half-pixel shift", True)):
        seen = warp_to_view(
            texture,
            torch.ones(1, 1, size, size),
            View.from_angles(),
            PinholeCamera(size),
            compat_half_pixel=compat,
        )
        red = torch.tensor([1.0, -0.4, -0.4])[:, None, None]
        row.append((label, torch.where(seen.mask[0] > 0, seen.image[0], red)))
    sheet([row], HERE / "conventions_half_pixel.png")


if __name__ == "__main__":
    views_sheet()
    light_sheet()
    half_pixel_sheet()
