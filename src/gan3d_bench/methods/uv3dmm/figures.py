"""The paper's figures: turned faces (4), interpolation (5), and control of expression and light."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gan3d_bench.generators.latents import interpolated
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.uv3dmm.scene import TexturedHeads, TurnedStylecodes
from gan3d_bench.pictures.grids import Column, colour_on_white, on_white, shape_picture, unit_range
from gan3d_bench.pictures.scene_sheets import (
    Sheet,
    degree_label,
    interleaved,
    row_names,
)
from gan3d_bench.rendering.rendering import Rendering

YAWS = (-60.0, -30.0, -15.0, 0.0, 15.0, 30.0, 60.0)
"""Of Figure 4, degrees."""
STOPS = 6  # 0, 0.2 ... 1, as in Figure 5
EXPRESSIONS = 4  # first expression coefficients that are shown, both ways
STRENGTH = 2.0  # standard deviations
LIGHT_TURNS = (-90.0, -45.0, 0.0, 45.0, 90.0)  # degrees about the vertical axis


def turned_sheet(heads: TexturedHeads, stylecodes: TurnedStylecodes) -> Sheet:
    """Figure 4: stylecodes moved along the hyperplane's normal, and the meshes, at `YAWS`."""
    columns = []
    for yaw in YAWS:
        view = View.from_angles(yaw)
        seen = heads.render(view)
        rows = [unit_range(stylecodes.render(view).rgb), *_coloured_and_bare(seen)]
        columns.append(Column(f"yaw {degree_label(yaw)}", interleaved(rows)))
    return Sheet([columns], row_names(heads.batch_size, ("InterFaceGAN", "ours", "shape")))


def interpolation_sheet(scenes: Sequence[TexturedHeads], pairs: int) -> Sheet:
    """Figure 5: the teacher's pictures, renderings and shapes between stylecodes.

    Args:
        scenes: of the stops from one end to the other, `pairs` heads each.
        pairs: of stylecodes.
    """
    columns = []
    for i, heads in enumerate(scenes):
        assert heads.background is not None
        seen = heads.render(heads.coefficients.view)
        rows = [unit_range(heads.background), *_coloured_and_bare(seen)]
        columns.append(Column(f"{i / (len(scenes) - 1):.1f}", interleaved(rows)))
    return Sheet([columns], row_names(pairs, ("StyleGAN2", "ours", "shape")))


def stops(w: Tensor) -> Tensor:
    """Stylecodes (pairs, `STOPS`, w_dim) between consecutive ones (B, w_dim)."""
    return interpolated(w, STOPS)


def expression_sheet(heads: TexturedHeads) -> Sheet:
    """The first expression coefficients, one at a time, with maps, light and identity fixed."""
    front = View.from_angles([0.0] * heads.batch_size)
    shown = min(EXPRESSIONS, heads.num_expression)
    columns = [Column("own", interleaved(_coloured_and_bare(heads.render(front))))]
    for index in range(shown):
        for sign in (-1, 1):
            expression = torch.zeros(1, heads.num_expression, device=heads.vertices.device)
            expression[0, index] = sign * STRENGTH
            seen = heads.with_expression(expression).render(front)
            label = f"{index + 1}: {sign * STRENGTH:+.0f}"
            columns.append(Column(label, interleaved(_coloured_and_bare(seen))))
    return Sheet([columns[:1], columns[1:]], row_names(heads.batch_size, ("", "shape")))


def light_sheet(heads: TexturedHeads) -> Sheet:
    """The heads' own light, turned about the vertical axis; views and maps fixed."""
    front = View.from_angles([0.0] * heads.batch_size)
    light = heads.coefficients.light
    columns = []
    for turn in LIGHT_TURNS:
        seen = heads.render(front, light.in_camera(View.from_angles([turn] * heads.batch_size)))
        label = f"light {degree_label(turn)}"
        columns.append(Column(label, colour_on_white(seen)))
    return Sheet([columns], row_names(heads.batch_size))


def displacement_sheet(heads: TexturedHeads) -> Sheet:
    """The heads with their displacement and without, at their pictures' views."""
    view = heads.coefficients.view
    columns = [
        Column(label, interleaved(_coloured_and_bare(scene.render(view))))
        for label, scene in (
            ("with displacement", heads),
            ("without", heads.without_displacement()),
        )
    ]
    return Sheet([columns], row_names(heads.batch_size, ("", "shape")))


def _coloured_and_bare(seen: Rendering) -> list[Tensor]:
    """A rendering in colour and in plaster."""
    assert seen.normal is not None
    return [colour_on_white(seen), on_white(shape_picture(seen.normal), seen.mask)]
