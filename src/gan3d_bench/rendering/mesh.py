"""Textured triangle meshes: UV sampling, smooth normals, light, antialiased silhouettes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.fragments import interpolate_attributes
from gan3d_bench.rendering.rasterizer import EDGE_TOLERANCE, Engine, rasterize
from gan3d_bench.rendering.shading import Light, SphericalHarmonicsLight, lit_texture, shade
from gan3d_bench.rendering.supersampling import downsample
from gan3d_bench.scenes.base import Rendering


@dataclass
class MeshRendering(Rendering):
    """A `Rendering` of meshes, with further attributes interpolated over the surface.

    Attributes:
        attributes: (B, A, H, W), 0 where empty; None if none were given.
    """

    attributes: Tensor | None = None


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Area-weighted unit normals at the vertices.

    Args:
        vertices: (B, V, 3).
        faces: (F, 3) int64, wound so that ``(b - a) x (c - a)`` points outward.

    Returns:
        (B, V, 3); zero at vertices without a face of positive area.
    """
    batch = len(vertices)
    a, b, c = (_rows(vertices, faces[:, k]) for k in range(3))
    normal = torch.linalg.cross(b - a, c - a).repeat(1, 3, 1)
    corner = faces.t().reshape(1, -1, 1).expand(batch, -1, 3)
    total = torch.zeros_like(vertices).scatter_add(1, corner, normal)
    return F.normalize(total, dim=-1, eps=1e-20)


def render_textured_mesh(
    vertices: Tensor,
    faces: Tensor,
    uvs: Tensor,
    face_uvs: Tensor,
    texture: Tensor,
    camera: PinholeCamera,
    *,
    light: Light | SphericalHarmonicsLight | None = None,
    normals: Tensor | None = None,
    attributes: Tensor | None = None,
    background: float | Tensor = -1.0,
    supersample: int = 2,
    cull_backfaces: bool = False,
    engine: Engine = "auto",
) -> MeshRendering:
    """Render a batch of meshes of one topology, each with its own shape and texture.

    Colour, light, depth and normals are taken at the sub-pixels and averaged over those that the
    mesh covers; the mask is the covered fraction, by which colour is blended over the background.
    Differentiable in vertices, texture, light and attributes with visibility held fixed.

    Args:
        vertices: (B, V, 3) in camera space (x right, y down, z forward), scene units.
        faces: (F, 3) int64, wound so that ``(b - a) x (c - a)`` points outward.
        uvs: (T, 2) texture coordinates in [0, 1], u to the right and v UP.
        face_uvs: (F, 3) int64, rows of `uvs` for each face.
        texture: (B or 1, 3, h, w) in [-1, 1]; v = 1 is the centre of the first row, v = 0 of the
            last (``align_corners=True``). Sampled bilinearly, clamped at the border.
        camera: the camera and image size (H, W).
        light: B (or 1) lights; None renders the texture unlit.
        normals: (B, V, 3) unit vertex normals; None computes `vertex_normals`.
        attributes: (B, V, A) further values to interpolate.
        background: colour in [-1, 1]: a number or a tensor that expands to (B, 3, H, W).
        supersample: sub-pixels along each axis.
        cull_backfaces: do not draw faces that point away from the camera.
        engine: see `rasterize`.

    Returns:
        `MeshRendering`; depth, normal, albedo, shading and attributes are 0 where the mask is 0.
    """
    batch, count, _ = vertices.shape
    fragments = rasterize(
        camera.to_ndc(vertices),
        faces,
        (camera.height * supersample, camera.width * supersample),
        engine=engine,
        cull_backfaces=cull_backfaces,
        edge_tolerance=EDGE_TOLERANCE,
        with_dists=False,
    )
    if normals is None:
        normals = vertex_normals(vertices, faces)
    carried = normals if attributes is None else torch.cat((normals, attributes), -1)
    packed_faces = faces + torch.arange(batch, device=faces.device)[:, None, None] * count
    surface = interpolate_attributes(
        fragments, carried.reshape(batch * count, -1), packed_faces.view(-1, 3)
    )
    normal = _unit(surface[:, :3])
    uv = interpolate_attributes(fragments, uvs, face_uvs)
    albedo = _sample_uv(texture.expand(batch, -1, -1, -1), uv)
    shading = None if light is None else shade(normal, light)
    colour = albedo if shading is None else lit_texture(albedo, shading)

    covered = fragments.covered[:, None].to(albedo.dtype)
    mask = downsample(covered, supersample)

    def resolve(value: Tensor) -> Tensor:
        return downsample(value * covered, supersample) / mask.clamp(min=1e-6)

    rgb = mask * resolve(colour) + (1 - mask) * background
    return MeshRendering(
        rgb=rgb,
        mask=mask,
        depth=resolve(fragments.zbuf.permute(0, 3, 1, 2)),
        normal=_unit(resolve(normal)),
        albedo=resolve(albedo),
        shading=None if shading is None else resolve(shading),
        attributes=None if attributes is None else resolve(surface[:, 3:]),
    )


def _sample_uv(texture: Tensor, uv: Tensor) -> Tensor:
    """Texture (B, C, h, w) at (B, 2, H, W) coordinates, u right and v up."""
    grid = uv.permute(0, 2, 3, 1) * uv.new_tensor([2.0, -2.0]) + uv.new_tensor([-1.0, 1.0])
    return F.grid_sample(texture, grid, padding_mode="border", align_corners=True)


def _unit(normal: Tensor) -> Tensor:
    """Normalise maps (B, 3, H, W); `F.normalize` over a strided axis is far slower on the CPU."""
    x, y, z = normal.unbind(1)
    return normal * (x * x + y * y + z * z).clamp(min=1e-20).rsqrt()[:, None]


def _rows(vertices: Tensor, index: Tensor) -> Tensor:
    """Rows `index` (F,) of vertices (B, V, 3); gather has the faster backward."""
    return vertices.gather(1, index[None, :, None].expand(len(vertices), -1, 3))
