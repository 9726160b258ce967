"""Tri-planes as a scene: geometry of a volume that is known, views, meshes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import trimesh
from torch import Tensor, nn

from gan3d_bench.conformance.scenes import check_capability, check_rendering, render
from gan3d_bench.errors import UserError
from gan3d_bench.generators.eg3d.cameras import CameraOrbit
from gan3d_bench.generators.eg3d.scene import TriplaneScene
from gan3d_bench.generators.eg3d.surface import volume_mesh
from gan3d_bench.generators.eg3d.teacher import random_pair
from gan3d_bench.generators.eg3d.triplanes import TriplaneField
from gan3d_bench.generators.eg3d.volume import VolumeConfig
from gan3d_bench.geometry.glb import save_glb
from gan3d_bench.geometry.meshes import vertex_normals
from gan3d_bench.geometry.views import View
from gan3d_bench.pictures.grids import colour_on_white, unit_range
from gan3d_bench.scenes.joined import JoinedScenes

GENERATOR, _ = random_pair()
ORBIT = CameraOrbit(2.7, (0.0, 0.0, 0.0))
RADII = (0.2, 0.3, 0.35)  # of an ellipsoid, along x, y, z of the world


class Ellipsoid(nn.Module):
    """Stands in for a decoder: what the planes hold tells inside from outside; see `planes`."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # the mean over the planes, three times which is their sum; outside of the cube that is 0
        density = (3 * x[..., 0] - 1) * 40_000
        return torch.stack((x[..., 1] * 3, x[..., 2] * 3, x[..., 3] * 3), -1), density


def planes(size: int = 96) -> Tensor:
    """(1, 3, 4, S, S) whose first channel sums up to 2 - (x/a)^2 - (y/b)^2 - (z/c)^2; the others
    are colours: red to the right, green upwards, blue to the front."""
    line = (torch.arange(size) + 0.5) / size - 0.5
    v, u = torch.meshgrid(line, line, indexing="ij")
    a, b, c = RADII
    zero = torch.zeros_like(u)
    # half of it on each plane: where one of them is left, the other one is not inside by itself
    xy = torch.stack((1 - (u / a) ** 2 / 2 - (v / b) ** 2, u + 0.5, v + 0.5, zero))
    xz = torch.stack((1 - (u / a) ** 2 / 2 - (v / c) ** 2, zero, zero, v + 0.5))
    return torch.stack((xy, xz, torch.zeros_like(xy)))[None]


FIELD = TriplaneField(planes(), Ellipsoid())  # type: ignore[arg-type]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> TriplaneScene:
    """The ellipsoid, in a generator whose super-resolution shows the raw image."""
    generator, _ = random_pair()
    config = replace(generator.config, orbit=ORBIT, volume=VolumeConfig((2.25, 3.15)))
    generator.config = generator.synthesis.config = config
    generator.synthesis.decoder = Ellipsoid()  # type: ignore[assignment]
    monkeypatch.setattr(
        generator.synthesis,
        "upscale",
        lambda features, w: nn.functional.interpolate(features[:, :3], (64, 64)),
    )
    return TriplaneScene(generator, planes(), torch.zeros(1, 16), volume_size=64)


# -- pictures -----------------------------------------------------------------------------------


def hit(points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distance to the ellipsoid along rays, world axes; which well inside hit it, which miss it."""
    scale = points.new_tensor(RADII)
    p, d = points / scale, directions / scale
    a, b, c = (d * d).sum(-1), (p * d).sum(-1), (p * p).sum(-1) - 1
    root = b * b - a * c
    return (-b - root.clamp(min=0).sqrt()) / a, root > 0.1 * a, root < -0.1 * a


@pytest.mark.parametrize("view", [(0.0, 0.0, 0.0), (40.0, 0.0, 0.0), (-25.0, 15.0, 10.0)])
def test_depth_and_normals_are_those_of_the_ellipsoid(scene: TriplaneScene, view: tuple) -> None:
    at = View.from_angles(*view, (0.02, -0.01, 0.03), centre_depth=ORBIT.centre_depth)
    seen = scene.render(at)
    rays = scene.camera.rays(seen.rgb)  # camera axes, z = 1
    # where the camera and its rays are in the canonical frame, then in the world
    turn = torch.tensor([1.0, -1.0, -1.0])
    origin = at.inverse_transform(torch.zeros(1, 1, 3))
    ahead = at.inverse_transform(rays[None]) - origin
    start = (origin - torch.tensor([0.0, 0.0, 2.7])) * turn
    distance, inside, outside = hit(start, ahead * turn)  # in units of z, since the rays have z = 1
    assert inside.sum() > 300
    mask = seen.mask[:, 0] > 0.5
    assert mask[inside].all()
    assert not mask[outside].any()
    depth = seen.depth[:, 0]
    assert (depth - distance)[inside].abs().mean() < 0.006
    assert (depth - distance)[inside].abs().max() < 0.03
    # normals, from the ellipsoid's gradient
    point = start + distance[..., None] * ahead * turn
    normal = nn.functional.normalize(point / torch.tensor(RADII) ** 2, dim=-1) * turn
    cosine = (at.rotate(normal) * seen.normal.movedim(1, -1)).sum(-1)
    assert cosine[inside].mean() > 0.97
    assert (seen.normal[:, 2][inside] < 0).float().mean() > 0.99


def test_the_subject_turns_as_the_suite_s_do(scene: TriplaneScene) -> None:
    """With yaw the nose (blue) goes to the right edge; what is right of it (red) goes back."""
    front, turned = (render_at(scene, yaw) for yaw in (0.0, 50.0))
    for picture in (front, turned):
        assert picture.mask[0, 0, 32, 32] == 1
    rows = slice(28, 36)
    blue = turned.rgb[0, 2, rows]
    mask = turned.mask[0, 0, rows] > 0.5
    columns = torch.arange(64).expand_as(blue)
    bright = mask & (blue > blue[mask].quantile(0.9))
    assert columns[bright].float().mean() > columns[mask].float().mean() + 2
    red = front.rgb[0, 0, rows]
    assert red[:, 38].mean() > red[:, 26].mean() + 0.05
    green = front.rgb[0, 1]
    assert green[24, 30:34].mean() > green[40, 30:34].mean() + 0.05


def render_at(scene: TriplaneScene, yaw: float):
    return scene.render(View.from_angles(yaw, centre_depth=ORBIT.centre_depth))


def test_scenes_of_a_generator_are_what_conformance_asks_for() -> None:
    w = GENERATOR.stylecodes(torch.randn(2, 16), GENERATOR.config.orbit.frontal(2))
    scene = TriplaneScene.of_stylecodes(GENERATOR, w, mesh_size=24)
    assert scene.batch_size == 2
    # a volume that was not trained is a haze: make it opaque, so that there is something to see
    with torch.no_grad():
        generator, _ = random_pair()
        generator.synthesis.decoder.out.bias[0] = 12.0
    scene.generator = generator
    for yaw in (0.0, 30.0):
        seen = render(scene, yaw)
        check_rendering("scene", scene, seen)
        assert seen.rgb.shape == (2, 3, 64, 64)
    for capability in ("depth", "normal", "mesh"):
        check_capability("sample", scene, capability)
    assert scene.render(View.from_angles(0.0), image_size=32).depth.shape == (2, 1, 32, 32)
    with pytest.raises(UserError, match="cannot give 'relight'"):
        scene.require("relight")
    # the frontal view is what the frontal camera sees
    labels = generator.config.orbit.frontal(2)
    image = generator.synthesis.upscale(
        generator.synthesis.render(scene.planes, labels).features, w
    )
    torch.testing.assert_close(render(scene, 0.0).rgb, image.clamp(-1, 1), rtol=0, atol=2e-3)


def test_memory_and_size_of_subjects_are_not_mixed() -> None:
    """Subjects that are rendered together look as they do alone."""
    w = GENERATOR.stylecodes(torch.randn(3, 16), GENERATOR.config.orbit.frontal(3))
    whole = render(TriplaneScene.of_stylecodes(GENERATOR, w), 20.0)
    alone = render(TriplaneScene.of_stylecodes(GENERATOR, w[1:2]), 20.0)
    torch.testing.assert_close(whole.rgb[1:2], alone.rgb, rtol=1e-4, atol=1e-4)


def test_pictures_show_the_generator_s_own_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no volume is opaque, which the mask leaves out."""
    monkeypatch.setattr("gan3d_bench.generators.eg3d.scene.OPAQUE", 2.0)
    w = GENERATOR.stylecodes(torch.randn(2, 16), GENERATOR.config.orbit.frontal(2))
    alone = [TriplaneScene.of_stylecodes(GENERATOR, each[None]) for each in w]
    for scene in (TriplaneScene.of_stylecodes(GENERATOR, w), JoinedScenes(alone)):
        for size in (None, 32):
            seen = scene.render(View.from_angles([0.0] * 2), image_size=size)
            assert float(seen.mask.max()) == 0
            assert torch.equal(colour_on_white(seen), unit_range(seen.rgb))
            assert (colour_on_white(replace(seen, whole=False)) == 1).all()


# -- meshes -------------------------------------------------------------------------------------


def test_a_mesh_is_the_ellipsoid(tmp_path: Path) -> None:
    mesh = volume_mesh(FIELD, ORBIT, 64, level=0.0, border=0.1, points_at_once=5000)
    turn = torch.tensor([1.0, -1.0, -1.0])
    world = (mesh.vertices - torch.tensor([0.0, 0.0, 2.7])) * turn
    radius = (world / torch.tensor(RADII)).norm(dim=-1)
    assert (radius - 1).abs().max() < 0.02
    assert mesh.centre_depth == pytest.approx(2.7)
    # closed, and wound so that normals point outward
    solid = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)
    assert solid.is_watertight
    assert solid.volume == pytest.approx(4 / 3 * torch.pi * 0.2 * 0.3 * 0.35, rel=0.02)
    normals = vertex_normals(mesh.vertices[None], mesh.faces)[0] * turn
    outward = nn.functional.normalize(world / torch.tensor(RADII) ** 2, dim=-1)
    assert (normals * outward).sum(-1).min() > 0.9
    # red to the right, green upwards, blue to the front
    assert mesh.colors is not None
    for channel in range(3):
        expected = 2 * (world[:, channel] + 0.5) - 1
        torch.testing.assert_close(mesh.colors[:, channel], expected, rtol=0, atol=0.02)
    file = trimesh.load(save_glb(mesh, tmp_path / "ellipsoid.glb"), force="mesh")
    # glTF: y up, facing +z, the rotation centre at the origin: the world's axes here
    torch.testing.assert_close(
        torch.tensor(file.vertices, dtype=torch.float32).abs().amax(0),
        torch.tensor(RADII),
        rtol=0,
        atol=0.01,
    )
    assert len(file.faces) == len(mesh.faces)


def test_the_border_is_left_out_and_closed() -> None:
    whole = volume_mesh(FIELD, ORBIT, 48, level=0.0, border=0.0)
    cut = volume_mesh(FIELD, ORBIT, 48, level=0.0, border=0.25)
    assert whole.vertices[:, 1].abs().max() > 0.29
    assert cut.vertices[:, 1].abs().max() < 0.26
    assert trimesh.Trimesh(cut.vertices.numpy(), cut.faces.numpy(), process=False).is_watertight


def test_levels() -> None:
    with pytest.raises(UserError, match=r"level=1e\+06: expected a density of the volume, between"):
        volume_mesh(FIELD, ORBIT, 16, level=1e6)
    # densities go up to 40,000: the released level lies just inside the surface
    usual = volume_mesh(FIELD, ORBIT, 48, border=0.1)
    told = volume_mesh(FIELD, ORBIT, 48, level=10.0, border=0.1)
    assert torch.equal(usual.vertices, told.vertices)

    class Thin(Ellipsoid):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            colours, density = super().forward(x)
            return colours, density / 10_000

    # a volume that never reaches it is cut half-way between its least and its greatest density
    thin = volume_mesh(TriplaneField(planes(), Thin()), ORBIT, 24)  # type: ignore[arg-type]
    assert len(thin.faces) > 100
    for wrong in ({"size": 2}, {"size": 10**6}, {"border": 0.5}):
        with pytest.raises(UserError, match="expected 4 to 1024 points"):
            volume_mesh(FIELD, ORBIT, **{"size": 16, **wrong})
