"""IR-SE50: a residual network with squeeze and excitation, ArcFace's and that of face encoders.

Layers, names and order of the released code (models/encoders/helpers.py and model_irse.py of
yuval-alaluf/restyle-encoder, after TreB1eN/InsightFace_Pytorch); width and depths are arguments, so
that small ones can serve small images.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

DEPTHS = (3, 4, 14, 3)
"""Units of the four stages of IR-SE50."""
WIDTH = 64
"""Channels of its first stage; each further one has twice as many."""
REDUCTION = 16  # pixels of the picture a side of the last feature map's pixels
_SQUEEZE = 16  # channels that share one of the excitation's hidden channels


class SqueezeExcitation(nn.Module):
    """Scales each channel by what the means of all channels say (Hu et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // _SQUEEZE)
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        mean = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(mean))))


class IRSEUnit(nn.Module):
    """Two convolutions, the second with the stride, squeeze and excitation, and the input added.

    Nothing is activated after the sum. Where the number of channels stays, the shortcut takes every
    `stride`-th pixel; otherwise it is a 1x1 convolution and a normalisation.
    """

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if inputs != channels:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(inputs, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, channels, 3, 1, 1, bias=False),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            SqueezeExcitation(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, channels, H / stride, W / stride)."""
        return self.res_layer(x) + self.shortcut_layer(x)


class IRSETrunk(nn.Module):
    """The convolutional part: four stages, each of which halves the picture in its first unit.

    Args:
        in_channels: of the pictures.
        width: channels of the first stage.
        depths: units of the stages.
    """

    def __init__(
        self, in_channels: int = 3, width: int = WIDTH, depths: Sequence[int] = DEPTHS
    ) -> None:
        super().__init__()
        if len(depths) != 4 or min(depths) < 1 or width < 1:
            raise ValueError(f"width={width}, depths={depths}: expected 1 or more, four depths")
        self.input_layer = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.PReLU(width),
        )
        channels = [width * 2**stage for stage in range(4)]
        units, last = [], width
        for count, own in zip(depths, channels, strict=True):
            units += [
                IRSEUnit(last if i == 0 else own, own, 2 if i == 0 else 1) for i in range(count)
            ]
            last = own
        self.body = nn.Sequential(*units)
        self.channels = channels
        self.ends = [sum(depths[: stage + 1]) - 1 for stage in range(4)]

    def stages(self, images: Tensor) -> list[Tensor]:
        """Pictures (B, in_channels, H, W) -> outputs of the stages, 1/2 to 1/16 of their size."""
        x, found = self.input_layer(images), []
        for index, unit in enumerate(self.body):
            x = unit(x)
            if index in self.ends:
                found.append(x)
        return found


class IRSEEmbedding(IRSETrunk):
    """IR-SE50 as ArcFace's network: an aligned face -> unit embedding.

    Args:
        width, depths: of `IRSETrunk`.
        dimensions: D of the embedding.
        image_size: pixels a side of the faces, a multiple of 16.
    """

    def __init__(
        self,
        width: int = WIDTH,
        depths: Sequence[int] = DEPTHS,
        dimensions: int = 512,
        image_size: int = 112,
    ) -> None:
        super().__init__(3, width, depths)
        last = self.channels[-1]
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(last),
            nn.Dropout(0.6),
            nn.Flatten(),
            nn.Linear(last * (image_size // REDUCTION) ** 2, dimensions),
            nn.BatchNorm1d(dimensions),
        )

    def forward(self, faces: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D"]:
        """Return unit embeddings of aligned RGB faces in [-1, 1]."""
        return F.normalize(self.output_layer(self.stages(faces)[-1]), dim=1)


def identity_crop(images: Float[Tensor, "B 3 256 256"]) -> Float[Tensor, "B 3 112 112"]:
    """The part of FFHQ-aligned pictures that ReStyle's identity loss looks at, mean-pooled.

    Rows 35 to 222 and columns 32 to 219 of 256 pixels; pictures of other sizes are cut at the same
    shares of their sides.

    Source: criteria/id_loss.py of yuval-alaluf/restyle-encoder.
    """
    scale = images.shape[-1] / 256
    top, bottom, left, right = (round(x * scale) for x in (35, 223, 32, 220))
    return F.adaptive_avg_pool2d(images[:, :, top:bottom, left:right], (112, 112))
