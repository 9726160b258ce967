"""A scene of depth maps that were predicted in the input view."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.geometry.views import View
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import depth_normals, warp_to_view
from gan3d_bench.rendering.shading import Light
from gan3d_bench.scene import Rendering, Scene, SceneMesh
from gan3d_bench.tracking.meshes import depth_map_mesh


class InputDepthScene(Scene):
    """B depth maps textured with the images they belong to; the input view is the identity.

    Args:
        images: (B, 3, S, S) in [-1, 1].
        depth: (B, 1, S, S) within `depth_range`, scene units.
        depth_range: near and far, scene units.
        fov: field of view in degrees.
    """

    capabilities = frozenset({"depth", "normal", "mesh"})

    def __init__(
        self, images: Tensor, depth: Tensor, depth_range: tuple[float, float], fov: float
    ) -> None:
        self.images = images
        self.depth = depth
        self.depth_range = depth_range
        self.camera = PinholeCamera(images.shape[-1], fov)
        self.input_view = View.from_angles([0.0] * len(images), device=images.device)

    @property
    def batch_size(self) -> int:
        return len(self.images)

    def render(
        self, view: View, light: Light | None = None, image_size: int | None = None
    ) -> Rendering:
        """See `Scene.render`; at the input view the depth maps themselves."""
        if light is not None:
            self.require("relight")
        view = view.to(self.images.device)
        camera = self.camera.resized(image_size or self.images.shape[-1])
        images, depth = (self._resized(maps, camera) for maps in (self.images, self.depth))
        if _is_identity(view):
            mask = torch.ones_like(depth)
        else:
            warped = warp_to_view(images, depth, view, camera, depth_range=self.depth_range)
            images, depth, mask = warped.image, warped.depth, warped.mask
        return Rendering(rgb=images, mask=mask, depth=depth, normal=depth_normals(depth, camera))

    def mesh(self, index: int) -> SceneMesh:
        """See `Scene.mesh`; the background, at the far plane, is left out."""
        depth = self.depth[index]
        near, far = self.depth_range
        subject = (depth < far - 0.02 * (far - near)).float()
        return depth_map_mesh(depth, self.images[index], self.camera, subject)

    def _resized(self, maps: Tensor, camera: PinholeCamera) -> Tensor:
        if maps.shape[-1] == camera.width:
            return maps
        # the field of view spans pixel centres, so corners stay in place
        return F.interpolate(maps, camera.width, mode="bilinear", align_corners=True)


def _is_identity(view: View) -> bool:
    parameters = torch.cat((view.yaw, view.pitch, view.roll, view.translation.flatten()))
    return not parameters.any()
