"""The losses of W_tri (section 3.3) and of ReStyle, each a scalar: means over the batch.

Eq. 1: ``L_rec = l2 L2 + lpips LPIPS + id ID + sim L_sim + w_norm L_reg``;
Eq. 4: ``L = L_rec + cycle L_cyc``. What the paper leaves open follows ReStyle (coach and criteria
of yuval-alaluf/restyle-encoder), see this folder's README.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Pairs = Callable[[Tensor, Tensor], Tensor]
"""Two batches of pictures (B, 3, S, S) in [-1, 1] -> their distances (B,)."""


def pixel_loss(pictures: Tensor, targets: Tensor) -> Tensor:
    """L2 of Eq. 1: the mean squared error of pictures (B, 3, S, S) in [-1, 1]."""
    return (pictures - targets).square().mean()


def w_norm(codes: Tensor, start: Tensor) -> Tensor:
    """Eq. 2, ``||E(x) - w_avg||_2``: Frobenius norm over all codes of a subject, its mean.

    Args:
        codes: (B, N, w_dim).
        start: (N, w_dim), the average codes.
    """
    return (codes - start).flatten(1).norm(dim=1).mean()


def code_distance(codes: Tensor, others: Tensor) -> Tensor:
    """Mean absolute difference over all codes.

    Of Eq. 3, ``||E(x) - E(G(E(x), p))||_1``, with the codes found in what another camera sees; of
    the warm-up, with the codes that a picture was made from.

    Args:
        codes, others: (B, N, w_dim).
    """
    return (codes - others).abs().mean()


@dataclass(frozen=True)
class Reconstruction:
    """Eq. 1 without its norm: weights by term, and the distances that need a network.

    Attributes:
        weights: term -> weight; terms without weight are not computed.
        networks: term -> distance, for each term but ``l2``.
    """

    weights: dict[str, float]
    networks: dict[str, Pairs]

    def __call__(self, pictures: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The weighted terms between pictures (B, 3, S, S) in [-1, 1] and what they should be."""
        terms = {}
        for name, weight in self.weights.items():
            if name == "l2":
                terms[name] = weight * pixel_loss(pictures, targets)
            else:
                terms[name] = weight * self.networks[name](pictures, targets).mean()
        return terms
