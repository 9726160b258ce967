"""Parts of EG3D training: heads from exact cameras, cameras of pictures, what fades, density."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from gan3d_bench.config import compose
from gan3d_bench.errors import UserError
from gan3d_bench.generators.eg3d import RELEASED, CameraOrbit, EG3DGenerator
from gan3d_bench.generators.eg3d.cameras import camera_of
from gan3d_bench.generators.eg3d.config import EG3DConfig
from gan3d_bench.generators.eg3d.dataset_labels import LABELS, read_labels
from gan3d_bench.generators.eg3d.superresolution import VARIANTS
from gan3d_bench.generators.eg3d.triplanes import PLANE_AXES
from gan3d_bench.generators.eg3d.volume import Jitter, VolumeConfig, camera_rays, render_rays
from gan3d_bench.generators.stylegan2.generator import normalize_latent
from gan3d_bench.generators.stylegan2.linear_mapping import make_linear
from gan3d_bench.heads.sampling import (
    CENTRE_DEPTH,
    FIELD_OF_VIEW,
    LAYOUT,
    NUM_LATENTS,
    canonical_heads,
    render_heads,
    sample_heads,
)
from gan3d_bench.methods.eg3d import config as eg3d_config
from gan3d_bench.methods.eg3d.conditioning import blurred, fade, swapped, volume_size
from gan3d_bench.methods.eg3d.config import (
    DensityConfig,
    EllipsoidConfig,
    NetworkConfig,
    VolumeFade,
)
from gan3d_bench.methods.eg3d.data import Photographs
from gan3d_bench.methods.eg3d.density import density_loss, draw_points
from gan3d_bench.methods.eg3d.ellipsoid import (
    EMPTY,
    draw_around,
    ellipsoid_density,
    ellipsoid_loss,
)
from gan3d_bench.methods.eg3d.heads import VIEW, cameras_of, draw_latents, seen_heads
from gan3d_bench.methods.eg3d.networks import architecture, build_generator
from gan3d_bench.methods.eg3d.spec import SPEC
from gan3d_bench.rendering.cameras import PinholeCamera

ORBIT = CameraOrbit(1.0, (0.0, 0.0, 0.0), NetworkConfig().focal_length)


# -- heads --------------------------------------------------------------------------------------


def drawn(count: int = 3, views: int = 4) -> tuple[Tensor, Tensor]:
    return draw_latents(count, 140, views, 1.5, torch.Generator().manual_seed(0))


def test_cameras_project_heads_to_where_they_are_rendered() -> None:
    """By the label alone, whatever the suite's views are: world, camera, pixel."""
    latents, views = drawn()
    heads = seen_heads(latents, views)
    canonical, *_ = canonical_heads(heads)
    labels = cameras_of(heads, ORBIT, 64).double()
    # the world's y is up and its z towards the frontal camera, which is at (0, 0, 1)
    world = canonical.double() * torch.tensor([1, -1, -1]) + torch.tensor([0, 0, 1])
    pose = labels[:, :16].unflatten(1, (4, 4))
    there = (world - pose[:, None, :3, 3]) @ pose[:, :3, :3]
    focal = labels[:, None, 16:17]
    expected = heads.view.transform(canonical).double()
    torch.testing.assert_close(there, expected, atol=1e-6, rtol=1e-5)
    # pixel i of EG3D is at (i + 0.5) / 64 of the side
    pixel = 64 * (focal * there[..., :2] / there[..., 2:] + 0.5) - 0.5
    own = PinholeCamera(64, FIELD_OF_VIEW)
    rendered = own.focal * expected[..., :2] / expected[..., 2:] + own.centre[0]
    torch.testing.assert_close(pixel, rendered, atol=1e-3, rtol=0)
    assert camera_of(labels.float(), 64).fov == pytest.approx(FIELD_OF_VIEW, abs=1e-4)
    assert ORBIT.centre_depth == CENTRE_DEPTH


def test_a_heads_own_picture_is_that_of_the_data() -> None:
    """With the view put back into its latents."""
    latents, views = drawn()
    whole = torch.cat((latents[:, : VIEW.start], views[:, 0], latents[:, VIEW.start :]), 1)
    own = render_heads(sample_heads(whole), 16)["image"]
    turned = render_heads(seen_heads(latents, views), 16)["image"].unflatten(0, (3, 4))
    torch.testing.assert_close(turned[:, 0], own, atol=1e-5, rtol=0)


def test_what_a_head_is_does_not_depend_on_its_cameras_but_its_light_on_the_first() -> None:
    latents, views = drawn()
    heads = seen_heads(latents, views)
    for name in ("identity", "expression", "albedo", "ambient", "diffuse", "background"):
        value = getattr(heads, name).unflatten(0, (3, 4))
        assert torch.equal(value, value[:, :1].expand_as(value)), name
    # the lamp stays where it is while other cameras go round the head
    lamp = heads.light.in_scene(heads.view).direction.unflatten(0, (3, 4))
    torch.testing.assert_close(lamp, lamp[:, :1].expand_as(lamp), atol=1e-5, rtol=0)
    own = heads.light_direction.unflatten(0, (3, 4))[:, 0]
    light = latents.new_zeros(3, NUM_LATENTS)
    light[:, LAYOUT["light"]] = latents[:, 128:132]
    torch.testing.assert_close(own, sample_heads(light).light_direction, atol=1e-5, rtol=0)
    assert heads.angles.unflatten(0, (3, 4)).std(1).min() > 0.1


def test_latents_are_normalised_and_other_views_spread_wider() -> None:
    latents, views = draw_latents(500, 150, 3, 2.0, torch.Generator().manual_seed(1))
    torch.testing.assert_close(latents, normalize_latent(latents))
    assert views[:, 0].std() == pytest.approx(1, abs=0.1)
    assert views[:, 1:].std() == pytest.approx(2, abs=0.1)


# -- pictures with cameras ----------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures of 70 pixels in a folder within, and their cameras."""
    root = tmp_path / "pictures"
    (root / "00000").mkdir(parents=True)
    for number, level in enumerate((40, 200)):
        Image.new("RGB", (70, 70), (level,) * 3).save(root / "00000" / f"img{number}.png")
    write_labels(root, ORBIT.look_at(torch.tensor([0.2, -0.3]), torch.tensor([0.0, 0.1])).tolist())
    return root


def write_labels(root: Path, rows: list[list[float]]) -> None:
    entries = [[f"00000/img{number}.png", row] for number, row in enumerate(rows)]
    (root / LABELS).write_text(json.dumps({"labels": entries}))


def test_pictures_with_eg3d_labels(folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(tmp_path / "home"))
    found = Photographs(str(folder), 64, "refuse")
    posed = found.read(torch.tensor([1]))
    assert posed.images.shape == (1, 1, 3, 64, 64) and posed.latents is None
    assert torch.allclose(posed.images, torch.tensor(200 / 127.5 - 1))
    expected = ORBIT.look_at(torch.tensor([-0.3]), torch.tensor([0.1]))
    torch.testing.assert_close(posed.cameras[0], expected)
    torch.testing.assert_close(found.cameras[1:], expected)


def test_pictures_that_no_camera_is_for(folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(tmp_path / "home"))
    with pytest.raises(UserError, match="70 x 70 pixels; expected a square of at least 128"):
        Photographs(str(folder), 128, "refuse")
    Image.new("RGB", (80, 70)).save(folder / "00000" / "img2.png")
    with pytest.raises(UserError, match="80 x 70 pixels; expected a square"):
        Photographs(str(folder), 64, "refuse")
    assert len(Photographs(str(folder), 64, "skip")) == 2
    Image.new("RGB", (70, 70)).save(folder / "00000" / "img2.png")
    with pytest.raises(UserError, match=r"img2\.png': no camera in dataset\.json"):
        Photographs(str(folder), 64, "refuse")
    (folder / "00000" / "img2.png").unlink()
    row = ORBIT.frontal()[0].tolist()
    write_labels(folder, [row, [2 * x for x in row]])
    with pytest.raises(UserError, match=r"number 1 is .*expected a 4 x 4 cam2world"):
        Photographs(str(folder), 64, "refuse")


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "{}", '{"labels": null}', '{"labels": [["a.png", null]]}',
        '{"labels": [["a.png", [1, "x"]]]}', '{"labels": [["a.png"]]}',
        '{"labels": [["a.png", [1, 2]]]}', "[" * 100_000, "\xff",
    ],
)  # fmt: skip
def test_labels_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / LABELS).write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"dataset\.json: .*expected \{\"labels\"") as caught:
        read_labels(tmp_path / LABELS)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"absent: .*expected"):
        read_labels(tmp_path / "absent")


# -- what fades ---------------------------------------------------------------------------------


def test_fades_are_lines() -> None:
    assert [fade(1.0, 0.5, n, 1.0) for n in (0, 500, 1000, 5000)] == [1.0, 0.75, 0.5, 0.5]
    assert fade(10.0, 0.0, 0, 0.0) == 0.0
    growing = VolumeFade(64, 1.0)
    assert [volume_size(growing, 128, n) for n in (0, 504, 1000, 2000)] == [64, 96, 128, 128]
    assert volume_size(VolumeFade(), 32, 0) == 32


def test_swapped_cameras_are_the_neighbours() -> None:
    cameras = torch.arange(6.0)[:, None].expand(6, 25)
    for seed, together in ((0, False), (1, True)):

        def rng(seed: int = seed) -> torch.Generator:
            return torch.Generator().manual_seed(seed)

        everyone = swapped(cameras, 1.0, rng(), together=together)
        assert everyone[:, 0].tolist() == [5, 0, 1, 2, 3, 4]
        assert torch.equal(swapped(cameras, 0.0, rng(), together=together), cameras)
    rng = torch.Generator().manual_seed(0)
    many = [swapped(cameras, 0.3, rng)[:, 0] != cameras[:, 0] for _ in range(500)]
    assert torch.stack(many).float().mean() == pytest.approx(0.3, abs=0.03)
    both = [swapped(cameras, 0.5, rng, together=True)[:, 0] != cameras[:, 0] for _ in range(50)]
    assert {int(x.sum()) for x in both} == {0, 6}


def test_blur_has_the_released_taps() -> None:
    image = torch.zeros(1, 3, 21, 21)
    image[:, :, 10, 10] = 1.0
    sigma = 2.0
    found = blurred(image, sigma)
    k = torch.arange(-6, 7.0)
    taps = 2 ** -((k / sigma) ** 2)
    taps = taps / taps.sum()
    torch.testing.assert_close(found[0, 1, 4:17, 4:17], taps[:, None] * taps[None])
    assert found[0, 1, 3].abs().max() == 0
    assert blurred(image, 0.3) is image
    assert float(found.sum()) == pytest.approx(3.0, abs=1e-5)


# -- density ------------------------------------------------------------------------------------


def test_points_and_their_neighbours() -> None:
    config = DensityConfig(density_points=5000, density_box=2.0, density_distance=0.004)
    points, neighbours = draw_points(2, config, torch.Generator().manual_seed(0))
    assert points.shape == (2, 5000, 3)
    assert points.min() == pytest.approx(-1, abs=0.01) and points.max() == pytest.approx(
        1, abs=0.01
    )
    assert (neighbours - points).std() == pytest.approx(0.004, rel=0.03)


def test_density_loss_is_the_mean_difference_of_raw_densities() -> None:
    generator = EG3DGenerator(EG3DConfig())
    planes = torch.randn(2, 3, 16, 64, 64, requires_grad=True)
    points = (torch.rand(2, 50, 3) - 0.5) * 0.9
    field = generator.synthesis.field(planes)
    expected = (field.density(points) - field.density(points + 0.01)).abs().mean()
    loss = density_loss(generator, planes, points, points + 0.01)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert planes.grad is not None and planes.grad.abs().sum() > 0
    assert float(density_loss(generator, planes.detach(), points, points).detach()) == 0


# -- rays and networks --------------------------------------------------------------------------


def test_jitter_that_was_drawn_before_is_that_of_a_generator() -> None:
    config = VolumeConfig(coarse_samples=6, fine_samples=5)
    rays = camera_rays(CameraOrbit().frontal(2), 4)

    def field(points: Tensor) -> tuple[Tensor, Tensor]:
        return points.abs().clamp(max=1), 10 * points[..., 0]

    once = render_rays(field, rays, config, torch.Generator().manual_seed(3))
    jitter = Jitter.draw(2, 16, config, torch.Generator().manual_seed(3))
    again = render_rays(field, rays, config, jitter)
    for x, y in zip(once, again, strict=True):
        assert torch.equal(x, y)
    # a picture has its own, whatever else is rendered with it
    part = Jitter(*(x[1:] for x in jitter))
    alone = render_rays(field, type(rays)(*(x[1:] for x in rays)), config, part)
    torch.testing.assert_close(alone.features, once.features[1:])


def test_linear_mapping_passes_latents_and_a_part_of_the_camera() -> None:
    generator = build_generator(NetworkConfig(z_dim=140, w_dim=150))
    make_linear(generator.mapping)
    z, labels = torch.randn(4, 140), ORBIT.look_at(torch.linspace(-1, 1, 4), torch.zeros(4))
    w = generator.mapping(z, labels)
    embedded = normalize_latent(generator.mapping.embed(labels))
    expected = -torch.cat((normalize_latent(z), embedded[:, :10]), 1)
    torch.testing.assert_close(w, expected, atol=1e-5, rtol=1e-5)


def test_an_untrained_volume_has_the_density_asked_for() -> None:
    generator = build_generator(NetworkConfig(start_density=25.0, decoder_lr=4.0))
    point = torch.full((1, 1, 3), 5.0)  # outside of the planes, whose features are 0
    bare = build_generator(NetworkConfig(decoder_lr=4.0))
    bare.load_state_dict(generator.state_dict())
    bare.synthesis.decoder.out.bias.data[0] = 0
    planes = torch.zeros(1, 3, 16, 64, 64)
    more = generator.synthesis.field(planes).density(point) - bare.synthesis.field(planes).density(
        point
    )
    assert float(more.detach()) == pytest.approx(25.0, rel=1e-5)


def test_names_and_sizes_are_the_generators() -> None:
    sizes = {name: variant.output_size for name, variant in VARIANTS.items()}
    assert sizes == eg3d_config.IMAGE_SIZES
    assert set(PLANE_AXES) == set(eg3d_config.PLANE_AXES)
    view = LAYOUT["view"]
    assert NUM_LATENTS - (view.stop - view.start) == eg3d_config.HEAD_LATENTS


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("network.super_resolution=hybrid-3x", "did you mean 'hybrid-"),
        ("network.rays=[1,0.5]", "network.rays=[1.0, 0.5]: expected 0 < first < last"),
        ("network.pivot=[0,0,2]", "expected numbers within network.radius=1"),
        ("network.z_dim=100", "network.z_dim=100: expected at least 140"),
        ("network.channels={32: 8}", "expected the channels at [4, 8, 16]"),
        ("network.discriminator_channels={128: 8}", "expected the channels at [4, 8, 16, 32, 64]"),
        ("network.w_dim=100", "expected w_dim no less than z_dim"),
        ("network.radius=2.7", "network.radius=2.7"),
        ("ellipsoid.axes=[0.2,0.1,0.1]", "expected at most half of network.box=0.24"),
        ("network.focal=4.2647", "network.focal=4.2647"),
        ("data.path=.", "pictures without latents"),
        ("regression.views=9", "regression.views=9: expected at most the 3 of data.views"),
        ("regression.start_volume_size=64", "expected at most the 16 of network.volume_size"),
        ("adversarial.swap=2", "adversarial.swap=2.0: expected a number from 0 to 1"),
        ("regression.perceptual=lpips", "did you mean"),
    ],
)  # fmt: skip
def test_config_errors(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        compose(SPEC, "check", None, [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_published_preset_is_the_released_architecture(tmp_path: Path) -> None:
    config = compose(SPEC, "paper-ffhq-512", None, [f"data.path={tmp_path}"])
    assert architecture(config.network) == RELEASED["ffhq512"]
    with pytest.raises(UserError, match=r"data\.path='': expected pictures for network"):
        compose(SPEC, "paper-ffhq-512")


def test_the_preset_of_heads_makes_their_size() -> None:
    generator = build_generator(compose(SPEC, "heads-64").network)
    assert generator.image_size == compose(SPEC, "heads-64").image_size == 64


def test_heads_are_seen_by_their_own_camera() -> None:
    for name, size in eg3d_config.IMAGE_SIZES.items():
        camera = architecture(NetworkConfig(super_resolution=name)).orbit.camera(size)
        assert camera.fov == pytest.approx(FIELD_OF_VIEW, rel=1e-6)
    assert eg3d_config.HEAD_FIELD_OF_VIEW == FIELD_OF_VIEW
    assert NetworkConfig().radius == CENTRE_DEPTH


def test_an_ellipsoid_is_dense_inside_and_empty_outside() -> None:
    config = EllipsoidConfig(axes=[0.05, 0.08, 0.06], density=90, points=2000)
    points = torch.tensor([[0, 0, 0], [0.04, 0, 0], [0, 0.072, 0], [0, 0, 0.06], [0.09, 0, 0]])
    # a third of the way in all of it; on the surface nothing
    expected = torch.tensor([90.0, 54, 27, 0, EMPTY])
    assert torch.allclose(ellipsoid_density(points, config), expected, atol=1e-3)
    drawn = draw_around(2, config, 0.24, torch.Generator().manual_seed(0))
    assert drawn.shape == (2, 4000, 3)
    even, near = drawn.split(2000, 1)
    assert even.abs().max() <= 0.12 and even.std(1).min() > 0.06
    radius = (near / torch.tensor(config.axes)).norm(dim=-1)
    assert abs(radius.mean() - 1) < 0.02 and 0.2 < radius.std() < 0.3
    generator = build_generator(NetworkConfig())
    planes = torch.zeros(2, 3, NetworkConfig().plane_channels, 8, 8)
    loss = ellipsoid_loss(generator, planes, drawn, config)
    raw = generator.synthesis.field(planes).density(drawn)
    assert torch.allclose(loss, (raw - ellipsoid_density(drawn, config)).abs().mean() / 90)
