"""Directions of W that move pictures in ways people can name, found without labels."""

from __future__ import annotations

import torch
from torch import Tensor

from gan3d_bench.generators.stylegan2.generator import Generator
from gan3d_bench.generators.stylegan2.latents import sample_z, semantic_directions

CHUNK = 4096


def sefa(generator: Generator, count: int) -> Tensor:
    """Directions by closed-form factorisation (SeFa, Shen and Zhou 2021, eq. 5).

    The unit vectors that the affine layers stretch most: right singular vectors of their raw
    weights stacked (facts/stylegan2.md section 4), see `semantic_directions`.

    Returns:
        (count, w_dim) unit vectors, strongest first, the entry of largest magnitude positive.

    Raises:
        ValueError: `count` is not within 1..w_dim.
    """
    _require(generator, count)
    return semantic_directions(generator)[1].T[:count]


@torch.no_grad()
def ganspace(generator: Generator, samples: int, count: int, rng: torch.Generator) -> Tensor:
    """Directions by principal components of w (GANSpace, Härkönen et al. 2020, section 2.2).

    Args:
        generator: gives the stylecodes.
        samples: latents drawn from `rng`; memory does not grow with them.
        count: directions.
        rng: on any device.

    Returns:
        (count, w_dim) unit vectors, largest variance first, the entry of largest magnitude
        positive.

    Raises:
        ValueError: `count` is not within 1..w_dim, or fewer than two samples.
    """
    _require(generator, count)
    if samples < 2:
        raise ValueError(f"samples={samples}: expected 2 or more")
    device, size = generator.w_mean.device, generator.config.w_dim
    total = torch.zeros(size, dtype=torch.double, device=device)
    products = torch.zeros(size, size, dtype=torch.double, device=device)
    for start in range(0, samples, CHUNK):
        z = sample_z(min(CHUNK, samples - start), generator.config.z_dim, rng)
        # about any fixed point; a near one keeps the digits
        w = (generator.mapping(z.to(device)) - generator.w_mean).double()
        total += w.sum(0)
        products += w.T @ w
    mean = total / samples
    covariance = products / samples - torch.outer(mean, mean)
    rows = torch.linalg.eigh(covariance).eigenvectors.T.flip(0)[:count]  # ascending by eigenvalue
    largest = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    return (rows * largest.sign()).to(generator.w_mean)


def _require(generator: Generator, count: int) -> None:
    size = generator.config.w_dim
    if not 1 <= count <= size:
        raise ValueError(f"count={count}: expected 1 to {size}, the size of w")
