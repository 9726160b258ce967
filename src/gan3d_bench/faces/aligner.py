"""From images of one face each to aligned faces: detection, then alignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gan3d_bench.faces.alignment import TEMPLATE_SIZE, align
from gan3d_bench.faces.scrfd import FaceDetector, detect_any_way_up


@dataclass(frozen=True)
class AlignedFaces:
    """What `FaceAligner` makes of B images, N of which show a face."""

    images: Float[Tensor, "N 3 S S"]
    """Aligned, in [-1, 1], on the device of the input."""
    found: Bool[Tensor, " B"]
    """Which images show a face; on the CPU."""
    points: Float[Tensor, "N 5 2"]
    """Pixels of the images given."""


class FaceAligner:
    """Aligns the largest face of each image to ArcFace's template.

    Embeddings mean little without it: cropped alike, a head turned by 20 degrees lies as far from
    its frontal view as another head does.

    Args:
        detector: None opens the asset ``scrfd-500m``.
        sizes: see :meth:`FaceDetector.detect`; 128 suits portraits of any resolution.
        size: of the aligned images.

    Raises:
        UserError: the asset is missing or damaged.
    """

    def __init__(
        self,
        detector: FaceDetector | None = None,
        sizes: Sequence[int] = (128,),
        size: int = TEMPLATE_SIZE,
    ) -> None:
        self.detector = detector or FaceDetector()
        self.sizes = tuple(sizes)
        self.size = size

    @property
    def label(self) -> str:
        """What a result made with this alignment has to state."""
        sizes = "+".join(map(str, self.sizes))
        return f"SCRFD {self.detector.weights.label} at {sizes}, 5 points"

    def __call__(self, images: Float[Tensor, "B 3 H W"]) -> AlignedFaces:
        """Return the aligned faces of images in [-1, 1]; those without a face are left out.

        Differentiable in the images; the points count as constants.
        """
        found_faces = detect_any_way_up(self.detector, images, self.sizes)
        points = [faces.largest() for faces in found_faces]
        found = torch.tensor([p is not None for p in points], dtype=torch.bool)
        kept = [p for p in points if p is not None]
        stacked = torch.stack(kept) if kept else torch.empty(0, 5, 2)
        if not kept:
            empty = images.new_empty(0, 3, self.size, self.size)
            return AlignedFaces(empty, found, stacked)
        aligned = align(images[found.to(images.device)], stacked, self.size)
        return AlignedFaces(aligned, found, stacked)
