"""How far the vertices of head meshes are from the true ones."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def vertex_error(
    vertices: Float[Tensor, "B V 3"], truth: Float[Tensor, "B V 3"]
) -> Float[Tensor, " B"]:
    """Mean distance of corresponding vertices in percent of the true head's height.

    Args:
        vertices: in the truth's frame, not aligned in any way; one head serves for all.
        truth: y down (or up).

    Returns:
        (B,).
    """
    height = truth[..., 1].amax(1) - truth[..., 1].amin(1)
    return 100 * (vertices - truth).norm(dim=2).mean(1) / height
