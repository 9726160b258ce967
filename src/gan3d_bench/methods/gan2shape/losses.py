"""What reconstructions and projected samples are compared by (eq. 2 and 3, the L and L_smooth).

Everything here runs in float32. Batches are instance-major; every loss is the mean over instances
of the loss the instance would have alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.losses.perceptual import FeatureExtractor
from gan3d_bench.losses.photometric import masked_l1, masked_mean
from gan3d_bench.losses.smoothness import second_order_smoothness

DISCRIMINATOR_BLOCKS = 4


def image_loss(
    image: Tensor,
    target: Tensor,
    mask: Tensor,
    distance: Callable[[Tensor, Tensor], Tensor] | None,
    weight: float,
    instances: int,
) -> tuple[Tensor, Tensor]:
    """Masked L1 and weighted perceptual distance, each averaged over instances.

    Args:
        image, target: (instances * m, 3, S, S).
        mask: (instances * m, 1, S, S).
        distance: of images and masks, the perceptual distance (instances * m,) from `target`; None
            leaves the second term out (zero).
        weight: of the perceptual term.
        instances: number of consecutive blocks.
    """
    l1 = masked_l1(image, target, mask, instances).mean()
    if distance is None or weight == 0:
        return l1, l1.new_zeros(())
    return l1, weight * distance(image, mask).mean()


def smoothness(depth: Tensor, diffuse: Tensor) -> Tensor:
    """Second-order smoothness of depth and diffuse shading (the paper has depth only)."""
    return second_order_smoothness(depth) + second_order_smoothness(diffuse)


def discriminator_distance(
    image: Tensor,
    target: Tensor,
    mask: Tensor,
    discriminator: FeatureExtractor,
    instances: int = 1,
) -> Tensor:
    """L1 between discriminator activations of the first four blocks (Pan et al. 2020).

    Args:
        image: (instances * m, 3, S, S); gradients flow to it.
        target: the same shape; none flow to it.
        mask: (instances * m, 1, S, S), average-pooled to each activation's size.
        discriminator: the teacher's, frozen.
        instances: number of consecutive blocks.

    Returns:
        (instances,).
    """
    with torch.no_grad():
        real = discriminator.features(target, DISCRIMINATOR_BLOCKS)
    fake = discriminator.features(image, DISCRIMINATOR_BLOCKS)
    terms = [
        masked_mean(
            (f.float() - r.float()).abs(),
            F.adaptive_avg_pool2d(mask, (f.shape[-2], f.shape[-1])),
            instances,
        )
        for f, r in zip(fake, real, strict=True)
    ]
    return torch.stack(terms).sum(0)
