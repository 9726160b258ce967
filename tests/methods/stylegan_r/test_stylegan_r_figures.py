"""The paper's figures of StyleGAN-R: what stands in which column."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor

from gan3d_bench.config import compose
from gan3d_bench.generators.stylegan2.latents import mix_styles
from gan3d_bench.methods.stylegan_r import figures
from gan3d_bench.methods.stylegan_r.cameras import Orbit
from gan3d_bench.methods.stylegan_r.method import StyleGANR
from gan3d_bench.methods.stylegan_r.model import Seen
from gan3d_bench.methods.stylegan_r.scene import DeformedSphere
from gan3d_bench.methods.stylegan_r.style_space import VIEW_ROWS
from gan3d_bench.pictures.grids import colour_on_white, unit_range
from gan3d_bench.pictures.scene_sheets import Sheet
from gan3d_bench.registry import registry
from gan3d_bench.training.fit import build


def labels(sheet: Sheet) -> list[list[str]]:
    return [[column.label for column in group] for group in sheet.groups]


@pytest.fixture(scope="module")
def model() -> StyleGANR:
    spec = registry("methods").get("stylegan-r")
    return cast(StyleGANR, build(spec, compose(spec, "check")).eval())


@pytest.fixture(scope="module")
def seen(model: StyleGANR) -> Seen:
    with torch.no_grad():
        return model._shown(3)


@pytest.fixture(scope="module")
def w(model: StyleGANR) -> Tensor:
    return torch.randn(3, model.generator.w_dim, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_both_renderers_at_the_pictures_camera(model: StyleGANR, seen: Seen) -> None:
    """Figures 7, 9 and L; 4 has the own view and three others."""
    mesh, neural = DeformedSphere(model, seen), model.neural(seen)
    sheet = figures.camera_sheet(mesh, neural)
    assert labels(sheet)[:2] == [["picture"], ["own view"]]
    assert [len(group) for group in sheet.groups] == [1, 1, 6, 4, 3]
    own, view = sheet.groups[1][0].pictures, Orbit.of_view(seen.camera.view).view
    assert torch.equal(own[0::2], colour_on_white(mesh.render(view)))
    assert torch.equal(own[1::2], unit_range(neural.render(view).rgb))
    assert torch.allclose(own[1::2], unit_range(neural.render(seen.camera.view).rgb), atol=1e-3)
    assert [len(group) for group in figures.reconstruction_sheet(mesh).groups] == [1, 4]


@torch.no_grad()
def test_optimised_stylecodes_stand_beside_stylegan_r(
    model: StyleGANR, seen: Seen, w: Tensor
) -> None:
    """Figure 8: three views by StyleGAN-R; the optimised code, and two views of it."""
    sheet = figures.optimised_sheet(model, seen, w)
    azimuths = ["azimuth 30°", "azimuth 150°", "azimuth 270°"]
    assert labels(sheet) == [
        ["picture"], ["from properties", *azimuths], ["optimised", *azimuths[:2]],
    ]  # fmt: skip
    pictures = [[column.pictures for column in group] for group in sheet.groups]
    own = model.synthesise(seen.camera, model.codes_of(seen))
    assert torch.allclose(pictures[1][0], unit_range(own), atol=1e-4)
    assert torch.equal(pictures[2][0], unit_range(model.generator.synthesis(w)))
    # view codes are 30 degrees apart from 0 on: number 1 is the nearest to 30
    view = model.pictures.view_codes[1].expand_as(w)
    mixed = model.generator.synthesis(mix_styles(view, w, VIEW_ROWS, model.generator.num_ws))
    assert torch.allclose(pictures[2][1], unit_range(mixed), atol=1e-5)


@torch.no_grad()
def test_swaps_have_the_own_picture_and_boxes(model: StyleGANR, seen: Seen, w: Tensor) -> None:
    """Figures 10 and 11: beside the picture its own rendering; who gives a part is in a box."""
    sheets = figures.swap_sheets(model, seen, w)
    for sheet, rows in ((sheets["swaps"], 2), (sheets["mixing"], 1)):
        assert labels(sheet) == [
            ["picture", "own"], ["shape of 1", "texture of 2", "background of 3"],
        ]  # fmt: skip
        own = sheet.groups[0][1].pictures
        for giver, column in enumerate(sheet.groups[1]):
            for row, picture in enumerate(column.pictures):
                box = torch.tensor(list(figures.BOXES.values())[giver])[:, None]
                boxed = torch.equal(picture[:, 0], box.expand(-1, picture.shape[2]))
                assert boxed == (row // rows == giver)
                inner = (slice(None), slice(1, -1), slice(1, -1))
                if boxed:  # unchanged
                    assert torch.allclose(picture[inner], own[row][inner], atol=1e-5)


@torch.no_grad()
def test_blocks_of_the_teacher(model: StyleGANR, w: Tensor) -> None:
    """Figure A: a picture of each block at its resolution, the last layer's by its own width."""
    sheet = figures.block_sheet(model, w)
    assert labels(sheet) == [["block 1", "block 2", "block 3"], ["picture"]]
    shown = [column.pictures for column in sheet.groups[0]]
    assert [picture.shape for picture in shown] == [(3, 3, side, side) for side in (4, 8, 16)]
    last = model.generator.synthesis.stages[-1].to_rgb  # type: ignore[union-attr, index]
    total = model.generator.synthesis.run(w)[0].features.sum(1)  # type: ignore[operator]
    # each layer's weights are summed over the channels that all hold the same
    styles = last.affine(w) @ last.weight.flatten(1).T
    rgb = total[:, None] * styles[:, :, None, None] + last.bias.view(3, 1, 1)
    rgb = rgb / (2 * rgb.std((1, 2, 3), keepdim=True))
    assert torch.allclose(shown[0], unit_range(rgb), atol=1e-4)
