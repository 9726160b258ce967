"""Features of the 2015-12-05 Inception network, for FID and KID.

The network is the asset ``inception-fid`` (docs/facts/metric_networks.md): the TensorFlow
weights that "FID" means in the literature, 2048-d pool features. Images are quantised to 8 bits and
resized to 299 pixels as float; *how* they are resized moves FID by some tenths, so every result
carries its :attr:`InceptionFeatures.variant`. The default is the original's, TensorFlow 1 bilinear.
"""

from __future__ import annotations

import warnings
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gan3d_bench.assets.store import asset_path
from gan3d_bench.errors import unknown_name
from gan3d_bench.rendering.images import to_uint8

Resize = Literal["tf1", "half-pixel", "antialias"]
INPUT_SIZE = 299
NUM_FEATURES = 2048


class InceptionFeatures(nn.Module):
    """Images -> 2048-d Inception features, frozen, in float32.

    Args:
        resize: ``tf1`` (source coordinate i*in/out, the original), ``half-pixel`` (pytorch-fid) or
            ``antialias`` (torchmetrics' default).
        network: a module from (B, 3, 299, 299) in [-1, 1) to (B, 2048); None opens the asset.

    Raises:
        UserError: unknown `resize`, or the asset is missing or damaged.
    """

    num_features = NUM_FEATURES

    def __init__(self, resize: Resize = "tf1", network: nn.Module | None = None) -> None:
        super().__init__()
        if resize not in get_args(Resize):
            raise unknown_name("FID resize variant", resize, get_args(Resize))
        self.resize = resize
        self.network = (network or _open_asset()).eval()
        for parameter in self.network.parameters():  # ScriptModules have no requires_grad_
            parameter.requires_grad = False

    @property
    def variant(self) -> str:
        """What a result made with these features has to state."""
        return f"Inception 2015-12-05, 2048-d, 8-bit, {self.resize} bilinear to {INPUT_SIZE}"

    def train(self, mode: bool = True) -> InceptionFeatures:
        return super().train(False)  # the network is a measuring device

    @torch.no_grad()
    def forward(self, images: Tensor) -> Float[Tensor, "B 2048"]:
        """Return the features of images (B, 3, H, W), float in [-1, 1] or uint8.

        Raises:
            ValueError: another shape or type, or values that are not finite.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images: expected (B, 3, H, W), got {tuple(images.shape)}")
        with (
            torch.autocast(images.device.type, enabled=False),
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
        ):
            x = self._resize(to_uint8(images).float())
            # Another size gives wrong features without an error.
            assert x.shape[-2:] == (INPUT_SIZE, INPUT_SIZE)
            features = self.network((x - 128) / 128)
        return features.float()

    def _resize(self, x: Tensor) -> Tensor:
        size = (INPUT_SIZE, INPUT_SIZE)
        if x.shape[-2:] == size:
            return x
        if self.resize == "tf1":
            return _tf1_resize(_tf1_resize(x, -1), -2)
        return F.interpolate(
            x, size, mode="bilinear", align_corners=False, antialias=self.resize == "antialias"
        )


def _open_asset() -> nn.Module:
    path = asset_path("inception-fid")
    with warnings.catch_warnings():  # TorchScript is deprecated, but supported by our torch range
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(path, map_location="cpu")


def _tf1_resize(x: Tensor, dim: int) -> Tensor:
    """Resize one axis as TensorFlow 1 did: source coordinate i*in/out, clamped at the edge."""
    size = x.shape[dim]
    source = torch.arange(INPUT_SIZE, device=x.device) * (size / INPUT_SIZE)
    low = source.long()
    part = (source - low).view(-1, *[1] * (-dim - 1))
    high = (low + 1).clamp_max(size - 1)
    return torch.lerp(x.index_select(dim, low), x.index_select(dim, high), part)


class StoredFeatures(nn.Module):
    """Takes the place of the network in a metric that is given features instead of images."""

    def __init__(self, num_features: int = NUM_FEATURES) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features
