"""106 landmarks of a face: contour, eyes, brows, mouth, nose."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan3d_bench.assets.store import find_weights
from gan3d_bench.faces.alignment import warp
from gan3d_bench.faces.onnx_network import OnnxNetwork

INPUT_SIZE = 192
MARGIN = 1.5  # the crop is the box's longer side times this

GROUPS = {
    "contour": range(0, 33),
    "left eye": range(33, 43),
    "left brow": range(43, 52),
    "mouth": range(52, 72),
    "nose": range(72, 87),
    "right eye": range(87, 97),
    "right brow": range(97, 106),
}
"""Indices by part; left and right as seen in the image."""


class Landmarks106(nn.Module):
    """InsightFace's 2D106Det, frozen, differentiable in the images.

    Args:
        weights: ``landmarks-106`` or the path of a file of the same kind.

    Raises:
        UserError: the asset is missing or damaged, or the file is no network of this kind.
    """

    def __init__(self, weights: str | Path = "landmarks-106") -> None:
        super().__init__()
        self.weights = find_weights(weights)
        self.network = OnnxNetwork(self.weights.path)

    def forward(
        self, images: Float[Tensor, "B 3 H W"], boxes: Float[Tensor, "B 4"]
    ) -> Float[Tensor, "B 106 2"]:
        """Return the landmarks (x, y) in pixels of the images.

        Args:
            images: RGB in [-1, 1].
            boxes: x1, y1, x2, y2 in pixels, of `scrfd.FaceDetector`; one face an image.
        """
        boxes = boxes.to(images.device, torch.float32)
        low, high = boxes[:, :2], boxes[:, 2:]
        scale = INPUT_SIZE / ((high - low).amax(1) * MARGIN)
        shift = INPUT_SIZE / 2 - scale[:, None] * (low + high) / 2
        linear = scale[:, None, None] * torch.eye(2, device=images.device)
        crops = warp(images, torch.cat([linear, shift[..., None]], 2), INPUT_SIZE)
        # the file subtracts its mean itself, from values in [0, 255]
        found = self.network((crops + 1) * 127.5).view(len(images), -1, 2)
        return ((found + 1) * (INPUT_SIZE / 2) - shift[:, None]) / scale[:, None, None]
