"""Tri-planes as a scene: a free camera with the generator's own field of view."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.generators.eg3d.generator import EG3DGenerator
from gan3d_bench.generators.eg3d.surface import volume_mesh
from gan3d_bench.geometry.meshes import SceneMesh
from gan3d_bench.geometry.views import View
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import depth_normals
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.rendering.shading import Light
from gan3d_bench.scenes.base import Scene

OPAQUE = 0.5  # a pixel that is less opaque shows no subject


class TriplaneScene(Scene):
    """B subjects given by tri-planes.

    Depth and normals are those of the volume's picture, which is smaller than the image, resized
    bilinearly. Where the volume is not opaque (only backgrounds that a generator leaves empty) the
    mask is 0.

    Args:
        generator: renders them.
        planes: (B, 3, C, H, W).
        codes: (B, w_dim) stylecodes of the super-resolution.
        input_view: B views at which the subjects reproduce their input images, or None.
        volume_size: side of the volume's picture; None for the generator's own.
        mesh_size: points of the grid along each axis that meshes are made on.
    """

    capabilities = frozenset({"depth", "normal", "mesh"})

    def __init__(
        self,
        generator: EG3DGenerator,
        planes: Tensor,
        codes: Tensor,
        input_view: View | None = None,
        *,
        volume_size: int | None = None,
        mesh_size: int = 128,
    ) -> None:
        self.generator, self.planes, self.codes = generator, planes, codes
        self.input_view = input_view
        self.volume_size = volume_size or generator.config.volume_size
        self.mesh_size = mesh_size
        self.camera = generator.config.orbit.camera(generator.image_size)

    @classmethod
    @torch.no_grad()
    def of_stylecodes(
        cls, generator: EG3DGenerator, w: Tensor, input_view: View | None = None, **options: int
    ) -> TriplaneScene:
        """The subjects of stylecodes (B, w_dim) or (B, num_ws, w_dim), noise of the buffers."""
        codes = w if w.ndim == 2 else w[:, -1]
        return cls(generator, generator.synthesis.planes(w), codes, input_view, **options)

    @property
    def batch_size(self) -> int:
        return len(self.planes)

    @torch.no_grad()
    def _render(self, view: View, light: Light | None, camera: PinholeCamera) -> Rendering:
        """See `Scene.render`. Pictures have the generator's size; albedo is not known."""
        synthesis = self.generator.synthesis
        labels = self.generator.config.orbit.labels(view.to(self.planes.device), camera)
        seen = synthesis.render(self.planes, labels, volume_size=self.volume_size)
        focal = camera.focal / camera.width * self.volume_size
        small = PinholeCamera.from_focal(self.volume_size, focal)
        normal = depth_normals(seen.depth, small, border="nearest")
        rgb = synthesis.upscale(seen.features, self.codes).clamp(-1, 1)
        maps = torch.cat((seen.depth, seen.opacity, normal), 1)
        size = rgb.shape[-2:]
        depth, opacity, normal = F.interpolate(
            maps, size, mode="bilinear", align_corners=False
        ).split((1, 1, 3), 1)
        return Rendering(
            rgb=rgb,
            mask=(opacity > OPAQUE).to(rgb.dtype),
            depth=depth,
            normal=F.normalize(normal, dim=1),
            whole=True,
        )

    def mesh(self, index: int) -> SceneMesh:
        """See `Scene.mesh`: where the volume is dense, coloured; see `surface.volume_mesh`."""
        synthesis = self.generator.synthesis
        return volume_mesh(
            synthesis.field(self.planes[index : index + 1]),
            self.generator.config.orbit,
            self.mesh_size,
            points_at_once=synthesis.points_at_once,
        )
