"""Latents of any teacher: drawing them, statistics of w."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from gan3d_bench.generators.base import Generator, require_labels


def sample_z(n: int, z_dim: int, rng: torch.Generator) -> Tensor:
    """Draw `n` standard normal latents (n, z_dim) on the device of `rng`."""
    return torch.randn(n, z_dim, generator=rng, device=rng.device)


def numbered_z(split: str, numbers: Iterable[int], z_dim: int) -> Tensor:
    """The latents (N, z_dim) of a split's samples, each by its number alone.

    They make a data set of any teacher's own samples: sample i of a split is the same in every
    run and table, however many are drawn.
    """
    return numbered_normals(f"teacher/{split}", numbers, z_dim)


def numbered_normals(name: str, numbers: Iterable[int], count: int) -> Tensor:
    """Standard normals (N, count), each row by its number and the name of the whole alone."""
    rows = []
    for number in numbers:
        key = hashlib.sha256(f"{name}/{number}".encode()).digest()
        rng = torch.Generator().manual_seed(int.from_bytes(key[:8], "little") >> 1)
        rows.append(torch.randn(count, generator=rng))
    return torch.stack(rows) if rows else torch.empty(0, count)


def batches(size: int, z: Tensor, labels: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Give latents (N, z_dim), and labels (N, label_dim) if there are any, `size` at a time."""
    for start in range(0, len(z), size):
        part = slice(start, start + size)
        yield z[part], None if labels is None else labels[part]


def interpolated(w: Tensor, stops: int) -> Tensor:
    """Stylecodes (B - 1, stops, w_dim), evenly on the lines between consecutive ones (B, w_dim).

    The first and the last of each line are its ends.
    """
    share = torch.linspace(0, 1, stops, dtype=w.dtype, device=w.device)[:, None]
    return torch.lerp(w[:-1, None], w[1:, None], share)


@torch.no_grad()
def w_statistics(
    generator: Generator, rng: torch.Generator, n: int = 10000, labels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (w_dim,) of w over `n` latents.

    The standard deviation is per channel, without Bessel's correction; its norm is the scalar
    of StyleGAN2's projector.

    Args:
        generator: gives the stylecodes.
        rng: draws the latents.
        n: how many.
        labels: for a generator that takes labels, (n, label_dim), or (1, label_dim) for all.

    Raises:
        UserError: labels missing, of another shape, or not taken by this generator.
    """
    device = generator.w_mean.device
    z = sample_z(n, generator.z_dim, rng).to(device)
    if labels is not None:
        labels = labels.to(device)
        labels = labels.expand(n, -1) if labels.ndim == 2 and len(labels) == 1 else labels
    require_labels(labels, generator.label_dim, n)
    w = torch.cat([generator.stylecodes(*part) for part in batches(1024, z, labels)])
    return w.mean(0), w.std(0, correction=0)


def update_w_statistics(
    generator: Generator, rng: torch.Generator, n: int = 10000, labels: Tensor | None = None
) -> None:
    """Set the generator's `w_mean` and `w_std` from `n` latents; see `w_statistics`."""
    mean, std = w_statistics(generator, rng, n, labels)
    generator.w_mean.copy_(mean)
    generator.w_std.copy_(std)
