"""The identity network of LiftedGAN: a residual network of 18 layers, a picture -> unit embedding.

Layers, names and order of the released ``lresnet_casia`` (LiftedGAN, models/face_embedding.py);
width and picture size are arguments, so that a small one can serve the synthetic heads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gan3d_bench.errors import UserError
from gan3d_bench.rendering.images import resize

REDUCTION = 16  # pixels of the picture a side of the last feature map's pixels
MAX_FEATURES = 2**21  # of the last layer's input; 64 times the released network's
DROPPED = "num_batches_tracked"  # counters that evaluation does not read


class ResidualBlock(nn.Module):
    """Normalise, convolve, normalise, PReLU, convolve (with the stride), normalise, add the input.

    Nothing is activated after the sum. Where the shape changes, the shortcut is a 1x1 convolution
    and a normalisation.
    """

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.prelu = nn.PReLU(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1:
            convolution = nn.Conv2d(inputs, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, channels, H / stride, W / stride)."""
        y = self.prelu(self.bn1(self.conv1(self.bn0(x))))
        y = self.bn2(self.conv2(y))
        return y + (x if self.downsample is None else self.downsample(x))


class ResNetEmbedding(nn.Module):
    """18 layers: a convolution, four stages of two blocks, a fully connected layer.

    Args:
        image_size: pixels a side that it works at, a multiple of 16; other pictures are resized
            (256 to 128: the mean of 2x2 pixels, as released).
        width: channels of the first stage, doubled at each of the other three.
        dimensions: D of the embedding.
    """

    def __init__(self, image_size: int = 128, width: int = 64, dimensions: int = 512) -> None:
        super().__init__()
        if image_size < REDUCTION or image_size % REDUCTION:
            raise ValueError(f"image_size={image_size}: expected a multiple of {REDUCTION}")
        self.image_size, self.width, self.dimensions = image_size, width, dimensions
        channels = [width, width, 2 * width, 4 * width, 8 * width]
        self.conv1 = nn.Conv2d(3, width, 4, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act_layer = nn.PReLU(width)
        stages = [
            nn.Sequential(
                ResidualBlock(channels[i], channels[i + 1], 1 if i == 0 else 2),
                ResidualBlock(channels[i + 1], channels[i + 1], 1),
            )
            for i in range(4)
        ]
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.bn4 = nn.BatchNorm2d(channels[-1])
        self.fc5 = nn.Linear(self.num_features, dimensions)
        self.bn5 = nn.BatchNorm1d(dimensions)

    @property
    def num_features(self) -> int:
        """Inputs of the fully connected layer."""
        return 8 * self.width * (self.image_size // REDUCTION) ** 2

    def forward(
        self, images: Float[Tensor, "B 3 S S"], keep: Float[Tensor, "B F"] | None = None
    ) -> Float[Tensor, "B D"]:
        """Return unit embeddings of pictures in [-1, 1]; not cropped, not clamped.

        Args:
            images: square, of any size.
            keep: factors on the `num_features` inputs of the last layer: dropout, drawn by the
                caller so that it can repeat it.

        Raises:
            ValueError: images are not (B, 3, S, S).
        """
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
            raise ValueError(f"images: expected (B, 3, S, S), got {tuple(images.shape)}")
        x = self.act_layer(self.bn1(self.conv1(resize(images, self.image_size))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        x = self.bn4(x).flatten(1)
        if keep is not None:
            x = x * keep
        return F.normalize(self.bn5(self.fc5(x)), dim=1)


def dropout_factors(
    images: int, features: int, rate: float, generator: torch.Generator
) -> Float[Tensor, "B F"]:
    """Draw `keep` of `ResNetEmbedding`: 0 with probability `rate`, else 1 / (1 - rate)."""
    kept = torch.rand(images, features, generator=generator) >= rate
    return kept / (1 - rate)


def from_state(state: Mapping[str, Tensor]) -> ResNetEmbedding:
    """Build the network that weights belong to, from their shapes, with them in evaluation mode.

    Args:
        state: the released names; values of any floating type, read as float32.

    Raises:
        UserError: names or shapes are not this network's (says which first). The message leaves
            it to the caller to name the file.
    """
    size, width, dimensions = _shape(state)
    with torch.device("meta"):
        network = ResNetEmbedding(size, width, dimensions)
    expected = {key: value for key, value in network.state_dict().items() if DROPPED not in key}
    given = {key: value for key, value in state.items() if DROPPED not in key}
    for key in expected:
        if key not in given:
            raise UserError(f"no '{key}' in it; expected the names of ResNetEmbedding")
        if given[key].shape != expected[key].shape:
            raise UserError(
                f"'{key}' has shape {tuple(given[key].shape)}, "
                f"expected {tuple(expected[key].shape)}"
            )
        if not given[key].isfinite().all():
            raise UserError(f"'{key}' is not finite everywhere")
    extra = sorted(set(given) - set(expected))
    if extra:
        raise UserError(f"unknown weights in it: {len(extra)}, first {extra[0][:60]!r}")
    network = ResNetEmbedding(size, width, dimensions)
    # the counters keep their zeros: nothing reads them
    network.load_state_dict({k: v.float() for k, v in given.items()}, strict=False)
    return network.eval()


def _shape(state: Mapping[str, Tensor]) -> tuple[int, int, int]:
    """Return picture size, width and dimensions that weights were made for."""
    first, last = state.get("conv1.weight"), state.get("fc5.weight")
    if first is None or last is None or first.ndim != 4 or last.ndim != 2:
        raise UserError("no 'conv1.weight' and 'fc5.weight' of an identity network in it")
    width, (dimensions, features) = first.shape[0], last.shape
    side = math.isqrt(features // (8 * width)) if width else 0
    if not side or 8 * width * side**2 != features or features > MAX_FEATURES:
        raise UserError(
            f"'fc5.weight' has {features} columns, expected 8 * {width} times a square number"
        )
    return REDUCTION * side, width, dimensions
