"""What a rasterizer returns: the nearest faces of every pixel and where the pixel lies in them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor


@dataclass(frozen=True)
class Fragments:
    """PyTorch3D-style fragments of N meshes on H x W images, K faces a pixel, nearest first.

    K is 1 unless more were asked for.

    The field names, shapes and padding are those of
    ``pytorch3d.renderer.mesh.rasterizer.Fragments``, so PyTorch3D's textures and shaders accept
    this object.

    Attributes:
        pix_to_face: (N, H, W, K) int64, the face among all faces of the batch (packed index),
            -1 where no face covers the pixel centre.
        zbuf: (N, H, W, K), depth of the surface at the pixel centre, -1 where empty.
        bary_coords: (N, H, W, K, 3), barycentric coordinates in that face, -1 where empty.
        dists: (N, H, W, K), squared NDC distance to the face's nearest edge, negative inside the
            face, -1 where empty; None if it was not asked for.
    """

    pix_to_face: Tensor
    zbuf: Tensor
    bary_coords: Tensor
    dists: Tensor | None = None

    @property
    def covered(self) -> Tensor:
        """(N, H, W) bool: pixels that have a face."""
        return self.pix_to_face[..., 0] >= 0

    @cached_property
    def covered_index(self) -> Tensor:
        """(P,) int64: the covered pixels, as indices into the flattened images."""
        return (self.pix_to_face[..., 0].reshape(-1) >= 0).nonzero().squeeze(1)

    def layer(self, k: int) -> Fragments:
        """The k-th nearest face of every pixel, as fragments with K = 1."""
        part = slice(k, k + 1)
        dists = None if self.dists is None else self.dists[..., part]
        return Fragments(
            self.pix_to_face[..., part], self.zbuf[..., part], self.bary_coords[..., part, :], dists
        )

    def detach(self) -> Fragments:
        """Return the same fragments cut from the autograd graph."""
        dists = None if self.dists is None else self.dists.detach()
        return Fragments(self.pix_to_face, self.zbuf.detach(), self.bary_coords.detach(), dists)


def interpolate_attributes(fragments: Fragments, values: Tensor, faces: Tensor) -> Tensor:
    """Interpolate vertex attributes over the covered pixels.

    Args:
        fragments: of N images; their nearest faces count.
        values: (V, A) attributes of packed vertices; gradients flow to them and, through the
            barycentric coordinates, to the vertices.
        faces: (F, 3) int64 rows of `values` for each packed face; fewer rows than faces are read
            in turn (``face % F``), for attributes common to a batch of equal meshes.

    Returns:
        (N, A, H, W), 0 where empty.
    """
    images, height, width, _ = fragments.pix_to_face.shape
    pix_to_face = fragments.pix_to_face[..., 0].reshape(-1)
    covered = fragments.covered_index
    face = pix_to_face.index_select(0, covered) % len(faces)
    corner = faces.index_select(0, face).t().reshape(-1)
    count = values.shape[1]
    # gather, not index_select: its backward is a plain scatter-add, far faster on the CPU.
    corners = values.t().gather(1, corner.expand(count, -1)).view(count, 3, -1)
    bary = fragments.bary_coords[..., 0, :].reshape(-1, 3).t().index_select(1, covered)
    full = corners.new_zeros(count, pix_to_face.shape[0])
    full = full.index_copy(1, covered, (corners * bary).sum(1))
    return full.view(count, images, height, width).transpose(0, 1)
