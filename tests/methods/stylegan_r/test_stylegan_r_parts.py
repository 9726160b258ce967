"""Parts of StyleGAN-R: cameras, W*, the mapping network, losses."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from orbits import normal, orbit

from gan3d_bench.config import compose
from gan3d_bench.errors import UserError
from gan3d_bench.generators.stylegan2.generator import (
    GeneratorConfig,
    Synthesis,
    channel_table,
)
from gan3d_bench.generators.stylegan2.latents import mix_styles
from gan3d_bench.generators.stylegan2.layers import ToRGB
from gan3d_bench.generators.teachers import load_teacher
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.stylegan_r.cameras import CENTRE_DEPTH, Orbit, ViewCameras
from gan3d_bench.methods.stylegan_r.config import LossConfig, MappingConfig
from gan3d_bench.methods.stylegan_r.mapping import (
    ContentCodes,
    MappingNetwork,
    multiple_correlation,
)
from gan3d_bench.methods.stylegan_r.method import StyleGANR
from gan3d_bench.methods.stylegan_r.model import Seen
from gan3d_bench.methods.stylegan_r.networks import Properties
from gan3d_bench.methods.stylegan_r.objective import (
    cycle_terms,
    disagreement,
    shape_terms,
    view_terms,
)
from gan3d_bench.methods.stylegan_r.spec import MIXING
from gan3d_bench.methods.stylegan_r.style_space import (
    VIEW_ROWS,
    StyleSynthesis,
    style_codes,
    style_layers,
    synthesis_of,
)
from gan3d_bench.methods.stylegan_r.swaps import swapped
from gan3d_bench.registry import registry
from gan3d_bench.rendering.mesh import MeshRendering
from gan3d_bench.training.fit import build

# -- cameras ---------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.floats(-180, 180), st.floats(-60, 60), st.floats(-0.5, 0.5))
def test_orbits_are_views(azimuth: float, elevation: float, log_distance: float) -> None:
    camera = orbit([azimuth], elevation, log_distance)
    points = 0.05 * normal(1, 7, 3)
    there = camera.view.transform(points + torch.tensor([0.0, 0.0, CENTRE_DEPTH]))
    assert torch.allclose(camera.transform(points), there, atol=1e-5)
    back = Orbit.of_view(camera.view)
    assert torch.allclose(back.azimuth.cos(), camera.azimuth.cos(), atol=1e-3)
    assert torch.allclose(back.azimuth.sin(), camera.azimuth.sin(), atol=1e-3)
    assert torch.allclose(back.elevation, camera.elevation, atol=1e-3)
    assert torch.allclose(back.log_distance, camera.log_distance, atol=1e-5)


def test_cameras_from_the_side_have_gradients() -> None:
    cameras = ViewCameras([0, 90, 180, 270], [0, 0, 10, 20])
    assert cameras().elevation.rad2deg().tolist() == pytest.approx([0, 0, 10, 20], abs=1e-4)
    cameras().transform(normal(4, 5, 3)).square().sum(0)[:, 0].sum().backward()
    for parameter in cameras.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()
    assert cameras.azimuth.grad is not None and (cameras.azimuth.grad != 0).all()


def test_cameras_cannot_all_come_nearer() -> None:
    cameras = ViewCameras([0, 120, 240], [0, 0, 0])
    with torch.no_grad():
        cameras.log_distance.copy_(torch.tensor([0.5, 0.6, 0.7]))
    assert torch.allclose(cameras().log_distance, torch.tensor([-0.1, 0.0, 0.1]), atol=1e-6)


def test_a_camera_that_rises_sees_the_top_and_one_nearer_sees_more() -> None:
    top = torch.tensor([[[0.0, -0.05, 0.0]]])
    assert orbit([0.0], 30.0).transform(top)[0, 0, 2] < orbit([0.0]).transform(top)[0, 0, 2]
    assert orbit([0.0], 0.0, -0.2).transform(top)[0, 0, 2] < CENTRE_DEPTH
    # gone round to the picture's right, it sees the front on the left
    front = torch.tensor([[[0.0, 0.0, -0.05]]])
    assert orbit([60.0]).transform(front)[0, 0, 0] < 0


# -- W* --------------------------------------------------------------------------------------------


def test_styles_make_the_teachers_pictures() -> None:
    generator = load_teacher("random-16").generator
    synthesis = synthesis_of(generator, "teacher")
    w = normal(2, generator.num_ws, generator.w_dim)
    network = StyleSynthesis(synthesis)
    for given_w in (w, w[:, 0]):
        made = network(style_codes(synthesis, given_w))
        assert torch.allclose(made, generator.synthesis(given_w), atol=1e-5)


def test_the_view_code_is_that_of_the_first_four_rows() -> None:
    generator = load_teacher("random-16").generator
    synthesis = synthesis_of(generator, "teacher")
    size = StyleSynthesis(synthesis).view_size
    w = normal(1, generator.num_ws, generator.w_dim)
    for rows, same in (
        (slice(VIEW_ROWS), slice(size, None)),
        (slice(VIEW_ROWS, None), slice(size)),
    ):
        other = w.clone()
        other[:, rows] += 1
        before, after = (style_codes(synthesis, each) for each in (w, other))
        assert torch.equal(before[:, same], after[:, same])
        kept = torch.zeros(before.shape[1], dtype=torch.bool)
        kept[same] = True
        assert (before != after)[:, ~kept].float().mean() > 0.9


def test_sizes_of_the_papers_codes() -> None:
    """2048 and 3008 (section 3.3): the convolutions and the last layer that makes the image."""
    with torch.device("meta"):
        synthesis = Synthesis(GeneratorConfig(512, 512, 512, 8, channel_table(512, 16384)))
    layers = list(style_layers(synthesis))
    counted = [
        (len(layer.affine.weight), row)
        for layer, row in layers
        if not isinstance(layer, ToRGB) or layer is layers[-1][0]
    ]
    assert len(counted) == 16
    assert sum(width for width, row in counted if row < VIEW_ROWS) == 2048
    assert sum(width for width, row in counted if row >= VIEW_ROWS) == 3008


def test_other_generators_are_refused() -> None:
    with pytest.raises(UserError, match=r"teacher=x: not a StyleGAN2; expected one"):
        synthesis_of(load_teacher("random-eg3d", conditional=True).generator, "teacher=x")


# -- networks --------------------------------------------------------------------------------------


def mapping(view_dims: int = 3) -> MappingNetwork:
    config = MappingConfig(view_dims=view_dims, hidden=16, width=4)
    return MappingNetwork(
        config, (16, 16), 16, 12, 2 + normal(18), 1 + normal(18, seed=1).abs(), 10
    )


def test_s_is_shared_out_and_entropy_is_least_where_each_has_one_property() -> None:
    network = mapping()
    codes = ContentCodes(*(normal(2, 8, seed=seed) for seed in range(3)))
    assert torch.allclose(network.weights.sum(0), torch.ones(8))
    assert network.entropy().item() == pytest.approx(math.log(3))
    assert torch.allclose(network.join(codes), torch.stack(codes).mean(0), atol=1e-6)
    with torch.no_grad():
        network.logits[1, :4], network.logits[2, 4:] = 100.0, 100.0
    assert network.entropy().item() == pytest.approx(0.0, abs=1e-6)
    joined = network.join(codes)
    assert torch.allclose(joined[:, :4], codes.texture[:, :4])
    assert torch.allclose(joined[:, 4:], codes.background[:, 4:])
    network.entropy().backward()  # of ones and zeros, too
    assert network.logits.grad is not None and network.logits.grad.isfinite().all()


def test_the_camera_sets_what_is_most_correlated_with_it() -> None:
    network, cameras = mapping(), orbit([20.0 * k for k in range(18)], 5.0)
    codes = normal(18, 10, seed=3)
    codes[:, 2] = 3 * cameras.azimuth.cos() - 1
    codes[:, 7] = 2 * cameras.azimuth.sin() + cameras.azimuth.cos()
    codes[:, 4] = cameras.azimuth.sin() + 0.3 * normal(18, seed=4)
    network.choose(codes, cameras)
    assert network.view_index.tolist() == [2, 4, 7]
    made = network.view_codes(cameras)
    others = [k for k in range(10) if k not in (2, 4, 7)]
    assert torch.equal(made[:, others], network.view_mean[others].expand(18, -1))
    mean = (codes.mean(0) - network.mean[:10]) / network.deviation[:10]
    assert torch.allclose(network.view_mean, mean, atol=1e-5)
    assert (made[:, [2, 4, 7]].std(0) > 0).all()


def test_multiple_correlation() -> None:
    features = normal(40, 3)
    values = torch.stack((features @ normal(3, seed=1), normal(40, seed=2), torch.ones(40)), 1)
    found = multiple_correlation(features, values)
    assert found[0].item() == pytest.approx(1, abs=1e-5)
    assert found[1] < 0.5 and found[2] == 0


def test_the_difference_of_codes_is_in_deviations() -> None:
    network = mapping()
    own = normal(2, 18)
    assert network.error(own, own) == 0
    assert network.error(own + 2 * network.deviation, own).item() == pytest.approx(4, rel=1e-4)


# -- losses ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> StyleGANR:
    overrides = ["image_size=32", "teacher=random-32", "cameras.fov=10", "cameras.refinement=15"]
    spec = registry("methods").get("stylegan-r")
    return cast(StyleGANR, build(spec, compose(spec, "check", overrides=overrides)).eval())


@pytest.fixture
def things(model: StyleGANR) -> Properties:
    """Three long bodies, differently coloured all round."""
    vertices = model.template.vertices
    move = vertices * torch.tensor([-0.4, -0.5, 0.2])
    texture = torch.nn.functional.interpolate(normal(3, 3, 2, 4), (8, 16), mode="bicubic").tanh()
    return Properties(move.expand(3, -1, -1) + 0.02 * normal(3, 1, 3), texture)


def test_the_terms_are_means_of_what_pictures_differ_by(
    model: StyleGANR, things: Properties
) -> None:
    losses, camera = LossConfig(), orbit([10.0, 80.0, 200.0])
    drawn = model.draw(things, camera)
    images, masks = normal(3, 3, 32, 32).clamp(-1, 1), drawn.mask
    terms = view_terms(drawn, images, masks, losses, None)
    assert terms.keys() == {"iou", "colour"}
    apart = disagreement(drawn, images, masks, losses)
    assert torch.stack(list(terms.values())).sum().item() == pytest.approx(apart.mean().item())
    own = disagreement(drawn, drawn.over(0.0), masks, losses)
    assert (own < apart).all() and own.max() < 0.5 * losses.iou
    with_loss = view_terms(drawn, images, masks, losses, model.perceptual)
    assert with_loss["perceptual"] > 0


def test_the_sphere_costs_nothing_but_its_own_flatness(model: StyleGANR) -> None:
    still = torch.zeros(2, len(model.template.vertices), 3)
    terms = shape_terms(still, model.template, LossConfig())
    assert terms["laplacian"] == terms["move"] == 0
    assert terms["flat"] > 0
    shifted = shape_terms(still + 0.1, model.template, LossConfig())
    assert shifted["laplacian"].item() == pytest.approx(0, abs=1e-10)
    assert shifted["move"].item() == pytest.approx(2.5 * 3 * 0.01, rel=1e-5)


def test_cycles_are_closed_by_the_same_properties(things: Properties) -> None:
    assert all(value == 0 for value in cycle_terms(things, things).values())
    other = Properties(things.move + 2, things.texture)
    assert cycle_terms(things, other)["shape"].item() == pytest.approx(4)


def test_cameras_of_pictures_are_found(model: StyleGANR, things: Properties) -> None:
    """The nearest of the learnt ones, 30 degrees apart, and from there by gradients."""
    true = orbit([38.0, 171.0, 290.0], 4.0, 0.03)
    with torch.no_grad():
        drawn: MeshRendering = model.draw(things, true)
    found = model.find_cameras(things, drawn.over(0.0), drawn.mask)
    start = torch.tensor([30.0, 180.0, 300.0])
    error = (found.azimuth.rad2deg() - true.azimuth.rad2deg() + 180) % 360 - 180
    before = (start - true.azimuth.rad2deg()).abs()
    assert (error.abs() < before).all() and error.abs().mean() < 0.6 * before.mean()
    # a picture's camera does not depend on which others it is found with
    alone = model.find_cameras(things[1:2], drawn.over(0.0)[1:2], drawn.mask[1:2])
    assert torch.allclose(alone.azimuth, found.azimuth[1:2], atol=1e-4)


def test_scenes_are_in_the_frame_of_the_cars(model: StyleGANR) -> None:
    images = normal(2, 3, 32, 32).clamp(-1, 1)
    scene = model.reconstruct(images)
    assert scene.input_view is not None
    turned = scene.render(View.from_orbit(90.0, 0.0, centre_depth=CENTRE_DEPTH))
    seen = model.draw(model.inverse_graphics(images), orbit([90.0, 90.0]), supersample=2)
    assert torch.allclose(turned.mask, seen.mask, atol=1e-4)
    mesh = scene.mesh(0)
    assert torch.allclose(mesh.vertices.mean(0)[2], torch.tensor(CENTRE_DEPTH), atol=0.02)
    with pytest.raises(UserError, match=r"this run takes \(B, 3, 32, 32\)"):
        model.reconstruct(images[..., :16])


@torch.no_grad()
def test_mixing_shows_the_nearest_view_code(
    model: StyleGANR, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = normal(2, model.generator.w_dim)
    monkeypatch.setattr(model, "embed", lambda images: w[: len(images)])
    scene = model.row_scene(MIXING, normal(2, 3, 32, 32).clamp(-1, 1))
    cameras = model.cameras()
    asked = Orbit(cameras.azimuth[[3, 7]] + 0.1, cameras.elevation[[3, 7]], torch.zeros(2))
    shown = scene.render(asked.view).rgb
    codes = mix_styles(model.pictures.view_codes[[3, 7]], w, VIEW_ROWS, model.generator.num_ws)
    expected = model.generator.synthesis(codes).clamp(-1, 1)
    assert torch.allclose(shown, expected, atol=1e-5)
    assert not torch.allclose(shown[0], shown[1], atol=0.1)


@torch.no_grad()
def test_swaps(model: StyleGANR) -> None:
    images = normal(3, 3, 2, 2)
    images = torch.nn.functional.interpolate(images, (32, 32), mode="bilinear").clamp(-1, 1)
    mask = torch.zeros(3, 1, 32, 32)
    mask[..., 8:24, 8:24] = 1
    with torch.no_grad():
        found = model.inverse_graphics(images)
    order, camera = torch.tensor([2, 0, 1]), orbit([0.0, 90.0, 200.0])
    own = Seen(images, mask, found, camera)
    other = own[order]
    drawn = model.draw(own.properties, own.camera, 2)
    for renderer in ("mesh", "neural"):
        parts = ("shape", "texture", "background")
        same = [swapped(model, own, own, what, renderer) for what in parts]  # type: ignore[arg-type]
        assert all(torch.equal(each, same[0]) for each in same)  # one's own for one's own
        others = [swapped(model, own, other, what, renderer) for what in parts]  # type: ignore[arg-type]
        assert all((each - same[0]).abs().max() > 1e-3 for each in others)
    # by meshes each part is the part
    inside = (drawn.mask == 1).expand_as(images)
    background = swapped(model, own, other, "background", "mesh")
    mesh = swapped(model, own, own, "shape", "mesh")
    assert torch.equal(background[inside], mesh[inside])
    mixed = model.swap(images, images, "texture", "mixing")
    assert torch.allclose(
        mixed, model.generator.synthesis(model.embed(images)).clamp(-1, 1), atol=1e-4
    )
    with pytest.raises(UserError, match="unknown part to swap 'wheels'"):
        model.swap(images, images, "wheels")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="unknown renderer"):
        model.swap(images, images, "shape", "dib-r")  # type: ignore[arg-type]
