"""The UV generator: StyleGAN2's synthesis network with channels for two maps (section 3.3)."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.stylegan2 import Generator as StyleGAN2
from gan3d_bench.generators.stylegan2 import GeneratorConfig
from gan3d_bench.generators.stylegan2.generator import Synthesis, channel_table, with_channels
from gan3d_bench.methods.uv3dmm.textured_face import UVMaps

DISPLACEMENT_CHANNELS = {"vector": 3, "scalar": 1, "none": 0}


class UVGenerator(nn.Module):
    """Stylecodes to UV maps; the same stylecode in every layer, fixed noise.

    Args:
        synthesis: makes images of 3 channels and those of the displacement.
        largest: displacement along an axis at most, scene units.
    """

    def __init__(self, synthesis: Synthesis, largest: float) -> None:
        super().__init__()
        self.synthesis, self.largest = synthesis, largest

    @classmethod
    def of_teacher(
        cls, teacher: Generator, displacement: str, largest: float, channel_base: int
    ) -> UVGenerator:
        """Begin with the weights of a StyleGAN2; with random ones for another kind of teacher.

        Of a StyleGAN2, the diffuse map begins as the teacher's picture and the displacement as
        nothing.

        Args:
            teacher: left as it is.
            displacement: a key of `DISPLACEMENT_CHANNELS`.
            largest: see above.
            channel_base: of a network without weights, see `channel_table`.
        """
        channels = 3 + DISPLACEMENT_CHANNELS[displacement]
        if isinstance(teacher, StyleGAN2):
            synthesis = with_channels(teacher, channels).synthesis
            return cls(synthesis.train().requires_grad_(), largest)
        size = teacher.image_size
        config = GeneratorConfig(
            image_size=size,
            w_dim=teacher.w_dim,
            channels=channel_table(size, channel_base),
            image_channels=channels,
        )
        return cls(Synthesis(config), largest)

    @property
    def map_size(self) -> int:
        """Texels a side."""
        return self.synthesis.image_size

    def forward(self, w: Tensor) -> UVMaps:
        """The maps of stylecodes (B, w_dim)."""
        images = self.synthesis(w).float()
        diffuse, moved = bounded(images[:, :3]), images[:, 3:]
        return UVMaps(diffuse, self.largest * torch.tanh(moved) if moved.shape[1] else None)


def bounded(x: Tensor) -> Tensor:
    """Colours within [-1, 1], from any numbers; those beyond have the gradients that lead back.

    Clamping alone gives them none: texels that an untrained network puts beyond would stay there.
    """
    return cast(Tensor, _Bounded.apply(x))


class _Bounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(-1, 1)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Any:
        (x,), (to,) = ctx.saved_tensors, grad
        # a step down the gradient takes from x what has its sign
        away = ((x > 1) & (to < 0)) | ((x < -1) & (to > 0))
        return to.masked_fill(away, 0)
