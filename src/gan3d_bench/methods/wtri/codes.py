"""The spaces that an encoder may invert EG3D in: W_tri, and plain W+ (ReStyle on EG3D)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gan3d_bench.generators.eg3d.generator import EG3DSynthesis
from gan3d_bench.generators.eg3d.wtri import TriplaneCodes, wtri_planes
from gan3d_bench.methods.wtri.config import WTRI


@dataclass(frozen=True)
class CodeSpace:
    """Codes (B, count, w_dim) of a subject, of which the last one drives the super-resolution.

    Attributes:
        kind: ``wtri`` or ``w+``.
        num_ws: rows of W+ of the generator.
    """

    kind: str
    num_ws: int

    @property
    def count(self) -> int:
        """Codes of a subject: 22 or 14 of FFHQ's models."""
        return TriplaneCodes.count(self.num_ws) if self.kind == WTRI else self.num_ws

    def planes(self, synthesis: EG3DSynthesis, codes: Tensor) -> Tensor:
        """Planes (B, 3, C, H, W) of codes (B, count, w_dim); noise of the buffers."""
        if self.kind == WTRI:
            return wtri_planes(synthesis, TriplaneCodes.unflatten(codes))
        return synthesis.planes(codes)
