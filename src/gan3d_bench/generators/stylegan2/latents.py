"""Latents: drawing, statistics, style mixing."""

from __future__ import annotations

import torch
from torch import Tensor

from gan3d_bench.generators.stylegan2.generator import Generator, Noise


def sample_z(n: int, z_dim: int, rng: torch.Generator) -> Tensor:
    """Draw `n` standard normal latents (n, z_dim) on the device of `rng`."""
    return torch.randn(n, z_dim, generator=rng, device=rng.device)


@torch.no_grad()
def w_statistics(
    generator: Generator, rng: torch.Generator, n: int = 10000
) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (w_dim,) of w over `n` latents.

    The standard deviation is per channel, without Bessel's correction; its norm is the scalar
    of StyleGAN2's projector.
    """
    device = generator.w_mean.device
    z = sample_z(n, generator.config.z_dim, rng).to(device)
    w = torch.cat([generator.mapping(part) for part in z.split(1024)])
    return w.mean(0), w.std(0, correction=0)


def update_w_statistics(generator: Generator, rng: torch.Generator, n: int = 10000) -> None:
    """Set the generator's `w_mean` and `w_std` from `n` latents."""
    mean, std = w_statistics(generator, rng, n)
    generator.w_mean.copy_(mean)
    generator.w_std.copy_(std)


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


def semantic_directions(generator: Generator) -> tuple[Tensor, Tensor]:
    """Factorise the weights that take w into the network (SeFa, Shen and Zhou 2021).

    Returns:
        singular values (w_dim,), descending, and directions (w_dim, w_dim) as columns, each with
        its entry of largest magnitude positive. As in the released code, the first ToRGB layer
        takes part and the others do not.
    """
    synthesis = generator.synthesis
    layers = [*synthesis.convs, synthesis.stages[0].to_rgb]
    affines = torch.cat([layer.affine.weight for layer in layers])
    _, values, rows = torch.linalg.svd(affines.detach(), full_matrices=False)
    largest = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    return values, (rows * largest.sign()).T


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
