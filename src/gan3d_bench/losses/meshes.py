"""Losses of predicted meshes and their silhouettes (DIB-R; StyleGAN-R, Eq. 1).

Means over vertices and edges without factors, so that a weight means the same for any mesh.
"""

from __future__ import annotations

from torch import Tensor

from gan3d_bench.geometry.topology import MeshTopology


def iou_loss(mask: Tensor, target: Tensor) -> Tensor:
    """One minus the soft intersection over union, averaged over the batch.

    As ``mask_iou`` of kaolin's metrics.

    Args:
        mask, target: (B, ...) in [0, 1].

    Returns:
        Scalar in [0, 1]; two empty masks count as 1.
    """
    mask, target = mask.flatten(1), target.flatten(1)
    both = (mask * target).sum(1)
    return 1 - (both / ((mask + target).sum(1) - both + 1e-10)).mean()


def laplacian_loss(move: Tensor, topology: MeshTopology) -> Tensor:
    """Mean squared difference between a vertex's move and the mean of its neighbours' moves.

    Of the move and not of the vertices: the template's own curvature costs nothing. The single
    image training of DIB-R has it times ``3 V``.

    Args:
        move: (B, V, 3), from the template.
        topology: of the template.

    Returns:
        Scalar, >= 0.
    """
    return (topology.mean_of_neighbours(move) - move).square().mean()


def flat_loss(vertices: Tensor, topology: MeshTopology) -> Tensor:
    """Mean of ``(cos - 1)^2`` over inner edges, cos between the normals of the two faces.

    The single image training of DIB-R has it times the number of edges.

    Args:
        vertices: (B, V, 3).
        topology: of their mesh.

    Returns:
        Scalar in [0, 4].
    """
    return (topology.edge_cosines(vertices) - 1).square().mean()


def move_loss(move: Tensor) -> Tensor:
    """Mean squared length of the vertices' moves (B, V, 3).

    It is the variance of the move plus the square of its mean: StyleGAN-R asks for a deformation
    that is uniform and small, and states no formula.
    """
    return move.square().sum(-1).mean()
