"""SCRFD: where the faces of an image are, with five points each.

Guo et al. 2021. The network runs in onnxruntime; decoding and selection are here, by the
conventions of docs/facts/metric_networks.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torchvision.ops import box_iou, nms

from gan3d_bench.assets.store import find_weights
from gan3d_bench.errors import UserError
from gan3d_bench.faces.onnx_network import open_session

STRIDES = (8, 16, 32)
CERTAIN = 0.8
"""Score that upright faces reach and turned ones do not. At 128+256+640 pixels 24 samples of
MobileStyleGAN-FFHQ score 0.77 to 0.90; turned by 90 degrees at most 0.75, by 180 at most 0.72, each
at least 0.05 less than itself upright."""
ANCHORS = 2  # per cell
SAME = 0.4
"""Intersection over union above which two boxes are of one face."""


@dataclass(frozen=True)
class Faces:
    """The faces of one image, highest score first; pixels of the image."""

    boxes: Float[Tensor, "N 4"]
    """x1, y1, x2, y2."""
    scores: Float[Tensor, " N"]
    points: Float[Tensor, "N 5 2"]
    """(x, y) in the order of `alignment.TEMPLATE`."""

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Tensor) -> Faces:
        return Faces(self.boxes[index], self.scores[index], self.points[index])

    def largest(self) -> Tensor | None:
        """Return the five points (5, 2) of the face with the largest box; None without a face."""
        if not len(self):
            return None
        size = self.boxes[:, 2:] - self.boxes[:, :2]
        return self.points[size.prod(1).argmax()]


class FaceDetector:
    """SCRFD on the CPU.

    Args:
        weights: ``scrfd-500m``, or the path of another SCRFD with five points (as
            ``det_10g.onnx`` of buffalo_l).
        threshold: the lowest score of a face, 0 to 1.
        overlap: of two boxes with a larger intersection over union the lower score goes.

    Raises:
        UserError: the asset is missing or damaged, or the file is no such detector.
    """

    def __init__(
        self,
        weights: str | Path = "scrfd-500m",
        threshold: float = 0.5,
        overlap: float = 0.4,
    ) -> None:
        self.weights = find_weights(weights)
        self.threshold = threshold
        self.overlap = overlap
        self._session = open_session(self.weights.path)
        outputs = len(self._session.get_outputs())
        if outputs != 3 * len(STRIDES):
            raise UserError(
                f"{self.weights.name}: {outputs} outputs; expected scores, boxes and five points "
                f"at strides {', '.join(map(str, STRIDES))}"
            )

    def detect(
        self, images: Float[Tensor, "B 3 H W"], sizes: Sequence[int] = (128,)
    ) -> list[Faces]:
        """Return the faces of each image.

        Args:
            images: RGB in [-1, 1].
            sizes: the image is scaled, its longer side to each of these (multiples of 32), and the
                faces of all passes are joined. A face should measure 16 to 200 pixels there: 128
                or 256 for portraits, 640 for groups. Cost grows with the square.

        Raises:
            ValueError: images are not (B, 3, H, W), or a size is no multiple of 32.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images: expected (B, 3, H, W), got {tuple(images.shape)}")
        if not sizes or any(size < 32 or size % 32 for size in sizes):
            raise ValueError(f"sizes={tuple(sizes)}: expected multiples of 32")
        images = images.detach().float().cpu()
        passes = [self._candidates(images, size) for size in sizes]
        return [
            self._select(*(torch.cat(values) for values in zip(*found, strict=True)))
            for found in zip(*passes, strict=True)
        ]

    def _candidates(self, images: Tensor, size: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return (boxes, scores, points) above the threshold of each image, one pass."""
        height, width = images.shape[-2:]
        scale = size / max(height, width)
        shape = (max(1, int(height * scale)), max(1, int(width * scale)))
        canvas = torch.full((len(images), 3, size, size), -1.0)  # the border is black
        # without antialiasing, as the images it was trained on
        resized = F.interpolate(images, shape, mode="bilinear")
        canvas[:, :, : shape[0], : shape[1]] = resized
        feed = {self._session.get_inputs()[0].name: (canvas * (127.5 / 128)).numpy()}
        outputs = [torch.from_numpy(array) for array in self._session.run(None, feed)]
        boxes, scores, points = [], [], []
        for level, stride in enumerate(STRIDES):
            score, box, kps = outputs[level :: len(STRIDES)]
            centres = _anchor_centres(size, stride)
            scores.append(score.view(len(images), -1))
            # distances from the centre to left, top, right, bottom
            corners = box.view(len(images), -1, 2, 2) * stride
            boxes.append(torch.cat([centres - corners[:, :, 0], centres + corners[:, :, 1]], -1))
            points.append(centres[:, None] + kps.view(len(images), -1, 5, 2) * stride)
        box, score, kps = (torch.cat(values, 1) for values in (boxes, scores, points))
        kept = score >= self.threshold
        # the shorter side was rounded down; as InsightFace, one scale serves both
        factor = shape[0] / height
        return [
            (box[i][kept[i]] / factor, score[i][kept[i]], kps[i][kept[i]] / factor)
            for i in range(len(images))
        ]

    def _select(self, boxes: Tensor, scores: Tensor, points: Tensor) -> Faces:
        return Faces(boxes, scores, points)[nms(boxes, scores, self.overlap)]


class Detector(Protocol):
    """What finds faces as `FaceDetector` does."""

    def detect(self, images: Tensor, sizes: Sequence[int]) -> list[Faces]: ...


def detect_any_way_up(
    detector: Detector, images: Float[Tensor, "B 3 H W"], sizes: Sequence[int]
) -> list[Faces]:
    """Return the faces of each image, see `FaceDetector.detect`, also those that are not upright.

    The detector finds a face that stands on its head, or lies on its side, but gives it the points
    of an upright one. So where it is not certain of all faces it looks at the image turned by
    quarters, too. What it finds there takes the place of an overlapping face with a lower score; a
    face that is found in no other way counts only in an image without any.
    """
    found = detector.detect(images, sizes)
    unsure = [
        i for i, faces in enumerate(found) if not (faces.scores >= CERTAIN).all() or not len(faces)
    ]
    if not unsure:
        return found
    height, width = images.shape[-2:]
    for turns in (1, 2, 3):
        again = detector.detect(torch.rot90(images[unsure], turns, (2, 3)), sizes)
        for i, faces in zip(unsure, again, strict=True):
            found[i] = _joined(found[i], _turned_back(faces, turns, width, height))
    return found


def _turned_back(faces: Faces, turns: int, width: int, height: int) -> Faces:
    """Faces of an image (width, height) from those of itself turned by `torch.rot90`."""
    corners = faces.boxes.view(-1, 2, 2)
    corners, points = (_rotated_back(x, turns, width, height) for x in (corners, faces.points))
    return Faces(torch.cat([corners.amin(1), corners.amax(1)], 1), faces.scores, points)


def _rotated_back(points: Tensor, turns: int, width: int, height: int) -> Tensor:
    for turn in reversed(range(turns)):
        x, y = points.unbind(-1)
        # the side that was the width before this turn
        points = torch.stack([(height if turn % 2 else width) - 1 - y, x], -1)
    return points


def _joined(faces: Faces, turned: Faces) -> Faces:
    if not len(faces) or not len(turned):
        return faces if len(faces) else turned
    overlap = box_iou(faces.boxes, turned.boxes) > SAME
    beaten = overlap & (faces.scores[:, None] < turned.scores)
    stays = ~beaten.any(1)
    taken = beaten.any(0) & ~(overlap & stays[:, None]).any(0)
    parts = faces[stays], turned[taken]
    joined = Faces(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Faces)))
    kept = nms(joined.boxes, joined.scores, SAME)
    return joined[kept]


def _anchor_centres(size: int, stride: int) -> Float[Tensor, "A 2"]:
    """Return (x, y) of the anchors of one level, row by row, in pixels."""
    steps = torch.arange(size // stride) * float(stride)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([x, y], -1).view(-1, 2).repeat_interleave(ANCHORS, 0)
