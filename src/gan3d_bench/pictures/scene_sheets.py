"""The figures that papers show of scenes: random faces, yaw and pitch sweeps, relighting.

A figure is a `Sheet`. Methods with more to show make sheets of their own, see `Method.figures`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from gan3d_bench.geometry.views import View
from gan3d_bench.pictures.grids import (
    Column,
    colour_on_white,
    labelled_grid,
    normal_colours,
    on_white,
    shape_picture,
)
from gan3d_bench.pictures.scene_grids import GRID_LIGHTS, brightness, reference_view, side_light
from gan3d_bench.scenes.base import Scene

# LiftedGAN, Figures 4 and 7, degrees
YAWS = tuple(15.0 * i for i in range(-4, 5))
PITCHES = tuple(10.0 * i for i in range(-3, 4))
FACES = 8  # columns of random faces
TILES = (128, 256)  # least and greatest width of a picture, pixels


@dataclass(frozen=True)
class Sheet:
    """Pictures in columns and rows.

    Attributes:
        groups: columns, those of a group close together; all have the same number of pictures.
        names: of the rows; none, or one for each.
    """

    groups: Sequence[Sequence[Column]]
    names: Sequence[str] = ()

    def image(self) -> Image.Image:
        """The sheet with its labels; pictures are 128 to 256 pixels wide, as near to their own
        width as that allows."""
        widest = max(column.pictures.shape[3] for group in self.groups for column in group)
        least, greatest = TILES
        return labelled_grid(self.groups, tile=min(max(widest, least), greatest), names=self.names)


def scene_sheets(scene: Scene) -> dict[str, Sheet]:
    """``yaw``, ``pitch`` and, of scenes that can be relit, ``relight``; all subjects."""
    sheets = {
        "yaw": view_sweep(
            scene, [(f"yaw {degree_label(yaw)}", View.from_angles(yaw)) for yaw in YAWS]
        ),
        "pitch": view_sweep(
            scene,
            [(f"pitch {degree_label(pitch)}", View.from_angles(0.0, pitch)) for pitch in PITCHES],
        ),
    }
    if "relight" in scene.capabilities:
        sheets["relight"] = relighting(scene)
    return sheets


def faces(columns: Sequence[Tensor]) -> Sheet:
    """Columns of random faces (B, 3, H, W) in [0, 1]; the first are the subjects of the others."""
    groups = [[Column("subject", columns[0])], [Column("", pictures) for pictures in columns[1:]]]
    return Sheet(groups, row_names(len(columns[0])))


def portraits(scene: Scene) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1] of the subjects at their own views."""
    return colour_on_white(scene.render(reference_view(scene)))


def view_sweep(scene: Scene, views: Sequence[tuple[str, View]]) -> Sheet:
    """Every subject at each labelled view (of one), in colour and, if it has normals, in plaster
    (LiftedGAN, Figure 4)."""
    columns = []
    for label, view in views:
        rendering = scene.render(view)
        rows = [colour_on_white(rendering)]
        if rendering.normal is not None:
            rows.append(on_white(shape_picture(rendering.normal), rendering.mask))
        columns.append(Column(label, interleaved(rows)))
    shown = len(columns[0].pictures) // scene.batch_size
    return Sheet([columns], row_names(scene.batch_size, ("", "shape")[:shown]))


def relighting(scene: Scene) -> Sheet:
    """Every subject in its own light and lit from four sides (LiftedGAN, Figure 5).

    Beneath its own light are the normals, beneath the others the shading (white: as bright as its
    own light gets), if the scene gives these.
    """
    view = reference_view(scene)
    own = scene.render(view)
    lit = {
        f"light {name}": scene.render(view, side_light(own, direction))
        for name, direction in GRID_LIGHTS.items()
    }
    rows = {name: [colour_on_white(seen)] for name, seen in {"own light": own, **lit}.items()}
    shading = {name: seen.shading for name, seen in lit.items() if seen.shading is not None}
    explained = own.normal is not None and len(shading) == len(lit)
    if own.normal is not None and explained:
        rows["own light"].append(on_white(normal_colours(own.normal), own.mask))
        for name, value in shading.items():
            relative = value.cpu() / brightness(own).clamp(min=1e-6)[:, None, None, None]
            rows[name].append(on_white(_grey(relative), lit[name].mask))
    columns = [Column(name, interleaved(pictures)) for name, pictures in rows.items()]
    kinds = ("", "shading") if explained else ("",)
    return Sheet([columns[:1], columns[1:]], row_names(scene.batch_size, kinds))


def interleaved(rows: Sequence[Tensor]) -> Tensor:
    """Rows of each subject one below the other: R of (B, 3, H, W) to (B R, 3, H, W)."""
    return torch.stack(list(rows), 1).flatten(0, 1)


def row_names(count: int, kinds: Sequence[str] = ("",)) -> list[str]:
    """Names of rows: the number of the subject, and what the row shows of it."""
    return [f"{i + 1} {kind}".strip() for i in range(count) for kind in kinds]


def degree_label(angle: float) -> str:
    """An angle as labels write it."""
    return f"{angle:+.0f}°" if angle else "0°"


def _grey(shading: Tensor) -> Tensor:
    """Shading (B, 1 or 3, H, W), not negative, as pictures (B, 3, H, W) in [0, 1]."""
    return shading.detach().float().cpu().clamp(0, 1).expand(-1, 3, -1, -1)
