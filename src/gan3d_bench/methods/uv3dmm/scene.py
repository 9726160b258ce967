"""Heads with UV maps as scenes: any view and light, other expressions, and what they paste into."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gan3d_bench.faces.landmark_correspondences import CENTRE
from gan3d_bench.generators.base import Generator
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.uv3dmm.coefficients import Coefficients
from gan3d_bench.methods.uv3dmm.rotation import StyleRotation
from gan3d_bench.methods.uv3dmm.textured_face import FaceRenderer, UVMaps
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.mesh import UVTexture
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.rendering.shading import Light
from gan3d_bench.scenes.base import Scene
from gan3d_bench.scenes.mesh import MeshScene

SCENE_SUPERSAMPLE = 2


class TexturedHeads(MeshScene):
    """B heads of a morphable model with diffuse and displacement maps.

    Their own light is what the coefficients say, in the scene's frame; the input view is the
    teacher's picture's.

    Args:
        renderer: morphable model, atlas and camera.
        coefficients: B heads.
        maps: B.
        num_expression: how many of the shape's coefficients, the last ones, are expression's.
        background: (B, 3, S, S) in [-1, 1] the pictures that the heads belong into.
    """

    def __init__(
        self,
        renderer: FaceRenderer,
        coefficients: Coefficients,
        maps: UVMaps,
        num_expression: int,
        background: Tensor | None = None,
    ) -> None:
        vertices = renderer.vertices(coefficients.shape, maps)
        scaled = vertices * coefficients.scale[:, None, None]
        view, atlas = coefficients.view, renderer.atlas
        super().__init__(
            scaled + scaled.new_tensor(CENTRE),
            renderer.space.faces,
            UVTexture(atlas.uvs, atlas.face_uvs, maps.diffuse),
            renderer.camera,
            coefficients.light.in_scene(view),
            view,
            supersample=SCENE_SUPERSAMPLE,
            cull_backfaces=True,
        )
        self.renderer, self.coefficients, self.maps = renderer, coefficients, maps
        self.num_expression = num_expression
        self.background = background

    def with_expression(self, expression: Tensor) -> TexturedHeads:
        """The same heads with expression coefficients (B or 1, E) in standard deviations."""
        shape = self.coefficients.shape.clone()
        shape[:, shape.shape[1] - self.num_expression :] = expression
        return self._with(replace(self.coefficients, shape=shape), self.maps)

    def without_displacement(self) -> TexturedHeads:
        """The same heads as the morphable model has them, with the diffuse map."""
        return self._with(self.coefficients, UVMaps(self.maps.diffuse))

    def _with(self, coefficients: Coefficients, maps: UVMaps) -> TexturedHeads:
        return TexturedHeads(
            self.renderer, coefficients, maps, self.num_expression, self.background
        )


class TurnedStylecodes(Scene):
    """Pictures of the teacher whose stylecodes are moved along the yaw hyperplane's normal.

    What InterFaceGAN does, by as much as F_yaw says (Eq. 2). RGB only, with the background; a
    view's pitch, roll and translation are not looked at.

    Args:
        generator: the teacher.
        rotation: direction and F_yaw.
        w: (B, w_dim).
    """

    def __init__(self, generator: Generator, rotation: StyleRotation, w: Tensor) -> None:
        self.generator, self.rotation, self.w = generator, rotation, w
        self.camera = PinholeCamera(generator.image_size)

    @property
    def batch_size(self) -> int:
        return len(self.w)

    @torch.no_grad()
    def _render(self, view: View, light: Light | None, camera: PinholeCamera) -> Rendering:
        """See `Scene.render`."""
        yaw = view.yaw.to(self.w).deg2rad()
        rgb = self.generator.synthesis(self.rotation(self.w, yaw)).float().clamp(-1, 1)
        return Rendering(rgb=rgb, mask=torch.ones_like(rgb[:, :1]))
