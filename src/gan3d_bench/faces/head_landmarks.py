"""Landmarks of synthetic heads whose truth is known: vertices spread over the face."""

from __future__ import annotations

import torch
from torch import Tensor

from gan3d_bench.faces.face_model import FaceModel
from gan3d_bench.faces.landmark_correspondences import CENTRE
from gan3d_bench.faces.landmark_sources import KnownLandmarks
from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.heads.sampling import HeadParameters

COUNT = 106  # as many as the networks' landmarks
DEVIATION = 2e-4
"""Scene units: a thousandth of a head's height, for what the teacher draws differently."""
SCALE_DEVIATION = 0.01  # heads stand at a known distance, within a hundredth


class HeadLandmarks(KnownLandmarks):
    """Vertices of the face proper, far from each other, projected from the true heads.

    Args:
        model: the bundled heads.
        deviation: of the points from the vertices, scene units.
    """

    scale_deviation = SCALE_DEVIATION

    def __init__(self, model: MorphableModel, deviation: float = DEVIATION) -> None:
        super().__init__(spread_vertices(FaceModel.of(model), COUNT), deviation)
        self.model = model

    def plane(self, heads: HeadParameters) -> Tensor:
        """Their places (B, L, 2) in pictures of heads, in the plane at depth 1."""
        model = self.model.to(heads.identity.device)
        shape = model.vertices(heads.identity, heads.expression)[:, self.vertex.to(model.device)]
        points = heads.view.transform(shape + shape.new_tensor(CENTRE))
        return points[..., :2] / points[..., 2:]


def spread_vertices(space: FaceModel, count: int) -> Tensor:
    """Vertices (count,) of the face proper, each the furthest from those before it.

    The first is the nearest to the viewer, the tip of the nose.
    """
    inside = space.faces[space.in_region].unique()
    points = space.mean[inside]
    chosen = [int(points[:, 2].argmin())]
    nearest = (points - points[chosen[0]]).norm(dim=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(nearest.argmax()))
        nearest = nearest.minimum((points - points[chosen[-1]]).norm(dim=1))
    return inside[torch.tensor(chosen)]
