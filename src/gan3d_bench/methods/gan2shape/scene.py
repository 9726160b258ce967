"""The "GAN2Shape (GAN)" scene: rotation and relighting by moving the stylecode."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gan3d_bench.geometry.views import View
from gan3d_bench.methods.gan2shape.factors import Factors
from gan3d_bench.methods.gan2shape.photogeometry import photogeometric
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.rendering.shading import LambertLight, Light
from gan3d_bench.scenes.base import Scene


class ProjectedScene(Scene):
    """Subjects whose pseudo samples are projected onto the GAN's image manifold.

    Args:
        factors: of B subjects.
        project: pseudo samples (B, 3, S, S) -> projected samples (B, 3, S, S).
        camera: camera of image size S.
    """

    capabilities = frozenset({"relight"})

    def __init__(
        self, factors: Factors, project: Callable[[Tensor], Tensor], camera: PinholeCamera
    ) -> None:
        self.factors = factors
        self.project = project
        self.camera = camera
        self.light = factors.light
        self.input_view = factors.view

    @property
    def batch_size(self) -> int:
        return len(self.factors)

    @torch.no_grad()
    def _render(self, view: View, light: Light | None, camera: PinholeCamera) -> Rendering:
        """``G(w + offset(E(pseudo sample)))`` at the views and lights; see `Scene.render`."""
        own, device = self.factors, self.factors.depth.device
        view = view.to(device)
        assert isinstance(light, LambertLight), "GAN2Shape's light is Lambert's"
        # the paper shades canonical normals
        canonical = light.to(device).in_scene(view)
        pseudo = photogeometric(own.depth, own.albedo, own.normal, view, canonical, self.camera)
        rgb = self.project(pseudo.image)
        return Rendering(rgb=rgb, mask=torch.ones_like(rgb[:, :1]))
