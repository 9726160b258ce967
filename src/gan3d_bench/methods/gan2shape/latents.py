"""Stylecodes of instances, and offsets of them that stay valid (paper, A.2.2, eq. 6 and 7).

An offset is ``dw = F(E(I')) - F(0)``, of the mapping network F or its end. F counts as n + 1
modules, the latent normalisation and n layers. F1, of depth d, holds the last d + 1 of them, F2
the others: d = 2 is the last THREE layers and d = n the whole network, normalisation included
(released gan2shape/model.py; the paper says two layers).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan3d_bench.generators.stylegan2.generator import Mapping, normalize_latent


def split_mapping(mapping: Mapping, depth: int) -> tuple[list[nn.Module | None], int]:
    """Return F1's modules (None stands for the normalisation) and the number of F2's.

    Raises:
        ValueError: `depth` is not in 0..number of layers.
    """
    modules: list[nn.Module | None] = [None, *mapping.layers]
    if not 0 <= depth < len(modules):
        raise ValueError(f"offset depth {depth}: expected 0..{len(modules) - 1}")
    first = len(modules) - 1 - depth
    return modules[first:], first


def run_modules(modules: list[nn.Module | None], x: Tensor) -> Tensor:
    """Apply modules in order, in float32 (None is the latent normalisation)."""
    with torch.autocast(x.device.type, enabled=False):
        x = x.float()
        for module in modules:
            x = normalize_latent(x) if module is None else module(x)
        return x


class Latents(nn.Module):
    """Stylecodes of N instances, as one parameter `w` (N, w_dim)."""

    def __init__(self, n: int, w_dim: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(n, w_dim))


class LatentOffset:
    """Codes of E to offsets of the stylecode.

    Args:
        mapping: the teacher's mapping network.
        depth: depth d of F1; None takes codes as offsets ("without regularisation", Table 1).
    """

    def __init__(self, mapping: Mapping, depth: int | None) -> None:
        self.depth = depth
        self.mapping = mapping

    def __call__(self, code: Tensor, reference: Tensor | None = None) -> Tensor:
        """Offsets of codes.

        Args:
            code: (B, n) E of the pseudo samples.
            reference: (B or 1, n) E of the generated target, subtracted for relative offsets.

        Returns:
            (B, w_dim) ``F1(h + F2(0)) - F(0)``.
        """
        h = code.float() if reference is None else code.float() - reference.float()
        if self.depth is None:
            return h
        first, skipped = split_mapping(self.mapping, self.depth)
        before: list[nn.Module | None] = [None, *self.mapping.layers][:skipped]
        zero = torch.zeros_like(h[:1])
        centre = run_modules(before, zero)
        return run_modules(first, h + centre) - run_modules(first, centre)


def offset_penalty(offset: Tensor) -> Tensor:
    """Mean square of the offsets after F1 (the paper writes the squared norm of E's code)."""
    return offset.square().mean()
