"""How alike the people of two pictures are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan3d_bench.faces.aligner import FaceAligner
from gan3d_bench.faces.arcface import ArcFace, cosine_similarity


class IdentityPairs(nn.Module):
    """Cosine of the ArcFace embeddings of pairs of pictures, aligned by their own faces.

    Args:
        network: as `ArcFace`.

    Raises:
        UserError: a network's asset is missing or damaged.
    """

    def __init__(self, network: str = "arcface-mbf") -> None:
        super().__init__()
        self.arcface, self.aligner = ArcFace(network), FaceAligner()

    @property
    def label(self) -> str:
        """What results call it."""
        return f"{self.arcface.label}, {self.aligner.label}"

    @torch.no_grad()
    def forward(self, shown: Tensor, real: Tensor) -> Tensor:
        """Cosine (B,) of pictures (B, 3, S, S) in [-1, 1]; NaN where no face is found in either."""
        aligned = [self.aligner(images) for images in (shown, real)]
        result = torch.full((len(shown),), torch.nan)
        both = aligned[0].found & aligned[1].found
        if both.any():
            kept = [a.images[both[a.found].to(a.images.device)] for a in aligned]
            result[both] = cosine_similarity(*(self.arcface(x) for x in kept)).cpu()
        return result
