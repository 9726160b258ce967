"""Style mixing, and images of many latents."""

from __future__ import annotations

import torch
from torch import Tensor

from gan3d_bench.generators.stylegan2.generator import Generator, Noise


def mix_styles(first: Tensor, second: Tensor, crossover: int, num_ws: int) -> Tensor:
    """Take the layers before `crossover` from `first`, the others from `second`.

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
) -> Tensor:
    """Return images (N, 3, S, S) of latents z (N, z_dim), `batch` at a time, clamped to [-1, 1]."""
    return torch.cat([generator(part, psi, noise=noise) for part in z.split(batch)]).clamp(-1, 1)
