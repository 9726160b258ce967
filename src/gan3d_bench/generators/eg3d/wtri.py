"""The space W_tri: stylecodes of EG3D with a last block for each plane.

The blocks up to the last one run once. The last one runs three times on what they give, each time
with stylecodes of its own, and of each result one plane is kept. Super-resolution has a code of its
own, too.

Source: Oh and Jo, "From 2D Portraits to 3D Realities", section 3.2. There is no official code; the
README of method wtri says what the paper leaves open. Parity: vector ``wtri_planes``, our reading
made of the released blocks.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import torch
from torch import Tensor

from gan3d_bench.generators.eg3d.generator import EG3DSynthesis, Noise
from gan3d_bench.generators.stylegan2.generator import Synthesis, noise_maps

PLANES = ("xy", "xz", "yz")
"""What the paper calls the planes, in the order of the backbone's channels."""


@dataclass(frozen=True)
class TriplaneCodes:
    """Stylecodes of B subjects in W_tri.

    Attributes:
        shared: (B, num_ws - 2, w_dim), rows of W+ of the backbone's blocks before the last one; of
            FFHQ's models 12 rows, the last of which only makes the image of block 128.
        planes: (B, 3, 3, w_dim), for each plane the rows of the last block: two convolutions and
            the image.
        upscaling: (B, 1, w_dim), of the super-resolution.
    """

    shared: Tensor
    planes: Tensor
    upscaling: Tensor

    @staticmethod
    def count(num_ws: int) -> int:
        """Codes of a subject, of a generator with `num_ws` rows of W+: 22 of FFHQ's models."""
        return num_ws - 2 + 9 + 1

    @classmethod
    def unflatten(cls, codes: Tensor) -> TriplaneCodes:
        """Of (B, count, w_dim): shared, xy, xz, yz, upscaling.

        Raises:
            ValueError: too few codes.
        """
        if codes.ndim != 3 or codes.shape[1] < cls.count(4):
            raise ValueError(
                f"codes: {tuple(codes.shape)}, expected (B, {cls.count(4)} or more, W)"
            )
        return cls(codes[:, :-10], codes[:, -10:-1].unflatten(1, (3, 3)), codes[:, -1:])

    @classmethod
    def of_stylecodes(cls, ws: Tensor) -> TriplaneCodes:
        """Of W+ (B, num_ws, w_dim): what makes the same planes and images."""
        last = ws[:, None, -3:].expand(-1, 3, -1, -1)
        return cls(ws[:, :-2], last, ws[:, -1:])

    def flatten(self) -> Tensor:
        """(B, count, w_dim), see `unflatten`."""
        return torch.cat((self.shared, self.planes.flatten(1, 2), self.upscaling), 1)

    def __getitem__(self, index: slice) -> TriplaneCodes:
        return TriplaneCodes(*(x[index] for x in astuple(self)))


def wtri_planes(synthesis: EG3DSynthesis, codes: TriplaneCodes, noise: Noise = "const") -> Tensor:
    """Planes (B, 3, C, H, W) of codes.

    Args:
        synthesis: of EG3D.
        codes: of its sizes.
        noise: of the backbone; the last block has the same in its three runs.

    Raises:
        ValueError: codes of another generator.
    """
    backbone: Synthesis = synthesis.backbone
    rows, w_dim = backbone.num_ws - 2, synthesis.config.backbone.w_dim
    batch = len(codes.shared)
    if codes.shared.shape[1:] != (rows, w_dim) or codes.planes.shape != (batch, 3, 3, w_dim):
        raise ValueError(
            f"codes: {tuple(codes.shared.shape)} and {tuple(codes.planes.shape)}, expected "
            f"(B, {rows}, {w_dim}) and (B, 3, 3, {w_dim})"
        )
    *early, last = backbone.stages
    maps = noise_maps(backbone.convs, batch, noise)
    state, used = backbone.begin(batch), 0
    for index, block in enumerate(early):
        own = maps[used : used + len(block.convs)]
        state = block.run(state, codes.shared[:, backbone.ws_of(index)].unbind(1), own)
        used += len(block.convs)
    made = [
        last.run(state, own.unbind(1), maps[used:]).image.unflatten(1, (3, -1))[:, plane]
        for plane, own in enumerate(codes.planes.unbind(1))
    ]
    return torch.stack(made, 1)
