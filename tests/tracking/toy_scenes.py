"""A synthetic scene for the tests of media: egg-shaped heads with a nose, as depth maps."""

from __future__ import annotations

import torch
from torch import Tensor

from gan3d_bench.geometry.meshes import SceneMesh
from gan3d_bench.geometry.views import View
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import depth_normals, warp_to_view
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.rendering.shading import LambertLight, Light, lit_texture
from gan3d_bench.scenes.base import Scene
from gan3d_bench.scenes.depth_map import depth_map_mesh


class HeadScene(Scene):
    """`count` heads; the upper third is red hair, the image's left cheek has a blue dot."""

    capabilities = frozenset({"depth", "normal", "albedo", "relight", "mesh"})

    def __init__(self, count: int = 2, size: int = 32, input_view: View | None = None) -> None:
        self.camera = PinholeCamera(size)
        self.input_view = input_view
        axis = torch.linspace(-1, 1, size)
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        radius = torch.linspace(0.7, 0.8, count).view(-1, 1, 1)
        egg = (1 - (x / radius) ** 2 - (y / 0.9) ** 2).clamp(min=0).sqrt()
        nose = 0.35 * torch.exp(-((x / 0.1) ** 2) - ((y - 0.1) / 0.2) ** 2)
        self.depth = (1.06 - 0.09 * egg - 0.09 * nose * (egg > 0))[:, None]
        skin = torch.tensor([0.6, 0.2, 0.0]).view(1, 3, 1, 1).expand(count, 3, size, size).clone()
        skin[:, :, egg[0] == 0] = torch.tensor([-0.2, -0.1, 0.1]).view(1, 3, 1)
        hair = (y < -0.4) & (egg[0] > 0)
        skin[:, :, hair] = torch.tensor([0.3, -0.8, -0.8]).view(1, 3, 1)
        dot = (x + 0.35) ** 2 + (y - 0.2) ** 2 < 0.02
        skin[:, :, dot] = torch.tensor([-0.8, -0.8, 0.8]).view(1, 3, 1)
        self.albedo = skin

    @property
    def batch_size(self) -> int:
        return len(self.depth)

    def _render(self, view: View, light: Light | None, camera: PinholeCamera) -> Rendering:
        light = light or LambertLight.frontal(self.batch_size)
        normals = depth_normals(self.depth, self.camera)
        maps = torch.cat((self.albedo, normals), 1)
        seen = warp_to_view(maps, self.depth, view, self.camera)
        albedo = seen.image[:, :3]
        normal = view.rotate(seen.image[:, 3:].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        normal = torch.nn.functional.normalize(normal, dim=1)
        shading = light.shade(normal)
        rgb = lit_texture(albedo, shading).clamp(-1, 1)
        return Rendering(rgb, seen.mask, seen.depth, normal, albedo, shading)

    def mesh(self, index: int) -> SceneMesh:
        return depth_map_mesh(self.depth[index], self.albedo[index], self.camera)


class PictureScene(Scene):
    """A generator scene: pictures of turned heads without any geometry."""

    def __init__(self, count: int = 2, size: int = 32) -> None:
        self.heads = HeadScene(count, size)
        self.camera = self.heads.camera

    @property
    def batch_size(self) -> int:
        return self.heads.batch_size

    def _render(self, view: View, light: Light | None, camera: PinholeCamera) -> Rendering:
        rgb = self.heads.render(view).rgb
        return Rendering(rgb, torch.ones_like(rgb[:, :1]))


def random_images(count: int, size: int = 32) -> Tensor:
    """(count, 3, size, size) in [-1, 1], always the same."""
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
