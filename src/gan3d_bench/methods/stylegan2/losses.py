"""StyleGAN2's objectives: logistic losses, R1 and path-length regularisers."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Logistic loss of the discriminator: mean softplus(-D(real)) + mean softplus(D(fake)).

    Args:
        real_logits, fake_logits: (B, 1).
    """
    return F.softplus(-real_logits.float()).mean() + F.softplus(fake_logits.float()).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Non-saturating loss of the generator: mean softplus(-D(fake)), logits (B, 1)."""
    return F.softplus(-fake_logits.float()).mean()


def r1_penalty(real_logits: Tensor, images: Tensor) -> Tensor:
    """Mean over the batch of the squared norm of dD/d(image) at real images.

    Args:
        real_logits: (B, 1), computed from `images`.
        images: (B, 3, H, W) that require grad.

    Source: Mescheder et al. 2018, eq. 9, without its gamma / 2.
    """
    (gradient,) = torch.autograd.grad(real_logits.sum(), images, create_graph=True)
    return gradient.float().square().sum((1, 2, 3)).mean()


def path_lengths(images: Tensor, ws: Tensor, direction: Tensor) -> Tensor:
    """Length of the image's Jacobian along a random direction, (B,).

    Args:
        images: (B, 3, H, W), computed from `ws`.
        ws: (B, num_ws, w_dim) that require grad.
        direction: (B, 3, H, W) standard normal.

    Source: Karras et al. 2020, eq. 4; square root of the mean over layers of the sum over
    channels, as released.
    """
    scaled = direction / math.sqrt(images.shape[2] * images.shape[3])
    (gradient,) = torch.autograd.grad((images * scaled).sum(), ws, create_graph=True)
    return gradient.float().square().sum(2).mean(1).sqrt()


def path_penalty(
    lengths: Tensor, mean: Tensor, decay: float = 0.01, average: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the squared deviation of path lengths from their moving average, and the new average.

    Args:
        lengths: (B,).
        mean: () the moving average so far.
        decay: weight of this batch in the average. The gradient flows through the new average,
            as released.
        average: () mean length over all processes; None takes that of `lengths`.
    """
    average = lengths.mean() if average is None else average
    updated = mean + decay * (average - mean)
    return (lengths - updated).square().mean(), updated.detach()


def edge_loss(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference between the finite differences of `x` and `y` (B, 3, H, W)."""
    difference = x - y
    return difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()
