"""Where landmarks of faces come from: one contract for what a morphable model is fitted to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gan3d_bench.errors import UserError, unknown_name
from gan3d_bench.faces.face_mesh import ASSET, POINTS, FaceMesh, FaceMeshDetector
from gan3d_bench.faces.face_model import FaceModel
from gan3d_bench.faces.landmark_correspondences import Finder, LandmarkCorrespondences
from gan3d_bench.faces.landmarks import Landmarks106
from gan3d_bench.faces.scrfd import FaceDetector

HEAD_VERTICES = torch.tensor((
    562, 547, 1135, 567, 1193, 1192, 1118, 690, 557, 1132, 1097, 1077, 1074, 1099, 1100, 1137, 565,
    2180, 2733, 2197, 2309, 2786, 2310, 2315, 2188, 1926, 2697, 2678, 2675, 2699, 2700, 2196, 2195,
    862, 3300, 18, 834, 1661, 3300, 69, 1, 1652, 841, 262, 224, 222, 208, 205, 1155, 229, 233, 223,
    425, 492, 1237, 478, 480, 2126, 2123, 2125, 540, 2075, 520, 460, 447, 446, 1237, 2109, 2097,
    2068, 2828, 466, 132, 135, 164, 111, 1010, 968, 320, 330, 312, 1785, 1863, 2575, 1973, 1983,
    1029, 2444, 3295, 1743, 2446, 2442, 3295, 1695, 3232, 1731, 3238, 1873, 1870, 1886, 1888, 1921,
    1896, 1887, 1892, 2752,
))  # fmt: skip
"""Vertices of the bundled heads at which ``landmarks-106`` finds its landmarks from the front."""


class LandmarkSource(Finder, Protocol):
    """What finds landmarks in images, and knows where they are on a morphable model.

    Attributes:
        name: for tables.
    """

    @property
    def name(self) -> str: ...

    def on(self, space: FaceModel, root: Path | None = None) -> LandmarkCorrespondences:
        """Where the landmarks are on a whole space; `root` is a folder of caches.

        Raises:
            UserError: the cache cannot be written.
        """
        ...


class Landmarks106Source:
    """The 106 landmarks of InsightFace's networks.

    Args:
        detector: None opens the asset ``scrfd-500m``.
        landmarks: None opens the asset ``landmarks-106``.

    Raises:
        UserError: an asset is missing or damaged.
    """

    def __init__(
        self, detector: FaceDetector | None = None, landmarks: Landmarks106 | None = None
    ) -> None:
        self.detector = detector or FaceDetector()
        self.landmarks = landmarks or Landmarks106()

    @property
    def name(self) -> str:
        return self.landmarks.weights.label

    @property
    def label(self) -> str:
        """See `Finder`."""
        return f"SCRFD {self.detector.weights.label}, {self.landmarks.weights.label}"

    def on(self, space: FaceModel, root: Path | None = None) -> LandmarkCorrespondences:
        """See `LandmarkSource`. Found in about a minute, once."""
        return LandmarkCorrespondences.of(space, self, root)

    @torch.no_grad()
    def __call__(
        self, images: Float[Tensor, "B 3 H W"]
    ) -> tuple[Float[Tensor, "B 106 2"], Bool[Tensor, " B"]]:
        """See `Finder`."""
        faces = self.detector.detect(images)
        found = torch.tensor([len(each) > 0 for each in faces], device=images.device)
        points = images.new_full((len(images), 106, 2), torch.nan)
        if found.any():
            sizes = [each.boxes[:, 2:] - each.boxes[:, :2] for each in faces if len(each)]
            largest = [int(size.prod(1).argmax()) for size in sizes]
            known = (each for each in faces if len(each))
            boxes = [each.boxes[i] for each, i in zip(known, largest, strict=True)]
            self.landmarks.to(images.device)
            points[found] = self.landmarks(images[found], torch.stack(boxes))
        return points, found


class FaceMeshSource:
    """The 468 points of MediaPipe's face mesh, whose licence is open (Apache-2.0).

    Raises:
        UserError: the asset is missing or damaged, or the package that runs it is.
    """

    def __init__(self) -> None:
        self.detector, self.mesh = FaceMeshDetector(), FaceMesh()

    @property
    def name(self) -> str:
        return ASSET

    @property
    def label(self) -> str:
        """See `Finder`."""
        return f"BlazeFace and mesh of {ASSET}"

    def on(self, space: FaceModel, root: Path | None = None) -> LandmarkCorrespondences:
        """See `LandmarkSource`. Found in a few minutes, once."""
        return LandmarkCorrespondences.of(space, self, root)

    def __call__(
        self, images: Float[Tensor, "B 3 H W"]
    ) -> tuple[Float[Tensor, "B 468 2"], Bool[Tensor, " B"]]:
        """See `Finder`."""
        frames, found = self.detector(images)
        points = images.new_full((len(images), POINTS, 2), torch.nan)
        if found.any():
            points[found], present = self.mesh(images[found], frames[found])
            found[found.clone()] = present
            points[~found] = torch.nan
        return points, found


class KnownLandmarks:
    """Vertices of the model whose places in the pictures are known beforehand: no network.

    They are handed to `MorphableFit.fit`; pictures alone do not show them.

    Args:
        vertex: of the space that is fitted.
        deviation: of the points from the vertices, scene units in the picture's plane.
    """

    name = "exact landmarks"

    def __init__(self, vertex: Int[Tensor, " L"], deviation: float) -> None:
        self.vertex, self.deviation = vertex, deviation

    @property
    def label(self) -> str:
        """See `Finder`."""
        digest = hashlib.sha256(str((self.vertex.tolist(), self.deviation)).encode())
        return f"exact landmarks {digest.hexdigest()[:16]}"

    def on(self, space: FaceModel, root: Path | None = None) -> LandmarkCorrespondences:
        """See `LandmarkSource`."""
        return LandmarkCorrespondences.fixed(self.vertex, self.deviation)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Raise a `UserError`: they are not found, they are known."""
        raise UserError(
            f"exact landmarks are known of synthetic heads, not found in pictures; expected "
            f"landmarks={' or '.join(SOURCES)}"
        )


SOURCES: dict[str, Callable[[], LandmarkSource]] = {
    "landmarks-106": Landmarks106Source,
    "face-mesh-468": FaceMeshSource,
}
"""Sources that find landmarks in any picture, by name."""


def open_landmarks(name: str) -> LandmarkSource:
    """Open a source of `SOURCES`.

    Raises:
        UserError: no such source, or what it needs is missing.
    """
    if name not in SOURCES:
        raise unknown_name("landmarks", name, SOURCES)
    return SOURCES[name]()
