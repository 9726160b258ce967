"""The paper's figures: views and contents (2), reconstructions (4), cameras (7-9), swaps (10)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

import torch
from torch import Tensor

from gan3d_bench.geometry.views import View
from gan3d_bench.methods.stylegan_r.cameras import Orbit
from gan3d_bench.methods.stylegan_r.model import Seen, StyleGANRModel
from gan3d_bench.methods.stylegan_r.scene import DeformedSphere, NeuralScene
from gan3d_bench.methods.stylegan_r.swaps import What, mixed, swapped
from gan3d_bench.pictures.grids import Column, on_white, shape_picture, unit_range
from gan3d_bench.pictures.scene_sheets import Sheet, colour_on_white, interleaved, row_names

AZIMUTHS = (0.0, 60.0, 120.0, 180.0, 240.0, 300.0)
"""Degrees; of Figure 9."""
ELEVATIONS = (0.0, 10.0, 20.0, 30.0)
SCALES = (0.8, 1.0, 1.2)
SIDES = (30.0, 150.0, 270.0)
"""Azimuths of the three other views of Figure 4."""


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
    """Figures 7 to 9 and L: both renderers at other azimuths, elevations and scales.

    One of the three is changed at a time; the others stay what they are in the picture.
    """
    assert mesh.background is not None
    assert mesh.input_view is not None
    own = Orbit.of_view(mesh.input_view)
    groups = [
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


def swap_sheets(model: StyleGANRModel, seen: Seen) -> Mapping[str, Sheet]:
    """Figure 10: all get the shape of the first, the texture of the second, the background of the
    third subject; by StyleGAN-R, by meshes (``swaps``), and by style mixing (``mixing``)."""
    count = len(seen.images)
    pictures, codes = unit_range(seen.images), model.embed(seen.images)
    swaps = [Column("picture", interleaved([pictures, pictures]))]
    mixing = [Column("picture", pictures)]
    for place, what in enumerate(get_args(What)):
        giver = slice(place % count, place % count + 1)
        label, other = f"{what} of {giver.stop}", seen[giver]
        drawn = [swapped(model, seen, other, what, renderer) for renderer in ("mesh", "neural")]
        swaps.append(Column(label, interleaved([unit_range(images) for images in drawn])))
        mixing.append(Column(label, unit_range(mixed(model, codes, codes[giver], what))))
    return {
        "swaps": Sheet([swaps[:1], swaps[1:]], row_names(count, ("DIB-R", "StyleGAN-R"))),
        "mixing": Sheet([mixing[:1], mixing[1:]], row_names(count)),
    }


def _orbit(azimuth: float) -> View:
    return View.from_orbit(azimuth, 10.0, centre_depth=1.0)


def _angle(orbit: Orbit, degrees: float) -> Tensor:
    return torch.full_like(orbit.azimuth, degrees).deg2rad()
