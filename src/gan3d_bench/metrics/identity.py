"""Whether images show the same person, by ArcFace embeddings of aligned faces.

The angle is GAN2Shape's identity metric under rotation (Pan et al. 2021, Table 3), the cosine that
of LiftedGAN's (Shi et al. 2021, Figure 7). Both depend on network and alignment: state them with
every number.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan3d_bench.faces.arcface import ArcFace, angle, cosine_similarity
from gan3d_bench.metrics.instances import InstanceMean

Images = Float[Tensor, "B 3 H W"]


class _IdentityMetric(InstanceMean):
    def __init__(self, arcface: nn.Module | None = None, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.arcface = arcface or ArcFace()

    @torch.no_grad()
    def embed(self, images: Images) -> Float[Tensor, "B D"]:
        """Return the embeddings of aligned images in [-1, 1]."""
        return self.arcface(images)

    @abstractmethod
    def compare(self, a: Float[Tensor, "B D"], b: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Return the value of each pair of embeddings."""

    def instances(self, images: Images, references: Images) -> Float[Tensor, " B"]:
        """Return the value of each pair; with one reference, of each image against it."""
        return self.compare(self.embed(images), self.embed(references).expand(len(images), -1))

    def update(self, images: Images, references: Images) -> None:
        """Add a batch of aligned RGB images in [-1, 1], each with its reference or all with one."""
        super().update(self.instances(images, references))


class IdentityDistance(_IdentityMetric):
    """Angle between the embeddings in degrees, averaged over images; 0 is the same person.

    Args:
        arcface: the network, images (B, 3, H, W) to (B, D); None reads the asset ``arcface-mbf``.

    Raises:
        UserError: the asset is missing or damaged.
    """

    higher_is_better = False

    def compare(self, a: Float[Tensor, "B D"], b: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Return the angle of each pair of embeddings, degrees."""
        return angle(a, b)


class IdentitySimilarity(_IdentityMetric):
    """Cosine between the embeddings, averaged over images; 1 is the same person.

    Args, Raises: see :class:`IdentityDistance`.
    """

    higher_is_better = True

    def compare(self, a: Float[Tensor, "B D"], b: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Return the cosine of each pair of embeddings."""
        return cosine_similarity(a, b)
