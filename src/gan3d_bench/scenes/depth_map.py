"""Depth-map scenes: canonical depth, albedo and a light, rendered from any view."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.geometry.meshes import SceneMesh
from gan3d_bench.geometry.views import View
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import (
    clamping_range,
    depth_normals,
    grid_faces,
    interpolate_in_view,
    warp_to_view,
)
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.rendering.shading import Light, lit_texture
from gan3d_bench.scenes.base import Scene


class DepthMapScene(Scene):
    """B subjects given by canonical depth maps.

    Args:
        depth: (B, 1, S, S) canonical depth, scene units.
        albedo: (B, 3, S, S) in [-1, 1].
        light: B lights, each subject's own, in the scene's frame (they shade canonical normals).
        input_view: B views at which the subjects reproduce their input images, or None.
        fov: field of view in degrees.
        depth_range: least and greatest canonical depth; what lies far outside is not rendered.
        mask: (B, 1, S, S) in [0, 1], 1 where the canonical maps show the subject, which renderings'
            masks and meshes are limited to; None where that is not known.
        blend: (B, 1, S, S) in [0, 1], how much each pixel follows the view (LiftedGAN's
            transformation map); None: all entirely.
    """

    capabilities = frozenset({"depth", "normal", "albedo", "relight", "mesh"})
    light: Light

    def __init__(
        self,
        depth: Tensor,
        albedo: Tensor,
        light: Light,
        input_view: View | None = None,
        *,
        fov: float = 10.0,
        depth_range: tuple[float, float] = (0.9, 1.1),
        mask: Tensor | None = None,
        blend: Tensor | None = None,
    ) -> None:
        self.depth = depth.float()
        self.albedo = albedo.float()
        self.light = light.to(depth.device)
        self.input_view = input_view
        self.camera = PinholeCamera(depth.shape[-1], fov)
        self.depth_range = depth_range
        self.mask = mask
        self.blend = None if blend is None else blend.float()

    @property
    def batch_size(self) -> int:
        return len(self.depth)

    def _render(self, view: View, light: Light | None, camera: PinholeCamera) -> Rendering:
        """See `Scene.render`. Every field is filled.

        Maps are shaded where they are sharp, in the canonical pose; the light goes there first.
        """
        device = self.depth.device
        view = view.to(device)
        assert light is not None, "a depth-map scene has its own light"
        own = light.to(device).in_scene(view)
        depth, albedo = self.depth, self.albedo
        mask = torch.ones_like(depth) if self.mask is None else self.mask.float()
        blend = torch.ones_like(depth) if self.blend is None else self.blend
        if camera.width != self.camera.width:
            # The camera spans pixel centres, so corners stay corners.
            size = (camera.height, camera.width)
            depth, albedo, mask, blend = (
                F.interpolate(x, size, mode="bilinear", align_corners=True)
                for x in (depth, albedo, mask, blend)
            )
        normal = depth_normals(depth, camera)
        shading = own.shade(normal)
        maps = torch.cat((lit_texture(albedo, shading), albedo, normal, shading, mask), 1)
        if self.blend is None:
            warp = warp_to_view(maps, depth, view, camera, depth_range=self.depth_range)
        else:
            warp = interpolate_in_view(
                maps, depth, view, camera, blend=blend, supersample=2, extend_border=True
            )
        empty = clamping_range(self.depth_range)[1]
        rgb, seen_albedo, seen_normal, seen_shading, seen_mask = warp.image.split(
            (3, 3, 3, shading.shape[1], 1), 1
        )
        turned = view.rotate(seen_normal.movedim(1, -1)).movedim(-1, 1)
        return Rendering(
            rgb=rgb.clamp(-1, 1),
            mask=warp.mask if self.mask is None else warp.mask * (seen_mask > 0.5),
            depth=torch.where(warp.mask > 0, warp.depth, empty),
            normal=F.normalize(turned, dim=1),
            albedo=seen_albedo.clamp(-1, 1),
            shading=seen_shading.clamp(min=0),
        )

    def mesh(self, index: int) -> SceneMesh:
        """The canonical surface of one subject, textured with its albedo."""
        mask = None if self.mask is None else self.mask[index]
        return depth_map_mesh(self.depth[index], self.albedo[index], self.camera, mask)


def depth_map_mesh(
    depth: Tensor, albedo: Tensor, camera: PinholeCamera, mask: Tensor | None = None
) -> SceneMesh:
    """The grid mesh of one canonical depth map, textured by its albedo.

    Args:
        depth: (1, H, W), scene units.
        albedo: (3, H, W) in [-1, 1].
        camera: camera of image size (H, W).
        mask: (1, H, W); triangles with a corner at or below 0.5 are left out.

    Returns:
        the mesh; vertices are the pixels in row-major order.
    """
    _, height, width = depth.shape
    faces = grid_faces(height, width, depth.device)
    if mask is not None:
        faces = faces[(mask.reshape(-1) > 0.5)[faces].all(1)]
    v, u = torch.meshgrid(
        torch.linspace(1, 0, height, device=depth.device),
        torch.linspace(0, 1, width, device=depth.device),
        indexing="ij",
    )
    return SceneMesh(
        vertices=camera.backproject(depth[None]).reshape(-1, 3),
        faces=faces,
        uvs=torch.stack((u, v), -1).view(-1, 2),
        texture=albedo,
    )
