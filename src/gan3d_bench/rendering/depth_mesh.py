"""Depth maps as meshes: normals, rendering from another view, warping a texture to it.

A depth map's pixels are the vertices of a grid mesh, two triangles a pixel quad (as GAN2Shape's
renderer). There are two ways to see it from a view. `warp_to_view` renders the depth of the turned
mesh, carries every rendered point back to the canonical pose and samples the texture there
(GAN2Shape): textures are filtered bilinearly whatever the mesh. `interpolate_in_view` carries the
texture on the vertices and interpolates it over the triangles (LiftedGAN): it also works when
vertices follow the view to different degrees, which no view undoes. Gradients reach the canonical
depth, the view and the texture; there is none through silhouettes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.geometry.views import View
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.fragments import interpolate_attributes
from gan3d_bench.rendering.rasterizer import EDGE_TOLERANCE, Engine, rasterize
from gan3d_bench.rendering.supersampling import downsample

# Depth of an empty sub-pixel, so far that its pixel's mean leaves every plausible range.
_EMPTY_DEPTH = 100.0


@dataclass(frozen=True)
class WarpedView:
    """A texture seen from another view.

    Attributes:
        image: (B, C, H, W) the sampled texture, 0 outside the texture.
        mask: (B, 1, H, W) 1.0 where the surface was seen, else 0.0; no gradient.
        depth: (B, 1, H, W) depth in that view, clamped (see `render_depth`).
        grid: (B, H, W, 2) where each pixel samples the canonical maps (`grid_sample`
            coordinates, ``align_corners=True``).
    """

    image: Tensor
    mask: Tensor
    depth: Tensor
    grid: Tensor


@dataclass(frozen=True)
class InterpolatedView:
    """Maps carried by a depth map's mesh, seen from another view.

    Attributes:
        image: (B, C, H, W) the interpolated maps, 0 where the mesh does not cover anything.
        mask: (B, 1, H, W) in [0, 1], the covered share of each pixel; no gradient.
        depth: (B, 1, H, W) depth in that view, 0 where nothing is covered.
    """

    image: Tensor
    mask: Tensor
    depth: Tensor


@lru_cache(maxsize=16)
def grid_faces(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Triangles of a grid of vertices in row-major order.

    Each quad (i, j) gives (i, j), (i+1, j), (i, j+1) and (i, j+1), (i+1, j), (i+1, j+1): first
    all triangles of the first kind, row by row, then all of the second.

    Returns:
        ((H-1) (W-1) 2, 3) int64. The tensor is shared: do not write to it.
    """
    index = torch.arange(height * width, device=device).view(height, width)
    here, below = index[:-1, :-1], index[1:, :-1]
    right, diagonal = index[:-1, 1:], index[1:, 1:]
    upper = torch.stack((here, below, right), -1).view(-1, 3)
    lower = torch.stack((right, below, diagonal), -1).view(-1, 3)
    return torch.cat((upper, lower))


def depth_normals(
    depth: Tensor,
    camera: PinholeCamera,
    *,
    epsilon: float = 0.0,
    border: Literal["frontal", "nearest"] = "frontal",
) -> Tensor:
    """Normals of a depth map by central differences of its points.

    The cross product of the differences along columns and rows. (So is LiftedGAN's sum of the cross
    products of neighbouring edges, a x b + b x c + c x d + d x a = (a - c) x (b - d).)

    Args:
        depth: (B, 1, H, W), positive.
        camera: camera of the same image size.
        epsilon: added to the length before dividing. The released GAN2Shape and Unsup3D add 1e-7,
            which is not small beside the product's length (3e-5 at 64 pixels): their normals are
            0.3 % too short there and MAD has a floor of 6 degrees. So does LiftedGAN: at 256 pixels
            its normals are 5 % too short. 0 gives unit normals.
        border: what border pixels get, (0, 0, -1) or their nearest inner pixel's normal.

    Returns:
        (B, 3, H, W), camera space, pointing to the viewer.
    """
    points = camera.backproject(depth)
    along_row = points[:, 1:-1, 2:] - points[:, 1:-1, :-2]
    along_column = points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
    inner = torch.linalg.cross(along_column, along_row)
    length = (inner**2).sum(-1, keepdim=True).clamp(min=1e-24).sqrt()
    inner = (inner / (length + epsilon)).permute(0, 3, 1, 2)
    if border == "nearest":
        return F.pad(inner, (1, 1, 1, 1), mode="replicate")
    frontal = inner.new_tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1)
    normals = frontal.expand(len(depth), 3, *depth.shape[2:]).clone()
    normals[:, :, 1:-1, 1:-1] = inner
    return normals


def render_depth(
    depth: Tensor,
    view: View,
    camera: PinholeCamera,
    *,
    supersample: int = 2,
    depth_range: tuple[float, float] = (0.9, 1.1),
    extend_border: bool = True,
    blend: Tensor | None = None,
    compat_half_pixel: bool = False,
    engine: Engine = "auto",
) -> Tensor:
    """Depth of a turned depth map, seen by the same camera (GAN2Shape, renderer/renderer.py).

    The grid mesh is turned by the view and rasterized with `supersample` squared sub-pixels a
    pixel, placed symmetrically about the pixel centre; the nearest triangle of either facing
    wins, with 1/z linear on screen. A pixel is the mean of its sub-pixels, clamped to
    `depth_range` widened by half its length on either side.

    The result differentiates exactly the interpolation, with visibility fixed; nothing flows
    through silhouettes nor through clamped pixels.

    Args:
        depth: (B or 1, 1, H, W) canonical depth, scene units. One depth map serves a batch of
            views: pass it once, or expanded.
        view: B (or 1) views.
        camera: camera of image size (H, W).
        supersample: sub-pixels along each axis.
        depth_range: least and greatest canonical depth; sets the clamping.
        extend_border: add a ring of vertices half a pixel outside the image, with the depth of
            the border, so that border pixels are covered entirely. Without it the outermost ring
            is empty at the identity view when supersampling.
        blend: (B or 1, 1, H, W) in [0, 1], how much each vertex follows the view: 1 entirely, 0
            stays in place (LiftedGAN's transformation map). None: 1 everywhere.
        compat_half_pixel: put vertex (u, v) at the corner of pixel (u, v) rather than at its
            centre, and no border, as the released GAN2Shape and Unsup3D do: the result is then
            shifted by half a pixel, with the last row and column empty.
        engine: see `rasterize`.

    Returns:
        (B, 1, H, W). Empty pixels, and pixels with any empty sub-pixel, have the upper bound
        ``far + (far - near) / 2``; pixels below it are valid.
    """
    border = 0.5 if extend_border and not compat_half_pixel else 0.0
    moved = _moved_grid(depth, view, camera, border, blend)
    batch, rows, columns, _ = moved.shape
    ndc = camera.to_ndc(moved.reshape(batch, -1, 3), pixel_shift=-0.5 if compat_half_pixel else 0.0)
    fragments = rasterize(
        ndc,
        grid_faces(rows, columns, depth.device),
        (camera.height * supersample, camera.width * supersample),
        engine=engine,
        edge_tolerance=EDGE_TOLERANCE,
        with_dists=False,
    )
    z = fragments.zbuf.permute(0, 3, 1, 2)
    z = torch.where(z > 0, z, z.new_tensor(_EMPTY_DEPTH))
    low, high = clamping_range(depth_range)
    return downsample(z, supersample).clamp(low, high)


def interpolate_in_view(
    maps: Tensor,
    depth: Tensor,
    view: View,
    camera: PinholeCamera,
    *,
    blend: Tensor | None = None,
    supersample: int = 1,
    extend_border: bool = False,
    compat_corners: bool = False,
    engine: Engine = "auto",
) -> InterpolatedView:
    """Canonical maps seen from a view, carried on the vertices of the grid mesh.

    Args:
        maps: (B or 1, C, H, W) canonical maps (lit texture, normals, ...).
        depth: (B or 1, 1, H, W) canonical depth, scene units.
        view: B (or 1) views.
        camera: camera of image size (H, W).
        blend: (B or 1, 1, H, W) in [0, 1], how much each vertex follows the view, on its straight
            way there (LiftedGAN's transformation map, Eq. 1). None: 1 everywhere.
        supersample: sub-pixels along each axis; a pixel is the mean of its covered ones.
        extend_border: see `render_depth`.
        compat_corners: as the released LiftedGAN, put the outermost vertices at the outer edges of
            the outermost pixels rather than at their centres, and interpolate linearly on screen:
            at the identity view pixel i then shows the texture at (i + 0.5) (W - 1) / W.
        engine: see `rasterize`.

    Returns:
        `InterpolatedView` of B images.
    """
    border = 0.5 if extend_border and not compat_corners else 0.0
    moved = _moved_grid(depth, view, camera, border, blend)
    batch, rows, columns, _ = moved.shape
    ndc = camera.to_ndc(moved.reshape(batch, -1, 3))
    if compat_corners:
        size = ndc.new_tensor([camera.width, camera.height])
        ndc = torch.cat((ndc[..., :2] * size / (size - 1), ndc[..., 2:]), -1)
    faces = grid_faces(rows, columns, depth.device)
    fragments = rasterize(
        ndc,
        faces,
        (camera.height * supersample, camera.width * supersample),
        engine=engine,
        perspective_correct=not compat_corners,
        edge_tolerance=EDGE_TOLERANCE,
        with_dists=False,
    )
    if border:
        maps = F.pad(maps, (1, 1, 1, 1), mode="replicate")
    values = maps.expand(batch, -1, -1, -1).movedim(1, -1).reshape(-1, maps.shape[1])
    index = torch.arange(batch, device=faces.device)[:, None, None] * (rows * columns)
    image = interpolate_attributes(fragments, values, (faces + index).view(-1, 3))
    covered = fragments.covered[:, None].to(image.dtype)
    mask = downsample(covered, supersample)
    share = mask.clamp(min=1e-6)
    return InterpolatedView(
        downsample(image, supersample) / share,
        mask,
        downsample(fragments.zbuf.permute(0, 3, 1, 2) * covered, supersample) / share,
    )


def clamping_range(depth_range: tuple[float, float]) -> tuple[float, float]:
    """`depth_range` widened by half its length on either side; the upper end marks emptiness."""
    near, far = depth_range
    margin = (far - near) / 2
    return near - margin, far + margin


def canonical_grid(depth: Tensor, view: View, camera: PinholeCamera) -> Tensor:
    """Where the pixels of a view sample the canonical maps.

    Args:
        depth: (B, 1, H, W) depth in the view.
        view: B (or 1) views.
        camera: camera of image size (H, W).

    Returns:
        (B, H, W, 2) `grid_sample` coordinates (``align_corners=True``).
    """
    points = view.inverse_transform(camera.backproject(depth))
    return camera.pixels_to_grid(camera.project(points))


def view_grid(depth: Tensor, view: View, camera: PinholeCamera) -> Tensor:
    """Where the canonical pixels land in a view: canonical depth (B or 1, 1, H, W) to a
    `grid_sample` grid (B, H, W, 2), ``align_corners=True``."""
    points = view.transform(camera.backproject(depth))
    return camera.pixels_to_grid(camera.project(points))


def warp_to_view(
    texture: Tensor,
    depth: Tensor,
    view: View,
    camera: PinholeCamera,
    *,
    mode: str = "bilinear",
    supersample: int = 2,
    depth_range: tuple[float, float] = (0.9, 1.1),
    extend_border: bool = True,
    compat_half_pixel: bool = False,
    engine: Engine = "auto",
) -> WarpedView:
    """A canonical texture seen from a view: render the depth, then sample the texture there.

    Args:
        texture: (B or 1, C, H, W) canonical map (lit texture, normals, mask ...).
        depth: (B or 1, 1, H, W) canonical depth.
        view: B (or 1) views.
        camera: camera of image size (H, W).
        mode: interpolation of `grid_sample`, "bilinear" or "nearest"; zero padding.
        supersample, depth_range, extend_border, compat_half_pixel, engine: see `render_depth`.

    Returns:
        `WarpedView` of B images. Pixels outside `mask` hold whatever the far plane samples.
    """
    rendered = render_depth(
        depth,
        view,
        camera,
        supersample=supersample,
        depth_range=depth_range,
        extend_border=extend_border,
        compat_half_pixel=compat_half_pixel,
        engine=engine,
    )
    grid = canonical_grid(rendered, view, camera)
    mask = (rendered.detach() < clamping_range(depth_range)[1]).to(rendered.dtype)
    return WarpedView(sample_texture(texture, grid, mode=mode), mask, rendered, grid)


def sample_texture(texture: Tensor, grid: Tensor, *, mode: str = "bilinear") -> Tensor:
    """Sample maps (B or 1, C, H, W) at a grid (B or 1, H', W', 2); zero outside.

    One texture under many views is sampled without copying it.
    """
    texture = _shared(texture)
    options = {"mode": mode, "padding_mode": "zeros", "align_corners": True}
    if len(texture) == 1 and len(grid) > 1:
        batch, height, width, _ = grid.shape
        flat = F.grid_sample(texture, grid.reshape(1, batch * height, width, 2), **options)
        return flat.view(-1, batch, height, width).transpose(0, 1)
    return F.grid_sample(texture, grid.expand(len(texture), -1, -1, -1), **options)


def _grid_points(depth: Tensor, camera: PinholeCamera, border: float) -> Tensor:
    """Camera-space points (B, H, W, 3) of a depth map, with a ring of copies if `border` > 0."""
    if border:
        depth = F.pad(depth, (1, 1, 1, 1), mode="replicate")
    return depth.squeeze(1)[..., None] * camera.rays(depth, border=border)


def _moved_grid(
    depth: Tensor, view: View, camera: PinholeCamera, border: float, blend: Tensor | None
) -> Tensor:
    """The grid's points (B, H, W, 3) in the view, each following it as far as `blend` lets it."""
    points = _grid_points(_shared(depth), camera, border)
    moved = view.transform(points)
    if blend is None:
        return moved
    weight = _shared(blend)
    if border:
        weight = F.pad(weight, (1, 1, 1, 1), mode="replicate")
    return points + weight.squeeze(1)[..., None] * (moved - points)


def _shared(tensor: Tensor) -> Tensor:
    """The one element behind a tensor expanded along its batch, else the tensor itself."""
    return tensor[:1] if len(tensor) > 1 and tensor.stride(0) == 0 else tensor
