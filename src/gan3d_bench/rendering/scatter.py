"""The `scatter` rasterizer: vectorised PyTorch, every device, one face a pixel.

Visibility (no gradient): faces are clipped to the image as boxes of pixel centres, grouped by the
size of their box (powers of two), tested against every centre of the box at once, and reduced
over pixels by a scatter-amin of 64-bit keys: the bits of the depth above, the face index below.
The nearest face wins and, at equal depth, the one with the lower index, as in PyTorch3D.

Interpolation (differentiable): the winning face of each covered pixel is gathered once and its
barycentric coordinates, depth and edge distance are computed again with gradients. Visibility is
held fixed, so no gradient flows through silhouettes.

The definitions (pixel centres, edge functions, the 1e-8 added to areas, strict inside test,
faces reaching behind the camera are dropped) are those of PyTorch3D's ``rasterize_meshes``.
"""

from __future__ import annotations

import torch
from torch import Tensor

# PyTorch3D's kEpsilon: added to signed areas, and the least depth and area of a face drawn.
EPSILON = 1e-8
# Bytes the temporaries of one face and of one face-pixel pair take in the visibility pass.
_BYTES_PER_FACE = 400
_BYTES_PER_SAMPLE = 96


def pixel_centres(size: int, other: int, like: Tensor) -> Tensor:
    """NDC coordinates of the pixel centres along one image axis, first to last pixel.

    Args:
        size: number of pixels along this axis.
        other: number of pixels along the other axis; the shorter axis spans [-1, 1].
        like: tensor whose dtype and device the result takes.

    Returns:
        (size,), decreasing: PyTorch3D's +x points left and its +y up.
    """
    extent = 2.0 * size / other if size > other else 2.0
    reverse = torch.arange(size - 1, -1, -1, dtype=like.dtype, device=like.device)
    return (extent * reverse + extent / 2) / size - extent / 2


def _edge(px: Tensor, py: Tensor, ax: Tensor, ay: Tensor, bx: Tensor, by: Tensor) -> Tensor:
    """Twice the signed area of the triangle (p, a, b)."""
    return (px - ax) * (by - ay) - (py - ay) * (bx - ax)


@torch.no_grad()
def visible_faces(
    vertices: Tensor,
    faces: Tensor,
    face_to_mesh: Tensor,
    num_meshes: int,
    image_size: tuple[int, int],
    *,
    perspective_correct: bool = True,
    cull_backfaces: bool = False,
    edge_tolerance: float = 0.0,
    max_bytes: int = 256 << 20,
) -> Tensor:
    """Find the nearest face at every pixel centre.

    Args:
        vertices: (V, 3) packed vertices, x and y in PyTorch3D's NDC, z the depth.
        faces: (F, 3) int64 packed faces.
        face_to_mesh: (F,) int64, the image each face is drawn on.
        num_meshes: number of images N.
        image_size: (H, W).
        perspective_correct: interpolate 1/z rather than z linearly in screen space.
        cull_backfaces: drop faces wound clockwise on screen (PyTorch3D's sign).
        edge_tolerance: a centre counts as inside while its barycentric coordinates exceed
            minus this. 0 is PyTorch3D's strict test, which leaves a crack where a centre lies
            exactly on a shared edge; 1e-4 closes it.
        max_bytes: bound on the temporary memory; faces are drawn in chunks that respect it.

    Returns:
        (N * H * W,) int64 packed face indices, -1 where empty.
    """
    height, width = image_size
    device = vertices.device
    empty = torch.iinfo(torch.int64).max
    keys = torch.full((num_meshes * height * width,), empty, dtype=torch.int64, device=device)
    columns, rows = pixel_centres(width, height, vertices), pixel_centres(height, width, vertices)
    coordinates = vertices.t().contiguous()
    chunk = max(1, max_bytes // (2 * _BYTES_PER_FACE))
    for start in range(0, faces.shape[0], chunk):
        part = faces[start : start + chunk]
        corners = coordinates.index_select(1, part.t().reshape(-1)).view(9, -1)
        x, y, z = corners.view(3, 3, -1).unbind(0)
        area = _edge(x[2], y[2], x[0], y[0], x[1], y[1])
        keep = (area if cull_backfaces else area.abs()) > EPSILON
        keep &= (z >= EPSILON).all(0)
        first_col, last_col = _covered(x, columns, edge_tolerance)
        first_row, last_row = _covered(y, rows, edge_tolerance)
        keep &= (first_col <= last_col) & (first_row <= last_row)
        kept = keep.nonzero().squeeze(1)
        first_col, last_col, first_row, last_row = (
            t.index_select(0, kept) for t in (first_col, last_col, first_row, last_row)
        )
        size_class = _log2_ceil(last_row - first_row + 1) * 32 + _log2_ceil(
            last_col - first_col + 1
        )
        for code in size_class.bincount().nonzero().squeeze(1).tolist():
            patch = (1 << code // 32, 1 << code % 32)
            members = (size_class == code).nonzero().squeeze(1)
            step = max(1, max_bytes // (2 * _BYTES_PER_SAMPLE * patch[0] * patch[1]))
            for member in members.split(step):
                face = kept.index_select(0, member)
                _draw(
                    keys,
                    corners.index_select(1, face),
                    area.index_select(0, face) + EPSILON,
                    face + start,
                    face_to_mesh.index_select(0, face + start) * (height * width),
                    first_row.index_select(0, member),
                    first_col.index_select(0, member),
                    patch,
                    rows,
                    columns,
                    perspective_correct,
                    edge_tolerance,
                )
    face = keys & 0xFFFFFFFF
    return face.masked_fill_(keys == empty, -1)


def _covered(corner: Tensor, centres: Tensor, edge_tolerance: float) -> tuple[Tensor, Tensor]:
    """First and last pixel whose centre the box of each face spans along one axis.

    `corner` is (3, F); the span is empty (first > last) when no centre is covered.
    """
    size = centres.shape[0]
    pitch = (centres[0] - centres[-1]) / (size - 1) if size > 1 else centres.new_tensor(2.0)
    # With a tolerance, centres just outside the box may count; widen it by far more than rounding.
    slack = 1e-2 if edge_tolerance > 0 else 0.0
    low = (centres[0] - corner.amax(0)) / pitch - slack
    high = (centres[0] - corner.amin(0)) / pitch + slack
    first = low.ceil().clamp(min=0, max=size).nan_to_num(size).to(torch.int64)
    last = high.floor().clamp(min=-1, max=size - 1).nan_to_num(-1).to(torch.int64)
    return first, last


def _log2_ceil(value: Tensor) -> Tensor:
    """Smallest k with 2**k >= value, for positive integers."""
    return value.to(torch.float32).log2().ceil().to(torch.int64)


def _draw(
    keys: Tensor,
    corners: Tensor,
    area: Tensor,
    face: Tensor,
    image_offset: Tensor,
    first_row: Tensor,
    first_col: Tensor,
    patch: tuple[int, int],
    rows: Tensor,
    columns: Tensor,
    perspective_correct: bool,
    edge_tolerance: float,
) -> None:
    """Test T faces, given as `corners` (9, T), against the pixel centres of their patches.

    The nearest face of each pixel is reduced into `keys`.
    """
    patch_rows, patch_cols = patch
    device = corners.device
    width = columns.shape[0]
    # faces come last everywhere: operations then run along them in order of memory, and not along
    # patches of one or two pixels
    row = first_row + torch.arange(patch_rows, device=device)[:, None]
    col = first_col + torch.arange(patch_cols, device=device)[:, None]
    # Patches may stick out of the image: NaN coordinates there fail every comparison.
    outside = rows.new_full((max(patch),), float("nan"))
    py = torch.cat((rows, outside))[row]
    px = torch.cat((columns, outside))[col]
    x, y, z = corners.view(3, 3, -1).unbind(0)
    bary = []
    for a, b in ((1, 2), (2, 0), (0, 1)):
        along_x = (px - x[a]) * ((y[b] - y[a]) / area)
        along_y = (py - y[a]) * ((x[b] - x[a]) / area)
        bary.append((along_x[None] - along_y[:, None]).view(-1))
    inside = torch.minimum(torch.minimum(bary[0], bary[1]), bary[2]) > -edge_tolerance
    sample = inside.nonzero().squeeze(1)
    within = sample // len(area)
    member = sample - within * len(area)
    weights = torch.stack([b.index_select(0, sample) for b in bary])
    corner_z = z.index_select(1, member)
    if perspective_correct:
        depth = weights.sum(0) / (weights / corner_z).sum(0)
    else:
        depth = (weights * corner_z).sum(0)
    # Depths are positive, and the bits of positive floats sort as integers.
    key = depth.to(torch.float32).clamp_(min=0).view(torch.int32).to(torch.int64) << 32
    key |= face.index_select(0, member)
    pixel = (image_offset + first_row * width + first_col).index_select(0, member)
    if patch_rows * patch_cols > 1:
        pixel += (within // patch_cols) * width + within % patch_cols
    keys.scatter_reduce_(0, pixel, key, "amin")


def interpolate(
    vertices: Tensor,
    faces: Tensor,
    pix_to_face: Tensor,
    image_size: tuple[int, int],
    *,
    perspective_correct: bool = True,
    with_dists: bool = True,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Barycentric coordinates, depth and edge distance at every covered pixel.

    Args:
        vertices: (V, 3) packed NDC vertices; gradients flow to them.
        faces: (F, 3) int64 packed faces.
        pix_to_face: (N * H * W,) int64 from `visible_faces`.
        image_size: (H, W).
        perspective_correct: as in `visible_faces`.
        with_dists: compute the edge distance.

    Returns:
        bary (N * H * W, 3), z (N * H * W,) and dists (N * H * W,) or None; -1 where empty.
    """
    height, width = image_size
    covered = (pix_to_face >= 0).nonzero().squeeze(1)
    corner = faces.index_select(0, pix_to_face.index_select(0, covered)).t().reshape(-1)
    # gather, not index_select: its backward is a plain scatter-add, far faster on the CPU.
    x, y, z = vertices.t().gather(1, corner.expand(3, -1)).view(3, 3, -1)
    within = covered % (height * width)
    px = pixel_centres(width, height, vertices).index_select(0, within % width)
    py = pixel_centres(height, width, vertices).index_select(0, within // width)

    ax, ay, bx, by = (t[order] for order in ([1, 2, 0], [2, 0, 1]) for t in (x, y))
    edges = _edge(px, py, ax, ay, bx, by)
    area = _edge(x[2], y[2], x[0], y[0], x[1], y[1]) + EPSILON
    bary = edges / area
    if perspective_correct:
        bary = bary / z
        bary = bary / bary.sum(0)
    depth = (bary * z).sum(0)
    values = [*bary, depth]
    if with_dists:
        # Inside a triangle the nearest edge is the one whose line is nearest.
        length2 = ((bx - ax) ** 2 + (by - ay) ** 2).clamp(min=EPSILON)
        values.append(-(edges**2 / length2).amin(0))
    full = vertices.new_full((len(values), pix_to_face.shape[0]), -1.0)
    full = full.index_copy(1, covered, torch.stack(values))
    return full[:3].t(), full[3], full[4] if with_dists else None
