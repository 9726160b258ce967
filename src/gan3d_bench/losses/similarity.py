"""Similarity loss: how far two pictures are in the eyes of a self-supervised network.

The features are those of MoCo v2 (Chen et al. 2020), a ResNet-50 that was trained on ImageNet
without labels. No package carries its weights: their file has to be given.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import resnet50

from gan3d_bench.assets.store import find_weights
from gan3d_bench.errors import UserError
from gan3d_bench.faces.embeddings import FrozenIdentity
from gan3d_bench.files.weights import is_state, read_torch, require_weights, shapes_of

IMAGE_SIZE = 224
EXPECTED = (
    "moco_v2_800ep_pretrain.pth.tar of facebookresearch/moco, or the weights of a ResNet-50 under "
    "torchvision's names"
)
_QUERY = "module.encoder_q."  # the trained network; the checkpoint also has its moving average


class SimilarityLoss(nn.Module):
    """``1 - cos`` between the features of picture pairs, 0 (alike) to 2.

    Differentiable in both pictures. The network is frozen, in evaluation mode and left out of
    ``state_dict``. Pictures are resized by the nearest pixel and not normalised as ImageNet's are,
    both as released.

    Args:
        weights: path of the network's file, see `EXPECTED`.

    Raises:
        UserError: the file is missing, damaged or holds something else.

    Source: criteria/moco_loss.py of yuval-alaluf/restyle-encoder, after e4e (Tov et al. 2021).
    """

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        with torch.device("meta"):
            network = _trunk()
        network.load_state_dict(read_moco(Path(weights)), assign=True)
        self.name = f"similarity (MoCo {find_weights(weights).label})"
        self.features = FrozenIdentity(nn.Sequential(_Resize(), network), self.name)

    def forward(
        self, x: Float[Tensor, "B 3 H W"], y: Float[Tensor, "B 3 H W"]
    ) -> Float[Tensor, " B"]:
        """Return the loss of each pair of pictures in [-1, 1]; of every size, square."""
        return 1 - (self.features(x) * self.features(y)).sum(1)


def read_moco(path: Path) -> dict[str, Tensor]:
    """Return the weights of the ResNet-50 in a file, under torchvision's names, without `fc`.

    Raises:
        UserError: missing, damaged, hostile or foreign file.
    """
    try:
        content = read_torch(path, EXPECTED)
        if isinstance(content, dict) and "state_dict" in content:
            content = content["state_dict"]
        if not is_state(content) or not content:
            raise UserError(f"no weights in it; expected {EXPECTED}")
        if any(key.startswith(_QUERY) for key in content):
            content = {
                key.removeprefix(_QUERY): value
                for key, value in content.items()
                if key.startswith(_QUERY)
            }
        state = {
            key: value.float()
            for key, value in content.items()
            if not key.startswith("fc.") and not key.endswith("num_batches_tracked")
        }
        with torch.device("meta"):
            shapes = shapes_of(_trunk())
        wanted = {k: v for k, v in shapes.items() if not k.endswith("num_batches_tracked")}
        require_weights(state, wanted)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    counters = {k: torch.zeros((), dtype=torch.long) for k in shapes if k not in wanted}
    return {**state, **counters}


class _Resize(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return F.interpolate(images, (IMAGE_SIZE, IMAGE_SIZE), mode="nearest")


def _trunk() -> nn.Module:
    network = resnet50(weights=None)
    network.fc = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    return network
