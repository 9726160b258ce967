"""W*, the styles that a StyleGAN2's layers read, and a synthesis network that is given them.

Section 3.1: affine maps turn w into w* = (w*_1 ... w*_16), one for each of W+'s rows; the first
four are the view code, the others the content code. The layers that make the image, of which the
paper does not speak, read styles as well: they belong to the row of W+ that they are fed from.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from gan3d_bench.errors import UserError
from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.stylegan2 import ops
from gan3d_bench.generators.stylegan2.generator import Noise, Synthesis
from gan3d_bench.generators.stylegan2.layers import StyledConv, ToRGB
from gan3d_bench.rendering.images import central_rows

VIEW_ROWS = 4
"""Rows of W+ whose styles are the view code."""


def style_layers(synthesis: Synthesis) -> Iterator[tuple[StyledConv | ToRGB, int]]:
    """The layers that read a style in order, with the row of W+ that they are fed from."""
    for index, block in enumerate(synthesis.stages):
        first = synthesis.ws_of(index).start
        for place, layer in enumerate((*block.convs, block.to_rgb)):
            yield layer, first + place


class CentralRows(nn.Module):
    """A synthesis network whose pictures are cut to their middle rows.

    The official car model makes 512 x 512 pictures whose content is 512 x 384 (appendix B), black
    rows above and below: those are cut off where pictures are made, before anything sees them.

    Args:
        synthesis: makes square pictures.
        rows: that are left, of an even number more.
    """

    def __init__(self, synthesis: nn.Module, rows: int) -> None:
        super().__init__()
        self.whole, self.image_rows = synthesis, rows
        self.num_ws, self.image_size = synthesis.num_ws, synthesis.image_size

    def forward(self, w: Tensor, noise: Noise = "const") -> Tensor:
        """Pictures (B, 3, rows, S), see `Synthesis.forward`."""
        return central_rows(self.whole(w, noise), self.image_rows)


def synthesis_of(generator: Generator, key: str) -> Synthesis:
    """The synthesis network of a StyleGAN2 with more rows of W+ than those of the view; whole.

    Raises:
        UserError: another kind of generator, or a smaller one; `key` says where it is from.
    """
    synthesis = generator.synthesis
    synthesis = synthesis.whole if isinstance(synthesis, CentralRows) else synthesis
    if not isinstance(synthesis, Synthesis):
        raise UserError(f"{key}: not a StyleGAN2; expected one, whose styles are known")
    if synthesis.num_ws <= VIEW_ROWS:
        raise UserError(
            f"{key}: {synthesis.num_ws} style inputs; expected more than the {VIEW_ROWS} of the "
            "view (images of 16 pixels or more)"
        )
    return synthesis


def style_codes(synthesis: Synthesis, w: Tensor) -> Tensor:
    """Styles w* (B, D) of stylecodes (B, w_dim) or (B, num_ws, w_dim), in order of the layers.

    The first `StyleSynthesis.view_size` of them are the view code.
    """
    rows = [w] * synthesis.num_ws if w.ndim == 2 else w.unbind(1)
    with ops.full_precision(w.device):  # as the layers do
        styles = [layer.affine(rows[row].float()) for layer, row in style_layers(synthesis)]
    return torch.cat(styles, 1)


class StyleSynthesis(nn.Module):
    """A copy of a synthesis network, without the affine maps: w* -> image.

    Noise is that of the network's buffers.

    Args:
        synthesis: copied.
        rows: middle rows of its pictures that are left; 0 for all.

    Attributes:
        widths: of the layers' styles.
        view_size: numbers of the view code, the first ones.
        content_size: of the content code, the others.
    """

    def __init__(self, synthesis: Synthesis, rows: int = 0) -> None:
        super().__init__()
        self.network = copy.deepcopy(synthesis)
        self.rows = rows or synthesis.image_size
        self.widths, self.view_size = [], 0
        for layer, row in style_layers(self.network):
            width = len(layer.affine.weight)
            layer.affine = nn.Identity()  # type: ignore[assignment]
            self.widths.append(width)
            self.view_size += width if row < VIEW_ROWS else 0
        self.content_size = sum(self.widths) - self.view_size

    def forward(self, codes: Tensor) -> Tensor:
        """Images (B, 3, rows, S), nominally in [-1, 1], of styles (B, D)."""
        styles = iter(codes.split(self.widths, 1))
        state = self.network.begin(len(codes))
        for block in self.network.stages:
            convs = block.convs
            given = [next(styles) for _ in range(len(convs) + 1)]
            state = block.run(state, given, [conv.noise for conv in convs])
        return central_rows(state.image, self.rows)
