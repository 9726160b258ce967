"""Softmax losses with a margin between people."""

from __future__ import annotations

import math
from typing import Any

import torch
from pytorch_metric_learning.losses import ArcFaceLoss, CosFaceLoss
from torch import Tensor, nn

from gan3d_bench.methods.idnet.config import MARGINS


class MarginLoss(nn.Module):
    """Cross-entropy of ``scale * cos(angle to a person's centre)``, own person at a disadvantage.

    CosFace (Wang et al. 2018, eq. 4) takes the margin from the own cosine, ArcFace (Deng et al.
    2019, eq. 3) adds it to the own angle. In float32 also under autocast.

    Args:
        kind: ``cosface`` or ``arcface``.
        people: number of centres, which are learned.
        dimensions: D of the embeddings.
        margin: of the cosine, or in radians; 0 is the paper's.
        scale: of the logits.
    """

    def __init__(
        self, kind: str, people: int, dimensions: int, margin: float = 0.0, scale: float = 64.0
    ) -> None:
        super().__init__()
        margin = margin or MARGINS[kind]
        options: dict[str, Any] = {"scale": scale}
        if kind == "cosface":
            self.softmax = CosFaceLoss(people, dimensions, margin=margin, **options)
        else:
            self.softmax = ArcFaceLoss(people, dimensions, margin=math.degrees(margin), **options)

    def forward(self, embeddings: Tensor, people: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss, and the part of pictures whose nearest centre is the right one.

        Args:
            embeddings: (B, D) of any length.
            people: (B,) indices.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = embeddings.float()
            loss = self.softmax(embeddings, people)
            with torch.no_grad():
                nearest = self.softmax.get_logits(embeddings).argmax(1)
        return loss, (nearest == people).float().mean()
