"""The mesh renderer: textured or coloured triangle meshes, lit at smooth normals.

One surface a pixel (hard visibility, antialiased by sub-pixels), and two ways for gradients to
reach silhouettes: beside the sharp picture a mask that fades outside of the mesh (Chen et al. 2019,
DIB-R), with any engine; or a picture of K faces a pixel with blurred outlines (Liu et al. 2019,
SoftRas), with PyTorch3D's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.geometry.meshes import vertex_normals
from gan3d_bench.geometry.uv_atlas import uv_grid
from gan3d_bench.machine.optional_packages import require_pytorch3d
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.fragments import Fragments, interpolate_attributes
from gan3d_bench.rendering.rasterizer import EDGE_TOLERANCE, Engine, rasterize
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.rendering.shading import Light, lit_texture
from gan3d_bench.rendering.silhouette import SoftSilhouette, soft_mask
from gan3d_bench.rendering.supersampling import downsample


@dataclass(frozen=True)
class UVTexture:
    """Albedo as an image that is wrapped around the mesh.

    Attributes:
        uvs: (T, 2) texture coordinates in [0, 1], u to the right and v UP.
        face_uvs: (F, 3) int64, rows of `uvs` for each face.
        texture: (B or 1, 3, h, w) in [-1, 1]; v = 1 is the centre of the first row, v = 0 of the
            last (``align_corners=True``). Sampled bilinearly, clamped at the border.
    """

    uvs: Tensor
    face_uvs: Tensor
    texture: Tensor


@dataclass(frozen=True)
class VertexColours:
    """Albedo at the vertices, interpolated over the faces.

    Attributes:
        colours: (B or 1, V, 3) in [-1, 1].
    """

    colours: Tensor


@dataclass(frozen=True)
class SoftEdges:
    """How the picture's outlines are blurred, and surfaces behind each other mixed (SoftRas).

    Drawn by PyTorch3D. `SoftSilhouette` leaves the picture sharp.

    Attributes:
        faces_per_pixel: K, at most so many faces count for a pixel, the nearest ones.
        sigma: variance-like width of the outline in squared NDC units: a face at signed squared
            distance d covers a pixel to ``sigmoid(-d / sigma)``.
        gamma: sharpness of the choice between faces by depth.
    """

    faces_per_pixel: int = 8
    sigma: float = 1e-4
    gamma: float = 1e-4

    def __post_init__(self) -> None:
        if self.faces_per_pixel < 1:
            raise UserError(f"faces_per_pixel={self.faces_per_pixel}: expected 1 or more")
        for name in ("sigma", "gamma"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name}={getattr(self, name)}: expected a number above 0")

    @property
    def blur_radius(self) -> float:
        """Squared NDC distance up to which a face counts: beyond it, it covers less than 1e-4."""
        return math.log(1 / 1e-4 - 1) * self.sigma


@dataclass
class MeshRendering(Rendering):
    """A `Rendering` of meshes, with further attributes interpolated over the surface.

    Attributes:
        attributes: (B, A, H, W), 0 where empty; None if none were given.
        fragments: the nearest faces of all sub-pixels.
        silhouette: (B, 1, H, W) in [0, 1], a soft mask for losses, whose gradients reach the
            vertices; None if no soft edges were asked for. With `SoftEdges` it is the mask.
    """

    attributes: Tensor | None = None
    fragments: Fragments | None = None
    silhouette: Tensor | None = None

    def clamped(self) -> MeshRendering:
        """The same with rgb and albedo in [-1, 1] and shading at least 0, as pictures are."""
        shading = None if self.shading is None else self.shading.clamp(min=0)
        albedo = None if self.albedo is None else self.albedo.clamp(-1, 1)
        return replace(self, rgb=self.rgb.clamp(-1, 1), albedo=albedo, shading=shading)


def render_mesh(
    vertices: Tensor,
    faces: Tensor,
    surface: UVTexture | VertexColours,
    camera: PinholeCamera,
    *,
    light: Light | None = None,
    normals: Tensor | None = None,
    attributes: Tensor | None = None,
    supersample: int = 1,
    soft: SoftEdges | SoftSilhouette | None = None,
    cull_backfaces: bool = False,
    engine: Engine = "auto",
) -> MeshRendering:
    """Render a batch of meshes of one topology, each with its own shape and albedo.

    Colour, light, depth and normals are taken at the sub-pixels and averaged over those that the
    mesh covers; the mask is the covered fraction (`Rendering.over` blends by it).
    Differentiable in vertices, albedo, light and attributes; through silhouettes only with `soft`.

    Args:
        vertices: (B, V, 3) in camera space (x right, y down, z forward), scene units.
        faces: (F, 3) int64, wound so that ``(b - a) x (c - a)`` points outward.
        surface: the albedo.
        camera: the camera and image size (H, W).
        light: B (or 1) lights in camera space; None renders the albedo unlit.
        normals: (B, V, 3) unit vertex normals; None computes `vertex_normals`.
        attributes: (B, V, A) further values to interpolate.
        supersample: sub-pixels along each axis.
        soft: `SoftSilhouette` adds `MeshRendering.silhouette` and changes nothing else. `SoftEdges`
            blurs outlines and mixes faces in rgb and mask; the other maps stay those of the nearest
            face. None draws the nearest face of every sub-pixel alone.
        cull_backfaces: do not draw faces that point away from the camera.
        engine: see `rasterize`.

    Returns:
        `MeshRendering`, not clamped; all maps are 0 where no face covers a sub-pixel's centre.

    Raises:
        UserError: see `rasterize`.
    """
    size = (camera.height * supersample, camera.width * supersample)
    ndc = camera.to_ndc(vertices)
    mesh = _LitMesh(vertices, faces, surface, light, normals, attributes)
    fragments = rasterize(
        ndc,
        faces,
        size,
        engine=engine,
        cull_backfaces=cull_backfaces,
        edge_tolerance=EDGE_TOLERANCE,
        with_dists=False,
    )
    seen = mesh.at(fragments)
    covered = fragments.covered[:, None].to(vertices.dtype)
    mask = downsample(covered, supersample)

    def resolve(value: Tensor) -> Tensor:
        return downsample(value * covered, supersample) / mask.clamp(min=1e-6)

    rendering = MeshRendering(
        rgb=resolve(seen.colour),
        mask=mask,
        depth=resolve(fragments.zbuf.permute(0, 3, 1, 2)),
        normal=_unit(resolve(seen.normal)),
        albedo=resolve(seen.albedo),
        shading=None if seen.shading is None else resolve(seen.shading),
        attributes=None if seen.attributes is None else resolve(seen.attributes),
        fragments=fragments,
    )
    if soft is None:
        return rendering
    if isinstance(soft, SoftSilhouette):
        alpha = _silhouette(ndc, faces, fragments, soft, engine)
        return replace(rendering, silhouette=downsample(alpha[:, None], supersample))
    layers = rasterize(
        ndc,
        faces,
        size,
        engine=engine,
        cull_backfaces=cull_backfaces,
        faces_per_pixel=soft.faces_per_pixel,
        blur_radius=soft.blur_radius,
    )
    colours = [mesh.at(layers.layer(k)).colour for k in range(soft.faces_per_pixel)]
    colour, alpha = _blend_faces(colours, layers, vertices, soft)
    alpha = downsample(alpha, supersample)
    return replace(
        rendering,
        rgb=downsample(colour, supersample) / alpha.clamp(min=1e-6),
        mask=alpha,
        silhouette=alpha,
    )


class _Seen(NamedTuple):
    """What one face a pixel shows, (B, C, H, W) each."""

    colour: Tensor
    albedo: Tensor
    normal: Tensor
    shading: Tensor | None
    attributes: Tensor | None


class _LitMesh:
    """Meshes with what they carry, to be looked up at fragments."""

    def __init__(
        self,
        vertices: Tensor,
        faces: Tensor,
        surface: UVTexture | VertexColours,
        light: Light | None,
        normals: Tensor | None,
        attributes: Tensor | None,
    ) -> None:
        batch, count, _ = vertices.shape
        carried = [vertex_normals(vertices, faces) if normals is None else normals]
        if isinstance(surface, VertexColours):
            carried.append(surface.colours.expand(batch, -1, -1))
        if attributes is not None:
            carried.append(attributes)
        first = torch.arange(batch, device=faces.device)[:, None, None] * count
        self.carried = torch.cat(carried, -1).flatten(0, 1)
        self.faces = (faces + first).view(-1, 3)
        self.surface, self.light = surface, light
        self.num_attributes = 0 if attributes is None else attributes.shape[-1]

    def at(self, fragments: Fragments) -> _Seen:
        """What the fragments' first face shows at each pixel; 0 where there is none."""
        values = interpolate_attributes(fragments, self.carried, self.faces)
        normal = _unit(values[:, :3])
        rest = values[:, 3:]
        if isinstance(self.surface, VertexColours):
            albedo, rest = rest[:, :3], rest[:, 3:]
        else:
            uv = interpolate_attributes(fragments, self.surface.uvs, self.surface.face_uvs)
            texture = self.surface.texture
            albedo = _sample_uv(texture.expand(len(uv), -1, -1, -1), uv)
        shading = None if self.light is None else self.light.shade(normal)
        colour = albedo if shading is None else lit_texture(albedo, shading)
        return _Seen(colour, albedo, normal, shading, rest if self.num_attributes else None)


def _silhouette(
    ndc: Tensor, faces: Tensor, fragments: Fragments, soft: SoftSilhouette, engine: Engine
) -> Tensor:
    """Soft silhouettes (B, H, W) by either engine.

    PyTorch3D's keeps the nearest faces in depth instead of the first ones, within a distance
    instead of a box.
    """
    if engine != "pytorch3d":
        return soft_mask(ndc, faces, fragments.covered, soft)
    _, height, width = fragments.covered.shape
    layers = rasterize(
        ndc,
        faces,
        (height, width),
        engine=engine,
        perspective_correct=False,
        faces_per_pixel=len(faces) if soft.faces_per_pixel is None else soft.faces_per_pixel,
        blur_radius=soft.box**2,
    )
    assert layers.dists is not None
    covers = torch.exp(-layers.dists.clamp(min=0) / soft.sigma) * (layers.pix_to_face >= 0)
    return torch.where(fragments.covered, 1.0, 1 - (1 - covers).prod(-1))


def _blend_faces(
    colours: Sequence[Tensor], fragments: Fragments, vertices: Tensor, soft: SoftEdges
) -> tuple[Tensor, Tensor]:
    """Colour times alpha (B, 3, H, W) and alpha (B, 1, H, W) of K faces a pixel (SoftRas)."""
    require_pytorch3d("soft edges")
    from pytorch3d.renderer.blending import BlendParams, softmax_rgb_blend

    z = vertices.detach()[..., 2]
    near, far = float(z.min()), float(z.max())
    margin = 0.1 * (far - near) + 1e-3
    blended = softmax_rgb_blend(
        torch.stack([colour.permute(0, 2, 3, 1) for colour in colours], 3),
        fragments,
        BlendParams(soft.sigma, soft.gamma, (0.0, 0.0, 0.0)),
        znear=near - margin,
        zfar=far + margin,
    ).permute(0, 3, 1, 2)
    alpha = blended[:, 3:]
    return blended[:, :3] * alpha, alpha


def _sample_uv(texture: Tensor, uv: Tensor) -> Tensor:
    """Texture (B, C, h, w) at (B, 2, H, W) coordinates, u right and v up."""
    grid = uv_grid(uv.permute(0, 2, 3, 1))
    return F.grid_sample(texture, grid, padding_mode="border", align_corners=True)


def _unit(normal: Tensor) -> Tensor:
    """Normalise maps (B, 3, H, W); `F.normalize` over a strided axis is far slower on the CPU."""
    x, y, z = normal.unbind(1)
    return normal * (x * x + y * y + z * z).clamp(min=1e-20).rsqrt()[:, None]
