"""The paper's figures: views and contents (2), reconstructions (4), both renderers and their
cameras (7, 9, L), optimised stylecodes (8), swaps (10, 11, M) and the teacher's blocks (A)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

import torch
from torch import Tensor

from gan3d_bench.geometry.views import View
from gan3d_bench.methods.stylegan_r.cameras import Orbit
from gan3d_bench.methods.stylegan_r.model import Seen, StyleGANRModel
from gan3d_bench.methods.stylegan_r.scene import DeformedSphere, MixedScene, NeuralScene
from gan3d_bench.methods.stylegan_r.style_space import synthesis_of
from gan3d_bench.methods.stylegan_r.swaps import Renderer, What, mixed, swapped
from gan3d_bench.pictures.grids import Column, colour_on_white, on_white, shape_picture, unit_range
from gan3d_bench.pictures.scene_sheets import Sheet, interleaved, row_names

AZIMUTHS = (0.0, 60.0, 120.0, 180.0, 240.0, 300.0)
"""Degrees; of Figure 9."""
ELEVATIONS = (0.0, 10.0, 20.0, 30.0)
SCALES = (0.8, 1.0, 1.2)
SIDES = (30.0, 150.0, 270.0)
"""Azimuths of the three other views of Figures 4 and 8."""
RENDERERS: tuple[Renderer, ...] = ("mesh", "neural")
BOXES: Mapping[What, tuple[float, float, float]] = {
    "shape": (0.86, 0.08, 0.08), "texture": (0.05, 0.62, 0.20), "background": (0.0, 0.70, 0.80),
}  # fmt: skip
"""Colours in [0, 1] of the boxes of Figure 10, around those whose part the others get."""


def view_sheet(model: StyleGANRModel, count: int) -> Sheet:
    """Figure 2: the teacher's pictures, one view code a column, one content a row."""
    columns = []
    for view, azimuth in enumerate(model.views.azimuths[:12]):
        images, _ = model.pictures.picture(torch.arange(count), torch.full((count,), view))
        columns.append(Column(f"{azimuth:.0f}°", unit_range(images)))
    return Sheet([columns], row_names(count))


def reconstruction_sheet(scene: DeformedSphere) -> Sheet:
    """Figure 4: the picture, the mesh at its view, and from `SIDES`; the shapes beneath."""
    assert scene.background is not None
    assert scene.input_view is not None
    pictures = unit_range(scene.background)
    views = [("own view", scene.input_view)]
    views += [(f"azimuth {azimuth:.0f}°", _orbit(azimuth)) for azimuth in SIDES]
    columns = []
    for label, view in views:
        seen = scene.render(view)
        assert seen.normal is not None
        shape = on_white(shape_picture(seen.normal), seen.mask)
        columns.append(Column(label, interleaved([colour_on_white(seen), shape])))
    first = Column("picture", interleaved([pictures, torch.ones_like(pictures)]))
    return Sheet([[first], columns], row_names(scene.batch_size, ("", "shape")))


def camera_sheet(mesh: DeformedSphere, neural: NeuralScene) -> Sheet:
    """Figures 7, 9 and L: both renderers at the picture's camera and at others.

    Of azimuth, elevation and scale one is changed at a time; the others stay as in the picture.
    """
    assert mesh.background is not None
    assert mesh.input_view is not None
    own = Orbit.of_view(mesh.input_view)
    groups = [
        [("own view", own)],
        [(f"azimuth {x:.0f}°", replace(own, azimuth=_angle(own, x))) for x in AZIMUTHS],
        [(f"elevation {x:.0f}°", replace(own, elevation=_angle(own, x))) for x in ELEVATIONS],
        [
            (f"scale {x:g}", replace(own, log_distance=own.log_distance - torch.tensor(x).log()))
            for x in SCALES
        ],
    ]
    pictures = unit_range(mesh.background)
    sheet = [[Column("picture", interleaved([pictures, pictures]))]]
    for group in groups:
        sheet.append(
            [
                Column(
                    label,
                    interleaved(
                        [
                            colour_on_white(mesh.render(orbit.view)),
                            unit_range(neural.render(orbit.view).rgb),
                        ]
                    ),
                )
                for label, orbit in group
            ]
        )
    return Sheet(sheet, row_names(mesh.batch_size, ("DIB-R", "StyleGAN-R")))


def optimised_sheet(model: StyleGANRModel, seen: Seen, w: Tensor) -> Sheet:
    """Figure 8: StyleGAN-R from other azimuths, and the stylecodes that were optimised instead.

    Args:
        model: draws them.
        seen: what is seen in B pictures.
        w: (B, w_dim) stylecodes of these pictures; shown as they are, and with the view codes whose
            cameras are nearest to the azimuths in the place of their own first rows.
    """
    views = [(f"azimuth {x:.0f}°", replace(seen.camera, azimuth=_angle(seen.camera, x)).view)
             for x in SIDES]  # fmt: skip
    neural = NeuralScene(model, model.codes_of(seen), seen.camera)
    styles = MixedScene(model, w, seen.camera)
    groups = [[Column("picture", unit_range(seen.images))]]
    for scene, own, chosen in (
        (neural, neural.render(seen.camera.view).rgb, views),
        (styles, model.generator.synthesis(w), views[:2]),
    ):
        label = "from properties" if scene is neural else "optimised"
        groups.append([Column(label, unit_range(own))])
        groups[-1] += [Column(name, unit_range(scene.render(view).rgb)) for name, view in chosen]
    return Sheet(groups, row_names(len(w)))


def swap_sheets(model: StyleGANRModel, seen: Seen, codes: Tensor) -> Mapping[str, Sheet]:
    """Figures 10 and 11: all as they are drawn themselves, and with the shape of the first, the
    texture of the second, the background of the third subject, which are in a box.

    By StyleGAN-R, by meshes (``swaps``), and by style mixing of `codes` (B, w_dim), the stylecodes
    of the pictures (``mixing``).
    """
    count, pictures = len(seen.images), unit_range(seen.images)
    own = [unit_range(swapped(model, seen, seen, "shape", kind)) for kind in RENDERERS]
    same = unit_range(mixed(model, codes, codes, "shape"))
    swaps = [Column("picture", interleaved([pictures] * 2)), Column("own", interleaved(own))]
    mixing = [Column("picture", pictures), Column("own", same)]
    for place, what in enumerate(get_args(What)):
        row = place % count
        giver = slice(row, row + 1)
        label, other = f"{what} of {giver.stop}", seen[giver]
        drawn = [unit_range(swapped(model, seen, other, what, kind)) for kind in RENDERERS]
        styles = unit_range(mixed(model, codes, codes[giver], what))
        swaps.append(Column(label, interleaved([boxed(each, row, BOXES[what]) for each in drawn])))
        mixing.append(Column(label, boxed(styles, row, BOXES[what])))
    return {
        "swaps": Sheet([swaps[:2], swaps[2:]], row_names(count, ("DIB-R", "StyleGAN-R"))),
        "mixing": Sheet([mixing[:2], mixing[2:]], row_names(count)),
    }


def block_sheet(model: StyleGANRModel, w: Tensor) -> Sheet:
    """Figure A (appendix B): what the blocks of the teacher's synthesis network hold.

    The features of each are summed over their channels; as often as the last layer has channels,
    that sum goes through the layer which makes the image. The paper does not give the brightness:
    pictures are divided by twice their deviation.

    Args:
        model: whose teacher.
        w: (B, w_dim) stylecodes.
    """
    synthesis = synthesis_of(model.generator, "teacher")
    last = synthesis.stages[-1].to_rgb
    columns = []
    for number, state in enumerate(synthesis.run(w), 1):
        total = state.features.sum(1, keepdim=True)
        rgb = last(total.expand(-1, last.weight.shape[1], -1, -1).contiguous(), w)
        rgb = rgb / (2 * rgb.std((1, 2, 3), keepdim=True)).clamp(min=1e-6)
        columns.append(Column(f"block {number}", unit_range(rgb)))
    picture = Column("picture", unit_range(synthesis(w)))
    return Sheet([columns, [picture]], row_names(len(w)))


def boxed(pictures: Tensor, row: int, colour: tuple[float, float, float]) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1], one of them with a box of a colour along its border."""
    width = max(1, pictures.shape[-1] // 32)
    inner = (..., slice(width, -width), slice(width, -width))
    box = pictures.new_tensor(colour)[:, None, None].expand(pictures.shape[1:]).clone()
    box[inner] = pictures[row][inner]
    return torch.cat((pictures[:row], box[None], pictures[row + 1 :]))


def _orbit(azimuth: float) -> View:
    return View.from_orbit(azimuth, 10.0, centre_depth=1.0)


def _angle(orbit: Orbit, degrees: float) -> Tensor:
    return torch.full_like(orbit.azimuth, degrees).deg2rad()
