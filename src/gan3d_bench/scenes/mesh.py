"""Mesh scenes: textured or coloured triangle meshes of one topology, lit by any light."""

from __future__ import annotations

from torch import Tensor

from gan3d_bench.geometry.meshes import SceneMesh
from gan3d_bench.geometry.views import View
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.mesh import MeshRendering, UVTexture, VertexColours, render_mesh
from gan3d_bench.rendering.shading import Light
from gan3d_bench.scenes.base import Scene


class MeshScene(Scene):
    """B subjects given by meshes in the canonical pose.

    Args:
        vertices: (B, V, 3) camera axes (x right, y down, z forward), scene units, where the camera
            sees them at the canonical view: around depth `centre_depth`.
        faces: (F, 3) int64, wound so that ``(b - a) x (c - a)`` points outward.
        surface: the albedo, as a texture or at the vertices.
        camera: the camera, with the scene's own image size.
        light: B lights, each subject's own, in the scene's frame; None shows the albedo unlit, and
            the scene can still be relit.
        input_view: B views at which the subjects reproduce their input images, or None.
        centre_depth: depth of the rotation centre on the optical axis, scene units.
        supersample: sub-pixels along each axis.
        cull_backfaces: do not draw faces that point away from the camera.
    """

    capabilities = frozenset({"depth", "normal", "albedo", "relight", "mesh"})

    def __init__(
        self,
        vertices: Tensor,
        faces: Tensor,
        surface: UVTexture | VertexColours,
        camera: PinholeCamera,
        light: Light | None = None,
        input_view: View | None = None,
        *,
        centre_depth: float = 1.0,
        supersample: int = 2,
        cull_backfaces: bool = False,
    ) -> None:
        self.vertices, self.faces, self.surface = vertices, faces, surface
        self.camera = camera
        self.light = None if light is None else light.to(vertices.device)
        self.input_view = input_view
        self.centre_depth = centre_depth
        self.supersample = supersample
        self.cull_backfaces = cull_backfaces

    @property
    def batch_size(self) -> int:
        return len(self.vertices)

    def _render(self, view: View, light: Light | None, camera: PinholeCamera) -> MeshRendering:
        """See `Scene.render`. Every field is filled but, of unlit scenes, the shading."""
        device = self.vertices.device
        return render_mesh(
            view.to(device).transform(self.vertices),
            self.faces,
            self.surface,
            camera,
            light=None if light is None else light.to(device),
            supersample=self.supersample,
            cull_backfaces=self.cull_backfaces,
        ).clamped()

    def mesh(self, index: int) -> SceneMesh:
        """The canonical surface of one subject with its texture or its colours."""
        vertices, centre = self.vertices[index], self.centre_depth
        if isinstance(self.surface, VertexColours):
            colours = self.surface.colours.expand(self.batch_size, -1, -1)[index]
            return SceneMesh(vertices, self.faces, colours, centre_depth=centre)
        texture = self.surface.texture.expand(self.batch_size, -1, -1, -1)[index]
        return SceneMesh(
            vertices,
            self.faces,
            uvs=self.surface.uvs,
            face_uvs=self.surface.face_uvs,
            texture=texture,
            centre_depth=centre,
        )
