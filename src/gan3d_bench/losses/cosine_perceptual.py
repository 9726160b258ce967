"""Multi-scale perceptual loss on channel-normalised features (LiftedGAN, models/perc_loss.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.losses.perceptual import LPIPS, FeatureExtractor

Features = Callable[[Tensor], Sequence[Tensor]]
"""Images (B, 3, H, W) in [-1, 1] -> activations (B, C, h, w) of several layers."""


@dataclass(frozen=True)
class Description:
    """Channel-normalised activations of a batch of images, by scale and then by layer."""

    features: Sequence[Sequence[Tensor]]

    def detach(self) -> Description:
        """The same, cut from the autograd graph."""
        return Description([[f.detach() for f in scale] for scale in self.features])


class CosinePerceptualLoss:
    """Squared distance of unit features, summed over channels: ``2 - 2 cos`` at each position.

    Averaged over positions and images, then over layers and scales 1, 1/2, 1/4 ... (0 to 4).

    Args:
        features: the network, see `Features`.
        scales: how many; each halves the images by 2 x 2 means.
        name: what results call the loss.
    """

    def __init__(self, features: Features, scales: int, name: str) -> None:
        self.features = features
        self.scales = scales
        self.name = name

    def describe(self, images: Tensor) -> Description:
        """Features of images (B, 3, H, W) in [-1, 1], H and W divisible by ``2**(scales - 1)``."""
        described = []
        for scale in range(self.scales):
            if scale:
                images = F.avg_pool2d(images, 2)
            described.append([_unit(f.float()) for f in self.features(images)])
        return Description(described)

    def distance(
        self,
        x: Description,
        y: Description,
        mask: Tensor | None = None,
        total: Tensor | None = None,
    ) -> Tensor:
        """The loss between two batches of described images, a scalar.

        Args:
            x, y: of images of one size (H, W).
            mask: (B, 1, H, W) in [0, 1], mean-pooled to each layer's size; positions weigh as it
                says. None: all alike.
            total: what the mask's sum is divided by instead of itself, for batches that are a
                share of a greater one.
        """
        terms = []
        for scale_x, scale_y in zip(x.features, y.features, strict=True):
            for f, g in zip(scale_x, scale_y, strict=True):
                error = (f - g).square().sum(1, keepdim=True)
                terms.append(_mean(error, mask, total))
        return torch.stack(terms).mean()


def _mean(error: Tensor, mask: Tensor | None, total: Tensor | None) -> Tensor:
    """Mean of an error map (B, 1, h, w) over a mask (B, 1, H, W) of a multiple of its size."""
    if mask is None:
        return error.mean()
    weight = F.adaptive_avg_pool2d(mask, (error.shape[2], error.shape[3]))
    whole = weight.sum() if total is None else total * (weight[0].numel() / mask[0].numel())
    return (error * weight).sum() / whole.clamp(min=1e-6)


def _unit(features: Tensor) -> Tensor:
    # the gradient where all channels are zero is zero, not NaN
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-10)


VGG_LAYERS = 4
"""Of LPIPS's five, up to relu4_3."""


def vgg_features(lpips: LPIPS) -> Features:
    """relu2_2, relu3_3 and relu4_3 of the VGG16 trunk that LPIPS carries, ImageNet's weights.

    Its input normalisation is ImageNet's, expressed for images in [-1, 1].
    """
    return lambda images: lpips.features(images, VGG_LAYERS)[1:]


def discriminator_features(discriminator: FeatureExtractor, layers: int) -> Features:
    """The first activations of a frozen discriminator, finest first."""
    return lambda images: discriminator.features(images.float(), layers)
