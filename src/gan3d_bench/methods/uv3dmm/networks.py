"""The networks on stylecodes: F3D (section 3.2.1) and F_yaw (section 3.2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

HIDDEN = (9 * 512, 6 * 512, 3 * 512)
"""Units of F3D's hidden layers, as published."""


def hidden_layers(width: float) -> tuple[int, ...]:
    """The published hidden layers times `width`, at least 8 units each."""
    return tuple(max(8, round(width * units)) for units in HIDDEN)


class StyleToCoefficients(nn.Module):
    """F3D: stylecode -> 3DMM coefficients, two perceptrons whose outputs are joined.

    The paper does not say which perceptron gives what. Here the one with tanh gives the shape
    (identity and expression), the one with ELU rotation, light and translation.

    Args:
        w_dim: numbers of a stylecode.
        shape: identity and expression coefficients together.
        rest: rotation, light and translation together.
        hidden: units of the hidden layers of both.

    Attributes:
        mean, deviation: (shape + rest,) of the coefficients, by which the outputs are scaled; 0
            and 1 as published.
        w_mean, w_deviation: (w_dim,) and (), the same of the stylecodes.
    """

    mean: Tensor
    deviation: Tensor
    w_mean: Tensor
    w_deviation: Tensor

    def __init__(self, w_dim: int, shape: int, rest: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.shape = _perceptron((w_dim, *hidden, shape), nn.Tanh)
        self.rest = _perceptron((w_dim, *hidden, rest), nn.ELU)
        self.register_buffer("mean", torch.zeros(shape + rest))
        self.register_buffer("deviation", torch.ones(shape + rest))
        self.register_buffer("w_mean", torch.zeros(w_dim))
        self.register_buffer("w_deviation", torch.ones(()))

    def standardised(self, w: Tensor) -> Tensor:
        """Stylecodes (B, w_dim) to coefficients (B, shape + rest) in deviations from the mean."""
        x = (w - self.w_mean) / self.w_deviation
        return torch.cat((self.shape(x), self.rest(x)), 1).float()

    def forward(self, w: Tensor) -> Tensor:
        """Stylecodes (B, w_dim) to coefficients (B, shape + rest); see `Coefficients.pack`."""
        return self.standardised(w) * self.deviation + self.mean


class YawStep(nn.Module):
    """F_yaw: how far a stylecode goes along the yaw direction to show a yaw (Eq. 2).

    The paper gives no architecture: w_dim + 1, 512, 512, 1, ELU.

    Args:
        w_dim: numbers of a stylecode.
        hidden: units of the two hidden layers.

    Attributes:
        w_mean: (w_dim,), w_deviation: (): what stylecodes are standardised by.
        unit: () step that an output of 1 stands for.
    """

    w_mean: Tensor
    w_deviation: Tensor
    unit: Tensor

    def __init__(self, w_dim: int, hidden: int = 512) -> None:
        super().__init__()
        self.layers = _perceptron((w_dim + 1, hidden, hidden, 1), nn.ELU)
        self.register_buffer("w_mean", torch.zeros(w_dim))
        self.register_buffer("w_deviation", torch.ones(()))
        self.register_buffer("unit", torch.ones(()))

    def forward(self, w: Tensor, yaw: Tensor) -> Tensor:
        """Stylecodes (B, w_dim) and yaws (B,) in radians to steps (B,)."""
        x = (w - self.w_mean) / self.w_deviation
        return self.unit * self.layers(torch.cat((x, yaw[:, None]), 1)).squeeze(1).float()


def _perceptron(sizes: Sequence[int], activation: type[nn.Module]) -> nn.Sequential:
    """Fully connected layers with an activation between them; the last is linear."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])
