"""What a scene looks like on one picture: the contact grid, and the frames of a turntable.

Rendering happens without gradient, one view of all subjects at a time.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from gan3d_bench.geometry.views import View
from gan3d_bench.pictures.grids import (
    Column,
    colour_on_white,
    depth_colours,
    labelled_grid,
    normal_colours,
    on_white,
    resized,
    shape_picture,
    to_image,
    unit_range,
)
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.rendering.shading import LambertLight, Light
from gan3d_bench.scenes.base import Scene

GRID_YAWS = (-40.0, -20.0, 20.0, 40.0)
# name -> direction from the subject towards the light (x right, y down, z forward)
GRID_LIGHTS = {
    "left": (-1.2, -0.2, -1.0),
    "above": (0.0, -1.2, -1.0),
    "right": (1.2, -0.2, -1.0),
    "below": (0.0, 1.2, -1.0),
}


def contact_grid(
    scene: Scene, inputs: Tensor | None = None, *, tile: int = 128, subjects: int = 16
) -> Image.Image:
    """One row a subject: input, reconstruction, albedo, depth, normal, shape, rotated, relit.

    Columns that the scene cannot give are left out. Everything but the rotated views is seen from
    the input view if the scene has one, else from the canonical view.

    Args:
        scene: the subjects.
        inputs: (B, 3, H, W) in [-1, 1]; other batch sizes are not shown.
        tile: width of a picture in pixels.
        subjects: at most so many rows.
    """
    reference = look(scene, reference_view(scene))
    seen: list[Column] = []
    if inputs is not None and len(inputs) == scene.batch_size:
        seen.append(Column("input", unit_range(inputs)))
    mask = reference.mask
    title = "reconstruction" if scene.input_view is not None else "rendered"
    seen.append(Column(title, colour_on_white(reference)))
    factors: list[Column] = []
    if reference.albedo is not None:
        factors.append(Column("albedo", on_white(unit_range(reference.albedo), mask)))
    if reference.depth is not None:
        factors.append(Column("depth", on_white(depth_colours(reference.depth, mask), mask)))
    if reference.normal is not None:
        factors.append(Column("normal", on_white(normal_colours(reference.normal), mask)))
        factors.append(Column("shape", on_white(shape_picture(reference.normal), mask)))
    rotated = [
        Column(f"yaw {yaw:+.0f}°", colour_on_white(look(scene, yaw_view(scene, yaw))))
        for yaw in GRID_YAWS
    ]
    relit: list[Column] = []
    if "relight" in scene.capabilities:
        for name, direction in GRID_LIGHTS.items():
            light = side_light(reference, direction)
            picture = colour_on_white(look(scene, reference_view(scene), light))
            relit.append(Column(f"light {name}", picture))
    groups = [
        [Column(column.label, column.pictures[:subjects]) for column in group]
        for group in (seen, factors, rotated, relit)
    ]
    return labelled_grid(groups, tile=tile)


def turntable_frame(rendering: Rendering, tile: int, subjects: int) -> Image.Image:
    """Colour above bare shape, at most six subjects a line."""
    rows = [colour_on_white(rendering)]
    if rendering.normal is not None:
        rows.append(on_white(shape_picture(rendering.normal), rendering.mask))
    rows = [resized(pictures[:subjects], tile) for pictures in rows]
    count = min(6, len(rows[0]))
    cells: list[Tensor] = []
    for start in range(0, len(rows[0]), count):
        for pictures in rows:
            line = pictures[start : start + count]
            cells += [*line, *torch.ones(count - len(line), *line.shape[1:])]
    return to_image(make_grid(torch.stack(cells), nrow=count, padding=4, pad_value=1.0))


def reference_view(scene: Scene) -> View:
    """The input view of a scene if it has one, else the canonical view."""
    return scene.input_view if scene.input_view is not None else yaw_view(scene, 0.0)


def yaw_view(scene: Scene, yaw: float) -> View:
    return View.from_angles(torch.full((scene.batch_size,), yaw))


def look(scene: Scene, view: View, light: Light | None = None) -> Rendering:
    with torch.no_grad():
        return scene.render(view, light)


def side_light(own: Rendering, direction: tuple[float, float, float]) -> Light:
    """Light from a direction as those of `GRID_LIGHTS`, as bright as the subjects' own.

    Args:
        own: the subjects in their own light; where its shading is unknown, the light is such that
            what faces it shows its albedo.
        direction: towards the light, camera space, of any length.
    """
    full = brightness(own)
    towards = F.normalize(torch.tensor(direction), dim=0).expand(len(full), 3)
    return LambertLight(0.3 * full, 0.7 * full, towards)


def brightness(own: Rendering) -> Tensor:
    """The brightest shading (B,) of subjects, on the CPU; 1 where it is unknown."""
    if own.shading is None:
        return torch.ones(len(own.rgb))
    return (own.shading * own.mask).float().flatten(1).amax(1).cpu()
