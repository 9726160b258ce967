"""The logistic GAN losses, the R1 penalty and path-length regularisation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def called_real(logits: Tensor) -> Tensor:
    """Mean softplus(-D), (): small where the discriminator takes images for real.

    The discriminator's loss on real images, and the generator's non-saturating loss on its own.

    Args:
        logits: (B, 1).
    """
    return F.softplus(-logits.float()).mean()


def called_fake(logits: Tensor) -> Tensor:
    """Mean softplus(D), (), of logits (B, 1): the discriminator's loss on generated images."""
    return F.softplus(logits.float()).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Logistic loss of the discriminator: mean softplus(-D(real)) + mean softplus(D(fake)).

    Args:
        real_logits, fake_logits: (B, 1).
    """
    return called_real(real_logits) + called_fake(fake_logits)


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Non-saturating loss of the generator: mean softplus(-D(fake)), logits (B, 1)."""
    return called_real(fake_logits)


def r1_penalty(real_logits: Tensor, images: Tensor | Sequence[Tensor]) -> Tensor:
    """Mean over the batch of the squared norm of dD/d(image) at real images.

    Args:
        real_logits: (B, 1), computed from `images`.
        images: (B, C, H, W) that require grad; or several, whose squared norms are added up (an
            image and its low-resolution copy in dual discrimination: eg3d, training/loss.py).

    Source: Mescheder et al. 2018, eq. 9, without its gamma / 2.
    """
    inputs = [images] if isinstance(images, Tensor) else list(images)
    gradients = torch.autograd.grad(real_logits.sum(), inputs, create_graph=True)
    norms = [gradient.float().square().sum((1, 2, 3)) for gradient in gradients]
    return torch.stack(norms).sum(0).mean()


def path_lengths(images: Tensor, ws: Tensor, direction: Tensor) -> Tensor:
    """Length of the image's Jacobian along a random direction, (B,).

    Args:
        images: (B, C, H, W), computed from `ws`.
        ws: (B, num_ws, w_dim) that require grad.
        direction: (B, C, H, W) standard normal.

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
