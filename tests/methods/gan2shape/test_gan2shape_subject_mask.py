"""Masks of subjects in canonical depth maps."""

from __future__ import annotations

import pytest
import torch

from gan3d_bench.geometry.depth_prior import Extent, prior_depth
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.gan2shape.factors import Factors
from gan3d_bench.methods.gan2shape.subject_mask import carve, subject_mask
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import depth_normals
from gan3d_bench.rendering.shading import LambertLight
from gan3d_bench.scenes.depth_map import DepthMapScene

SIZE = 32
CAMERA = PinholeCamera(SIZE)


def subject(yaw: float) -> tuple[Factors, torch.Tensor, torch.Tensor]:
    """An ellipsoid before a plane: its factors, its mask in the image, and the canonical one."""
    depth = prior_depth(Extent(3.5, 27.5, 7.5, 23.5), SIZE, 0.92, 1.04)[None, None]
    depth = (depth + depth.flip(-1)) / 2
    canonical = (depth < 1.03).float()
    view = View.from_angles(torch.tensor([yaw]))
    light = LambertLight(torch.ones(1), torch.zeros(1), torch.tensor([[0.0, 0.0, -1.0]]))
    factors = Factors(
        depth, torch.zeros(1, 3, SIZE, SIZE), depth_normals(depth, CAMERA), view, light
    )
    rendered = DepthMapScene(depth, factors.albedo, light, mask=canonical).render(view)
    return factors, rendered.mask, canonical


@pytest.mark.parametrize("yaw", [-30.0, 0.0, 30.0])
def test_the_silhouette_of_a_turned_subject_gives_its_canonical_mask(yaw):
    factors, mask, canonical = subject(yaw)
    found = subject_mask(mask, factors, CAMERA)
    both, either = (found * canonical).sum(), found.maximum(canonical).sum()
    assert both / either > 0.9


def test_carving_alone_keeps_the_background_hidden_behind_a_turned_subject():
    factors, mask, canonical = subject(30.0)
    carved = carve(mask, factors.depth, factors.view, CAMERA) > 0.5
    extra = (carved & (canonical == 0)).sum()
    assert extra > ((subject_mask(mask, factors, CAMERA) > 0) & (canonical == 0)).sum()


def test_scenes_show_what_their_mask_holds():
    factors, _, canonical = subject(0.0)
    whole = DepthMapScene(factors.depth, factors.albedo, factors.light)
    part = DepthMapScene(factors.depth, factors.albedo, factors.light, mask=canonical)
    frontal = View.from_angles(torch.zeros(1))
    assert whole.render(frontal).mask.all()
    assert torch.equal(part.render(frontal).mask, canonical)
    assert part.render(frontal, image_size=2 * SIZE).mask.mean() == pytest.approx(
        float(canonical.mean()), abs=0.03
    )
    assert 0 < len(part.mesh(0).faces) < len(whole.mesh(0).faces)
