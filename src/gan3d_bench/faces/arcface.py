"""ArcFace: an aligned face -> an embedding whose direction tells who it is."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gan3d_bench.assets.store import find_weights
from gan3d_bench.faces.onnx_network import OnnxNetwork

INPUT_SIZE = 112


class ArcFace(nn.Module):
    """ArcFace (Deng et al. 2019) read from InsightFace's ONNX file, frozen, differentiable.

    Args:
        weights: ``arcface-mbf`` (MobileFaceNet, w600k), or the path of another network of
            InsightFace's, as ``w600k_r50.onnx`` of buffalo_l.

    Raises:
        UserError: the asset is missing or damaged, or the file is no network of this kind.
    """

    def __init__(self, weights: str | Path = "arcface-mbf") -> None:
        super().__init__()
        self.weights = find_weights(weights)
        self.network = OnnxNetwork(self.weights.path)

    @property
    def label(self) -> str:
        """What a result made with this network has to state."""
        return f"ArcFace {self.weights.label}"

    def embed(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Return the embeddings, not normalised (length about 20 for a clear face), D = 512.

        Args:
            images: RGB in [-1, 1], aligned to `alignment.TEMPLATE`; another size than 112 is
                resized (bilinear, antialiased where it shrinks).

        Raises:
            ValueError: images are not (B, 3, H, W).
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images: expected (B, 3, H, W), got {tuple(images.shape)}")
        x = images.float()
        if x.shape[-2:] != (INPUT_SIZE, INPUT_SIZE):
            x = F.interpolate(x, (INPUT_SIZE, INPUT_SIZE), mode="bilinear", antialias=True)
        return self.network(x)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """See :meth:`embed`."""
        return self.embed(images)


def cosine_similarity(a: Float[Tensor, "B D"], b: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """Return the cosine of the angle between embeddings, 1 for the same direction."""
    return F.cosine_similarity(a, b, dim=1)


def angle(a: Float[Tensor, "B D"], b: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """Return the angle between embeddings in degrees, 0 to 180; exact also near 0.

    The gradient where two embeddings have the same direction is zero.
    """
    a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    # half the angle by its tangent: the arc cosine loses half of the digits near 0
    half = torch.atan2(_length(a - b), _length(a + b))
    return torch.rad2deg(2 * half)


def _length(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=1)
