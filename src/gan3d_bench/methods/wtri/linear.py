"""Linear regression from averaged pixels to a stylecode: what any encoder must beat."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan3d_bench.methods.wtri.known_pictures import KnownPictures
from gan3d_bench.rendering.images import resize

SIDE = 16
"""Pixels a side that pictures are averaged to."""
PENALTIES = tuple(10.0**power for power in range(-1, 5))
"""Of ridge regression; the one that predicts best what is left out is taken."""


class LinearInverter(nn.Module):
    """Pictures -> codes of W, found in closed form.

    Args:
        w_dim: of a code.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, w_dim: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(w_dim, 3 * SIDE**2))
        self.register_buffer("bias", torch.zeros(w_dim))

    @property
    def fitted(self) -> bool:
        """Whether it has learnt anything."""
        return bool(self.weight.any())

    @torch.no_grad()
    def fit(self, known: KnownPictures) -> None:
        """Learn from the generator's own subjects; the same in every process."""
        from sklearn.linear_model import RidgeCV

        pixels = _pixels(known.pictures.flatten(0, 1)).double().cpu().numpy()
        codes = known.codes[:, :, 0].flatten(0, 1).double().cpu().numpy()  # one for all layers
        found = RidgeCV(alphas=PENALTIES).fit(pixels, codes)
        self.weight.copy_(torch.from_numpy(found.coef_))
        self.bias.copy_(torch.from_numpy(found.intercept_))

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) in [-1, 1] -> (B, w_dim)."""
        return nn.functional.linear(_pixels(pictures), self.weight, self.bias)


def _pixels(pictures: Tensor) -> Tensor:
    return resize(pictures, SIDE).flatten(1)
