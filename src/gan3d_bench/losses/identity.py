"""Identity loss: how far two images are from showing the same person."""

from __future__ import annotations

from pathlib import Path

from jaxtyping import Float
from torch import Tensor, nn

from gan3d_bench.faces.arcface import ArcFace, cosine_similarity


class IdentityLoss(nn.Module):
    """``1 - cos`` between the ArcFace embeddings of image pairs, 0 (same person) to 2.

    Differentiable in both images. The network is frozen and left out of ``state_dict``.

    Args:
        weights: ``arcface-mbf``, or the path of another network (see :class:`ArcFace`).
        arcface: the network, if it is loaded already.

    Raises:
        UserError: the asset is missing or damaged, or the file is no network of this kind.
    """

    def __init__(self, weights: str | Path = "arcface-mbf", arcface: ArcFace | None = None) -> None:
        super().__init__()
        self.arcface = arcface or ArcFace(weights)
        self.name = f"identity ({self.arcface.label})"

    def forward(
        self, x: Float[Tensor, "B 3 H W"], y: Float[Tensor, "B 3 H W"]
    ) -> Float[Tensor, " B"]:
        """Return the loss of each pair of aligned RGB images in [-1, 1]."""
        return 1 - cosine_similarity(self.arcface.embed(x), self.arcface.embed(y))
