"""A mapping network that is a linear map at the start: nothing to undo before training."""

from __future__ import annotations

import math

import torch

from gan3d_bench.generators.stylegan2 import ops
from gan3d_bench.generators.stylegan2.generator import Mapping
from gan3d_bench.generators.stylegan2.layers import Linear


@torch.no_grad()
def make_linear(mapping: Mapping) -> list[Linear]:
    """Set the weights so that w is the first of what the network reads, normalised.

    In a pair of layers [a I, -a I] the two leaky ReLUs cancel: lrelu(-a lrelu(a x)) = -x for
    either sign of x when 0.2 a^2 = 1. (So w is minus that for an odd number of pairs.)

    Args:
        mapping: its layers even in number. It reads z and, after it, a label's embedding if any.

    Returns:
        the layers, first to last.
    """
    layers = [layer for layer in mapping.layers if isinstance(layer, Linear)]
    size = 1 / math.sqrt(ops.SLOPE)  # the slope is met once in each pair
    for index, layer in enumerate(layers):
        scale = (size if index % 2 == 0 else -size) / layer.weight_gain
        layer.weight.copy_(torch.eye(*layer.weight.shape) * scale)
        layer.bias.zero_()
    return layers
