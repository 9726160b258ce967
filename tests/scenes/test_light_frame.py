"""Lights have a frame: what is given is in camera space, a scene's own turns with the subject."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gan3d_bench.benchmarks.relight.measure import SLOPES, equalised, new_light
from gan3d_bench.conformance.scenes import Failed, check_light_frame
from gan3d_bench.datamodules.heads import head_latents
from gan3d_bench.geometry.views import View
from gan3d_bench.heads.sampling import HeadParameters, render_heads, sample_heads
from gan3d_bench.heads.scene import heads_scene
from gan3d_bench.metrics.images import psnr
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.rendering.shading import LambertLight, Light, SphericalHarmonicsLight
from gan3d_bench.scenes.depth_map import DepthMapScene
from gan3d_bench.scenes.mesh import MeshScene

COUNT, SIZE = 4, 64
SIDE = new_light(SLOPES["right"], COUNT)


@pytest.fixture(scope="module")
def heads() -> HeadParameters:
    """Frontal heads in light from the left."""
    found = sample_heads(head_latents("val", range(COUNT)))
    light = new_light(SLOPES["left"], COUNT)
    upright = torch.zeros_like(found.angles)
    return replace(
        found, angles=upright, translation=upright, light_direction=light.direction
    )  # fmt: skip


@pytest.fixture(scope="module")
def truth(heads: HeadParameters) -> MeshScene:
    return heads_scene(heads)


@pytest.fixture(scope="module")
def exact(heads: HeadParameters) -> DepthMapScene:
    """The depth map and albedo of the truth at the canonical view."""
    maps = render_heads(heads, SIZE)
    mask = (maps["mask"] > 0.5).float()
    return DepthMapScene(maps["depth"], maps["albedo"], heads.light, heads.view, mask=mask)


def agreement(shown: Rendering, real: Rendering, *, scaled: bool = False) -> float:
    """PSNR in dB over the pixels that both show entirely; `scaled` as table relight does."""
    both = ((shown.mask > 0.99) & (real.mask > 0.99)).float()
    rgb = equalised(shown.rgb, real.rgb, both) if scaled else shown.rgb
    return float(psnr(rgb, real.rgb, both).mean())


@pytest.mark.parametrize(("yaw", "least"), [(0.0, 31.0), (20.0, 31.0), (40.0, 27.0)])
def test_exact_depth_relights_as_the_truth_does(exact, truth, yaw: float, least: float) -> None:
    view = View.from_angles(yaw)
    found = [
        agreement(exact.render(view, light), truth.render(view, light), scaled=True)
        for light in (new_light(slopes, COUNT) for slopes in SLOPES.values())
    ]
    assert sum(found) / len(found) >= least, found


@pytest.mark.parametrize("yaw", [-30.0, 30.0])
def test_exact_depth_turns_as_the_truth_does(exact, truth, yaw: float) -> None:
    view = View.from_angles(yaw)
    assert agreement(exact.render(view), truth.render(view)) >= 26


def test_a_given_light_stays_at_its_side_of_the_picture(truth) -> None:
    for yaw in (-40.0, 0.0, 40.0):
        shading = truth.render(View.from_angles(yaw), SIDE).shading
        assert shading[..., SIZE // 2 + 8 :].mean() > 1.3 * shading[..., : SIZE // 2 - 8].mean()


def test_a_scenes_own_light_turns_with_the_subject(truth) -> None:
    """What the light fell on stays lit: albedo times shading of a surface point does not change."""
    turned = truth.render(View.from_angles(40.0))
    as_given = truth.render(View.from_angles(40.0), truth.light.in_camera(View.from_angles(40.0)))
    still = truth.render(View.from_angles(40.0), truth.light.expand(COUNT))
    torch.testing.assert_close(turned.rgb, as_given.rgb)
    assert agreement(turned, still) < 30


def test_depth_and_mesh_scenes_agree_on_the_frame_at_40_degrees(exact, truth) -> None:
    for scene in (exact, truth):
        check_light_frame("exact", scene.render(View.from_angles(40.0), SIDE), SIDE)
        wrong = scene.render(View.from_angles(40.0), SIDE.in_camera(View.from_angles(40.0)))
        with pytest.raises(Failed, match="a light that is given is in camera space"):
            check_light_frame("exact", wrong, SIDE)


def a_light(kind: str, rng: torch.Generator) -> Light:
    if kind == "lambert":
        direction = torch.nn.functional.normalize(torch.randn(3, 3, generator=rng), dim=1)
        return LambertLight(*torch.rand(2, 3, generator=rng), direction)
    return SphericalHarmonicsLight(torch.randn(3, 3, 9, generator=rng))


angles = st.floats(-180, 180)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["lambert", "harmonics"]), st.tuples(angles, angles, angles), st.integers(0))
def test_turning_light_and_normals_together_changes_nothing(kind, turn, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed % 2**31)
    light, view = a_light(kind, rng), View.from_angles(*turn).expand(3)
    normals = torch.nn.functional.normalize(torch.randn(3, 3, 4, 5, generator=rng), dim=1)
    turned = view.rotate(normals.movedim(1, -1)).movedim(-1, 1)
    expected = light.shade(normals)
    torch.testing.assert_close(
        light.in_camera(view).shade(turned), expected, atol=2e-4, rtol=1e-4
    )  # fmt: skip
    back = light.in_camera(view).in_scene(view)
    torch.testing.assert_close(back.shade(normals), expected, atol=2e-4, rtol=1e-4)


def test_one_light_serves_a_batch_and_others_must_fit() -> None:
    light = LambertLight.frontal(1)
    assert len(light.expand(3)) == 3
    with pytest.raises(ValueError, match="2 lights do not fit 3 subjects"):
        LambertLight.frontal(2).expand(3)
