"""The sphere that meshes come from, its texture maps, and their symmetry."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch
from orbits import normal, orbit
from torch import Tensor

from gan3d_bench.config import compose
from gan3d_bench.methods.stylegan_r.config import StyleGANRConfig
from gan3d_bench.methods.stylegan_r.networks import InverseGraphics
from gan3d_bench.methods.stylegan_r.template import SphereTemplate, mirrored
from gan3d_bench.registry import registry
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.mesh import MeshRendering, render_mesh

TEXTURE = 64


def test_the_sphere_is_the_papers() -> None:
    sphere = SphereTemplate.make(3, TEXTURE, 0.6)
    assert (len(sphere.vertices), len(sphere.faces)) == (642, 1280)
    assert len(sphere.topology.edges) == len(sphere.topology.edge_faces) == 1920
    assert torch.allclose(sphere.vertices.norm(dim=1), torch.tensor(0.6), atol=1e-6)
    across = sphere.vertices[sphere.mirror] * torch.tensor([-1.0, 1.0, 1.0])
    assert torch.allclose(across, sphere.vertices, atol=1e-6)
    a, b, c = sphere.vertices[sphere.faces].unbind(1)
    assert ((torch.linalg.cross(b - a, c - a) * (a + b + c)).sum(1) > 0).all()  # outward


@pytest.mark.parametrize("azimuth", [0.0, 60.0, 120.0, 170.0, 180.0, 250.0])
def test_textures_go_round_without_a_seam(azimuth: float) -> None:
    """Each point of the drawn sphere has its longitude's and latitude's colour, at the back too."""
    sphere, width = SphereTemplate.make(3, TEXTURE, 0.06), TEXTURE
    longitude = 2 * math.pi * (torch.arange(width) / width - 0.5)
    latitude = math.pi * (0.5 - torch.arange(width // 2) / (width // 2 - 1))  # north first
    texture = torch.stack(
        (
            longitude.cos().expand(width // 2, -1),
            longitude.sin().expand(width // 2, -1),
            (latitude / (math.pi / 2))[:, None].expand(-1, width),
        )
    )[None]
    camera = orbit([azimuth], elevation=20.0)
    seen = render_mesh(
        camera.transform(sphere.vertices[None]),
        sphere.faces,
        sphere.surface(texture),
        PinholeCamera(48),
        attributes=sphere.vertices[None] / 0.06,
        cull_backfaces=True,
    )
    assert seen.attributes is not None
    inside = seen.mask[0, 0] > 0
    x, y, z = seen.attributes[0][:, inside]
    found = seen.rgb[0][:, inside]
    away = y.abs() < 0.8  # chords of faces near the poles are not circles of latitude
    angle = torch.atan2(x, -z)
    expected = torch.stack((angle.cos(), angle.sin(), -torch.asin(y.clamp(-1, 1)) / (math.pi / 2)))
    assert inside.sum() > 500
    assert (found - expected)[:, away].abs().max() < 0.12


# -- symmetry -------------------------------------------------------------------------------------


def check_config() -> StyleGANRConfig:
    return cast(StyleGANRConfig, compose(registry("methods").get("stylegan-r"), "check"))


def test_symmetric_shapes_are_mirror_images() -> None:
    config = check_config().network
    config.symmetric, config.level = True, 2
    sphere = SphereTemplate.make(2, config.texture_size)
    network = InverseGraphics(config, (16, 16), sphere).eval()
    with torch.no_grad():
        found = network(normal(3, 3, 16, 16).clamp(-1, 1))
    shape = sphere.vertices + found.move
    across = shape[:, sphere.mirror] * torch.tensor([-1.0, 1.0, 1.0])
    assert torch.allclose(across, shape, atol=1e-5)
    assert found.move.std(0).mean() > 1e-3  # another for each picture
    assert found.texture.shape == (3, 3, config.texture_size // 2, config.texture_size)
    # the dents of the start leave neighbours together
    assert (sphere.topology.edge_cosines(shape) > 0).all()


def test_a_mirrored_texture_is_that_of_the_mirrored_picture() -> None:
    """Of a mesh that is its own mirror image, from the other side; at the seam, too."""
    sphere = SphereTemplate.make(3, TEXTURE, 0.06)
    shape = sphere.vertices * torch.tensor([0.7, 0.5, 1.2])
    texture = torch.nn.functional.interpolate(normal(1, 3, 4, 8), (32, TEXTURE), mode="bicubic")
    assert torch.equal(mirrored(mirrored(texture)), texture)

    def picture(azimuth: float, worn: Tensor) -> MeshRendering:
        points = orbit([azimuth], 15.0).transform(shape[None])
        return render_mesh(points, sphere.faces, sphere.surface(worn), PinholeCamera(64))

    for azimuth in (0.0, 40.0, 150.0, 180.0):
        own = picture(azimuth, texture)
        other = picture(-azimuth, mirrored(texture))
        inside = (own.mask * other.mask.flip(-1) > 0).expand_as(own.rgb)
        assert inside.sum() > 1000
        apart = (own.rgb - other.rgb.flip(-1)).abs()[inside]
        assert apart.quantile(0.99) < 1e-3 < 0.1 < (own.rgb - own.rgb.flip(-1)).abs().max()


def test_symmetric_textures_are_mirror_images() -> None:
    config = check_config().network
    images = normal(3, 3, 16, 16).clamp(-1, 1)
    found = []
    for symmetric in (False, True):
        config.symmetric_texture = symmetric
        torch.manual_seed(0)
        sphere = SphereTemplate.make(config.level, config.texture_size)
        with torch.no_grad():
            found.append(InverseGraphics(config, (16, 16), sphere).eval()(images).texture)
    plain, same = found
    assert torch.equal(mirrored(same), same)
    assert not torch.allclose(mirrored(plain), plain, atol=1e-2)
    assert torch.allclose(same, (plain + mirrored(plain)) / 2, atol=1e-6)
