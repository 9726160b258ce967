"""Soft silhouettes (Chen et al. 2019, DIB-R): 1 where a face is drawn, fading away outside.

A background pixel at squared distance ``d_f^2`` from the boundary of face f is covered by it to
``A_f = exp(-d_f^2 / sigma)``, and altogether to ``1 - prod_f (1 - A_f)``. Its gradient moves the
nearest edge or vertex of each face, so an outline feels pixels that it does not reach.

Faces near a background pixel are found by their boxes and are gone through in pieces, forwards and
again backwards, so that memory does not grow with the number of pairs of pixels and faces.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gan3d_bench.errors import UserError
from gan3d_bench.rendering.scatter import pixel_centres

_BYTES_PER_PAIR = 160
# added to 1 - A_f where the gradient divides by it, as DIB-R does
_LEAST_FREE = 1e-7


@dataclass(frozen=True)
class SoftSilhouette:
    """How the silhouette fades outside of the mesh; the picture itself stays sharp.

    The defaults are DIB-R's (kaolin, ``dibr_soft_mask``: sigmainv 7000, boxlen 0.02, knum 30).

    Attributes:
        sigma: squared NDC distance at which one face covers a pixel to 1/e.
        box: a face counts for the pixels in its bounding box, enlarged by so much NDC distance on
            each side. Where ``exp(-box^2 / sigma)`` is not small (0.06 by default), the
            silhouette ends in a step.
        faces_per_pixel: of the faces that count for a pixel, the first so many in the order of
            faces are used; None uses all.
    """

    sigma: float = 1 / 7000
    box: float = 0.02
    faces_per_pixel: int | None = 30

    def __post_init__(self) -> None:
        for name in ("sigma", "box"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"{name}={getattr(self, name)}: expected a number above 0")
        if self.faces_per_pixel is not None and self.faces_per_pixel < 1:
            raise UserError(
                f"faces_per_pixel={self.faces_per_pixel}: expected 1 or more, or None for all"
            )


def soft_mask(
    vertices: Tensor,
    faces: Tensor,
    covered: Tensor,
    soft: SoftSilhouette,
    *,
    max_bytes: int = 256 << 20,
) -> Tensor:
    """The silhouettes of a batch of meshes: 1 on covered pixels, fading outside.

    Differentiable once in the vertices' x and y; covered pixels have no gradient. Faces that turn
    away count, and so do those behind the camera: a mesh that may reach there is to be clipped
    before. Under autocast everything runs in float32 (float64 vertices stay float64).

    Args:
        vertices: (B, V, 2 or more), x and y in the NDC of `rasterize`.
        faces: (F, 3) integer faces common to the batch.
        covered: (B, H, W) bool, where a face is drawn (`Fragments.covered`).
        soft: how the silhouette fades.
        max_bytes: bound on temporary memory, beside that of one face's box.

    Returns:
        (B, H, W) in [0, 1].

    Raises:
        ValueError: shapes that do not fit.
    """
    if vertices.dim() != 3 or vertices.shape[2] < 2 or len(vertices) != len(covered):
        raise ValueError(
            f"vertices {tuple(vertices.shape)}, covered {tuple(covered.shape)}: expected "
            "(B, V, 2 or 3) and (B, H, W)"
        )
    batch, count, _ = vertices.shape
    first = torch.arange(batch, device=vertices.device)[:, None, None] * count
    with torch.autocast(vertices.device.type, enabled=False):
        points = vertices[..., :2].reshape(-1, 2)
        if points.dtype != torch.float64:
            points = points.float()
        packed = (faces.to(vertices.device, torch.int64) + first).view(-1, 3)
        alpha: Tensor = _SoftMask.apply(points, packed, covered, soft, max_bytes)  # pyright: ignore
        return alpha


class _Nearest(NamedTuple):
    """Of P pairs: the nearest point of the face's boundary, and where it lies."""

    offset: Tensor  # (2, P) from the nearest point to the pixel's centre
    share: Tensor  # (P,) in [0, 1], how far along the edge from its start
    start: Tensor  # (P,) packed vertex
    stop: Tensor  # (P,)

    @property
    def squared(self) -> Tensor:
        return (self.offset * self.offset).sum(0)


class _SoftMask(torch.autograd.Function):
    """Pairs are made anew in the backward pass, which is far cheaper than keeping them."""

    @staticmethod
    def forward(
        ctx: Any,
        points: Tensor,
        faces: Tensor,
        covered: Tensor,
        soft: SoftSilhouette,
        max_bytes: int,
    ) -> Tensor:
        free = points.new_zeros(covered.numel())  # log of prod (1 - A_f)
        for pixel, nearest in _pairs(points, faces, covered, soft, max_bytes):
            # 1 - A_f, exactly even where it is small; a pixel on the boundary is covered
            left = -torch.expm1(-nearest.squared / soft.sigma)
            free.index_add_(0, pixel, left.clamp(min=torch.finfo(left.dtype).tiny).log())
        alpha = torch.where(covered, 1.0, -torch.expm1(free).view(covered.shape))
        ctx.save_for_backward(points, faces, covered, free)
        ctx.soft, ctx.max_bytes = soft, max_bytes
        return alpha

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        points, faces, covered, free = ctx.saved_tensors
        sigma = ctx.soft.sigma
        pull = grad.reshape(-1) * free.exp() / -sigma
        grads = torch.zeros_like(points)
        for pixel, nearest in _pairs(points, faces, covered, ctx.soft, ctx.max_bytes):
            covers = torch.exp(-nearest.squared / sigma)
            by_distance = pull.index_select(0, pixel) * covers / (1 - covers + _LEAST_FREE)
            # the boundary's own motion along the edge does not change the distance
            by_point = (-2 * by_distance * nearest.offset).t()
            grads.index_add_(0, nearest.start, by_point * (1 - nearest.share)[:, None])
            grads.index_add_(0, nearest.stop, by_point * nearest.share[:, None])
        return grads, None, None, None, None


def _pairs(
    points: Tensor, faces: Tensor, covered: Tensor, soft: SoftSilhouette, max_bytes: int
) -> Iterator[tuple[Tensor, _Nearest]]:
    """Pieces of all pairs of background pixels (P,) and faces that count for them, by face."""
    images, height, width = covered.shape
    columns, rows = pixel_centres(width, height, points), pixel_centres(height, width, points)
    x, y = points[:, 0][faces], points[:, 1][faces]  # (N * F, 3)
    left, right = _span(x, columns, soft.box)
    top, bottom = _span(y, rows, soft.box)
    per_image = max(1, len(faces) // images)
    image = torch.arange(len(faces), device=faces.device) // per_image
    # boxes without a background pixel, most of them, go by four corners of running sums
    sums = torch.zeros(images, height + 1, width + 1, dtype=torch.int64, device=faces.device)
    sums[:, 1:, 1:] = (~covered).cumsum(1).cumsum(2)
    background = (
        sums[image, bottom, right]
        - sums[image, top, right]
        - sums[image, bottom, left]
        + sums[image, top, left]
    )
    kept = ((bottom > top) & (right > left) & (background > 0)).nonzero().squeeze(1)
    across, sizes = (right - left)[kept], ((right - left) * (bottom - top))[kept]
    first = (image * height + top)[kept] * width + left[kept]
    flat = covered.reshape(-1)
    used = torch.zeros(len(flat), dtype=torch.int64, device=faces.device)

    for start, stop in _pieces(sizes, max(1, max_bytes // _BYTES_PER_PAIR)):
        size = sizes[start:stop]
        # the box of each face pixel by pixel, boxes one after another
        member = torch.repeat_interleave(size)
        within = torch.arange(len(member), device=size.device) - (size.cumsum(0) - size)[member]
        cells = across[start:stop][member]
        pixel = first[start:stop][member] + within // cells * width + within % cells
        chosen = (~flat[pixel]).nonzero().squeeze(1)
        pixel, member = pixel[chosen], member[chosen]
        if soft.faces_per_pixel is not None:
            taken = _first_of_each(pixel, used, soft.faces_per_pixel)
            if taken is not None:
                pixel, member = pixel[taken], member[taken]
        corners = faces[kept[start:stop]].t()[:, member]
        within = pixel % (height * width)
        centre = torch.stack((columns[within % width], rows[within // width]))
        yield pixel, _nearest(points, corners, centre)


def _span(corner: Tensor, centres: Tensor, box: float) -> tuple[Tensor, Tensor]:
    """First and one past the last pixel of the enlarged boxes (F,) along an axis; corner (F, 3).

    Centres fall with their index, and the box is closed below and open above.
    """
    low, high = corner.amin(1) - box, corner.amax(1) + box
    rising = centres.flip(0).contiguous()
    size = len(centres)
    last = size - torch.searchsorted(rising, low.contiguous())
    first = size - torch.searchsorted(rising, high.contiguous())
    return first, last


def _pieces(sizes: Tensor, most: int) -> Iterator[tuple[int, int]]:
    """Consecutive parts of boxes with at most `most` pixels together, or with one box."""
    ends = sizes.cumsum(0)
    start, done = 0, 0
    while start < len(sizes):
        limit = ends.new_tensor([done + most])
        stop = max(start + 1, int(torch.searchsorted(ends, limit, right=True)))
        yield start, stop
        start, done = stop, int(ends[stop - 1])


def _first_of_each(pixel: Tensor, used: Tensor, most: int) -> Tensor | None:
    """Which pairs are among the first `most` of their pixel; None if all. Counts them in `used`."""
    before = used[pixel]
    used.index_add_(0, pixel, torch.ones_like(pixel))
    if not len(pixel) or int(used.max()) <= most:
        return None
    ordered, order = pixel.sort(stable=True)
    place = torch.arange(len(pixel), device=pixel.device)
    rank = torch.empty_like(place)
    rank[order] = place - torch.searchsorted(ordered, ordered)
    return (rank + before < most).nonzero().squeeze(1)


def _nearest(points: Tensor, corners: Tensor, centre: Tensor) -> _Nearest:
    """The boundary points of faces (3, P) that are nearest to (2, P)."""
    corner = points.t()[:, corners]  # (2, 3, P)
    along = corner[:, [1, 2, 0]] - corner
    towards = centre[:, None] - corner
    length = (along * along).sum(0)
    # an edge without length is its vertex
    share = ((towards * along).sum(0) / length.clamp(min=torch.finfo(length.dtype).tiny)).clamp(
        0, 1
    )
    offset = towards - share * along
    edge = (offset * offset).sum(0).argmin(0)[None]
    following = corners[[1, 2, 0]]
    return _Nearest(
        offset.gather(1, edge.expand(2, -1)[:, None]).squeeze(1),
        share.gather(0, edge).squeeze(0),
        corners.gather(0, edge).squeeze(0),
        following.gather(0, edge).squeeze(0),
    )
