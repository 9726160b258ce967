"""A scene of depth maps that were predicted in the input view."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from gan3d_bench.geometry.meshes import SceneMesh
from gan3d_bench.geometry.views import View
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.rendering.shading import LambertLight, Light
from gan3d_bench.scenes.depth_map import DepthMapScene, depth_map_mesh


class InputDepthScene(DepthMapScene):
    """B depth maps textured with the images they belong to; the input view is the identity.

    Args:
        images: (B, 3, S, S) in [-1, 1].
        depth: (B, 1, S, S) within `depth_range`, scene units.
        depth_range: near and far, scene units; the background is at the far plane.
        fov: field of view in degrees.
    """

    capabilities = frozenset({"depth", "normal", "mesh"})
    canonical = False

    def __init__(
        self, images: Tensor, depth: Tensor, depth_range: tuple[float, float], fov: float
    ) -> None:
        # the images hold their own light
        unlit = LambertLight.frontal(len(images), ambient=1.0, diffuse=0.0).to(images.device)
        front = View.from_angles([0.0] * len(images), device=images.device)
        super().__init__(depth, images, unlit, front, fov=fov, depth_range=depth_range)

    def _render(self, view: View, light: Light | None, camera: PinholeCamera) -> Rendering:
        """See `Scene.render`; albedo and light are not known."""
        return replace(super()._render(view, light, camera), albedo=None, shading=None)

    def mesh(self, index: int) -> SceneMesh:
        """See `Scene.mesh`; the background is left out."""
        near, far = self.depth_range
        subject = (self.depth[index] < far - 0.02 * (far - near)).float()
        return depth_map_mesh(self.depth[index], self.albedo[index], self.camera, subject)
