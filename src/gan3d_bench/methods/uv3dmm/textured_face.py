"""From 3DMM coefficients and two UV maps to a picture (section 3.3), and which texels it shows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.faces.face_model import FaceModel
from gan3d_bench.faces.landmark_fit import place
from gan3d_bench.geometry.meshes import vertex_normals
from gan3d_bench.geometry.uv_atlas import UVAtlas, uv_grid
from gan3d_bench.methods.uv3dmm.coefficients import Coefficients
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.fragments import interpolate_attributes
from gan3d_bench.rendering.mesh import MeshRendering, UVTexture, render_mesh
from gan3d_bench.rendering.supersampling import downsample


@dataclass(frozen=True)
class UVMaps:
    """What the UV generator makes of B stylecodes.

    Attributes:
        diffuse: (B, 3, h, w) albedo in [-1, 1].
        displacement: what vertices move by, scene units: (B, 3, h, w) along the object's axes
            (the paper's "generalised" displacement is read so), (B, 1, h, w) along their normals;
            None: nothing.
    """

    diffuse: Tensor
    displacement: Tensor | None = None

    def __getitem__(self, index: slice | Tensor) -> UVMaps:
        moved = None if self.displacement is None else self.displacement[index]
        return UVMaps(self.diffuse[index], moved)


@dataclass(frozen=True)
class FaceRenderer:
    """Draws textured faces as pictures of the teacher show them.

    Attributes:
        space: the morphable model, whole.
        atlas: of the same vertices.
        camera: that of the fits.
        supersample: sub-pixels along each axis.
    """

    space: FaceModel
    atlas: UVAtlas
    camera: PinholeCamera
    supersample: int = 2

    def vertices(self, shape: Tensor, maps: UVMaps) -> Tensor:
        """Displaced vertices (B, V, 3) around the origin: ``S' = S + D(uv)``."""
        vertices = self.space.vertices(shape)
        if maps.displacement is None:
            return vertices
        moved = self.atlas.at_vertices(maps.displacement)
        if moved.shape[2] == 1:
            moved = moved * vertex_normals(vertices, self.space.faces)
        return vertices + moved

    def render(self, coefficients: Coefficients, maps: UVMaps) -> MeshRendering:
        """Render B faces; normals, and with them light, are those of the displaced surface."""
        return render_mesh(
            place(coefficients.pose, self.vertices(coefficients.shape, maps)),
            self.space.faces,
            UVTexture(self.atlas.uvs, self.atlas.face_uvs, maps.diffuse),
            self.camera,
            light=coefficients.light,
            supersample=self.supersample,
            cull_backfaces=True,
        )

    @torch.no_grad()
    def visibility(self, rendering: MeshRendering, map_size: int) -> Visibility:
        """Which texels of maps of `map_size` pixels a side a rendering shows."""
        assert rendering.fragments is not None
        fragments = rendering.fragments
        uv = interpolate_attributes(fragments, self.atlas.uvs, self.atlas.face_uvs)
        return Visibility(
            uv_grid(uv.movedim(1, -1)),
            fragments.covered[:, None].to(uv.dtype),
            map_size,
            self.supersample,
        )


class Visibility:
    """Where the pixels of B pictures lie in the UV maps.

    Args:
        grid: (B, H, W, 2) places of the sub-pixels, as `grid_sample` takes them.
        covered: (B, 1, H, W) 1 where there is a face.
        map_size: texels a side.
        supersample: sub-pixels along each axis.
    """

    def __init__(self, grid: Tensor, covered: Tensor, map_size: int, supersample: int) -> None:
        self.grid, self.covered, self.map_size = grid, covered, map_size
        self.supersample = supersample

    def reached(self) -> Tensor:
        """Texels (B, 1, h, w) bool that the picture depends on.

        Those to which a white map's rendering has a gradient (section 3.3, "rendering gradients").
        """
        with torch.enable_grad():
            white = self.grid.new_ones(len(self.grid), 1, self.map_size, self.map_size)
            white.requires_grad_()
            seen = F.grid_sample(white, self.grid, padding_mode="border", align_corners=True)
            (gradient,) = torch.autograd.grad((seen * self.covered).sum(), white)
        return gradient > 0

    def pixels(self, weights: Tensor) -> Tensor:
        """Weights of texels (B, 1, h, w) seen in the picture: (B, 1, H, W) of its pixels.

        The nearest texel's. Pixels at the outline show background, too, and weigh nothing: those
        that have a neighbour, or a part, that the face does not cover.
        """
        seen = F.grid_sample(
            weights, self.grid, mode="nearest", padding_mode="border", align_corners=True
        )
        bare = 1 - downsample(self.covered, self.supersample)
        inside = F.max_pool2d(bare, 3, 1, 1) < 0.01
        return downsample(seen * self.covered, self.supersample) * inside


def texel_weights(own: Tensor, symmetric: Tensor, shared: float) -> tuple[Tensor, Tensor]:
    """Weights of texels in the original and in the symmetric view (section 3.3).

    Args:
        own, symmetric: (B, 1, h, w) bool, texels that the two views reach.
        shared: weight in the symmetric view of texels that the original view reaches as well; 0.5.

    Returns:
        (B, 1, h, w) each: 1 where reached, 0 elsewhere, but `shared` as said.
    """
    weight = symmetric.float()
    return own.float(), torch.where(own & symmetric, shared * weight, weight)
