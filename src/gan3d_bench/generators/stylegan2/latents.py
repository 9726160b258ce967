"""Style mixing, and images of many latents."""

from __future__ import annotations

import torch
from torch import Tensor

from gan3d_bench.generators.base import require_labels
from gan3d_bench.generators.latents import batches
from gan3d_bench.generators.stylegan2.generator import Generator, Noise


def mix_styles(first: Tensor, second: Tensor, crossover: int, num_ws: int) -> Tensor:
    """Take the layers before `crossover` from `first`, the others from `second`.

    Stylecodes are mixed after the mapping network, so nothing changes with labels.

    Args:
        first, second: (B, w_dim).
        crossover: layer index in 0..num_ws.

    Returns:
        (B, num_ws, w_dim).
    """
    return torch.cat(
        [
            first[:, None].expand(-1, crossover, -1),
            second[:, None].expand(-1, num_ws - crossover, -1),
        ],
        dim=1,
    )


@torch.no_grad()
def sample_images(
    generator: Generator,
    z: Tensor,
    psi: float = 1.0,
    noise: Noise = "const",
    batch: int = 32,
    labels: Tensor | None = None,
) -> Tensor:
    """Return images of many latents, some at a time.

    Args:
        generator: gives the images.
        z: (N, z_dim).
        psi: truncation.
        noise: of the synthesis network.
        batch: images at a time.
        labels: (N, label_dim), for a generator that takes labels.

    Returns:
        (N, image_channels, S, S), clamped to [-1, 1].

    Raises:
        UserError: labels missing, of another shape, or not taken by this generator.
    """
    require_labels(labels, generator.label_dim, len(z))
    images = [
        generator(part, psi, labels=given, noise=noise) for part, given in batches(batch, z, labels)
    ]
    return torch.cat(images).clamp(-1, 1)
