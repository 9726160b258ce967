"""Networks that tell who a face is, behind one contract: whole pictures in, unit embeddings out.

What a loss or a table compares identities with is chosen by a name (`build_identity`), so that real
faces can have ArcFace and synthetic heads a network that was trained on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gan3d_bench.assets.store import Weights, asset_path, find_weights
from gan3d_bench.errors import UserError, unknown_name
from gan3d_bench.faces import ffhq
from gan3d_bench.faces.alignment import TEMPLATE_SIZE, similarity, warp
from gan3d_bench.faces.alignment import template as arcface_template
from gan3d_bench.faces.arcface import ArcFace
from gan3d_bench.faces.identity_files import NETWORK, read_irse, read_network
from gan3d_bench.faces.irse import IRSEEmbedding, identity_crop
from gan3d_bench.faces.resnet_embedding import ResNetEmbedding, from_state
from gan3d_bench.files.checkpoints import read_checkpoint
from gan3d_bench.files.run_folder import Run
from gan3d_bench.rendering.images import resize

ARCFACE = "arcface-mbf"
HEADS = "idnet-heads-64"
NAMES = (ARCFACE, HEADS)
METHOD = "idnet"
_PREFIX = "network."  # of its weights in a checkpoint of that method
_EXPECTED = (
    "a run of method idnet, a folder of `gan3d-bench import --as idnet`, a .safetensors of it, an "
    "official .pth.tar, an ArcFace .onnx, or the .pth of IR-SE50"
)

Points = Sequence[tuple[float, float]]


class IdentityEmbedding(Protocol):
    """Frozen, in evaluation mode, in float32 also under autocast, left out of ``state_dict``.

    Attributes:
        name: what results state.
    """

    name: str

    def __call__(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D"]:
        """Return unit embeddings of whole pictures in [-1, 1]; differentiable in the pictures.

        Raises:
            ValueError: images are not (B, 3, S, S).
        """
        ...


class FrozenIdentity(nn.Module):
    """Makes a network an `IdentityEmbedding`.

    Its weights become buffers that no ``state_dict`` holds, no optimiser finds and no
    ``requires_grad_`` reaches: checkpoints of a run need not carry them.

    Args:
        network: pictures (B, 3, S, S) -> embeddings (B, D) of any length.
        name: what results state.
    """

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        self.name = name
        self.network = network
        for module in network.modules():
            own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
            for key, value in own:
                delattr(module, key)
                module.register_buffer(key, value.detach(), persistent=False)
        self.eval()

    def train(self, mode: bool = True) -> FrozenIdentity:
        """Stay in evaluation mode, whatever the method around it does."""
        return super().train(False)

    def forward(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D"]:
        """See `IdentityEmbedding`."""
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
            raise ValueError(f"images: expected (B, 3, S, S), got {tuple(images.shape)}")
        with torch.autocast(images.device.type, enabled=False):
            return F.normalize(self.network(images.float()), dim=1)


class FixedCrop(nn.Module):
    """Whole pictures of one framing -> ArcFace's 112 pixels, by one similarity for all of them.

    It puts the mean face's five points on ArcFace's template. A turned or shifted face is not
    followed, unlike by `aligner.FaceAligner`, but nothing has to be detected and the gradient
    reaches every picture.

    On 96 samples of MobileStyleGAN-FFHQ (psi 0.7, 256 pixels) the embedding has a cosine of 0.958
    +- 0.020 (least 0.895) with that of the same face aligned by its detected points; two faces have
    0.14 +- 0.10 either way.

    Args:
        network: aligned faces (B, 3, 112, 112) -> embeddings.
        points: (x, y) of the mean face in sides of the picture, in the order of
            `alignment.TEMPLATE`.
    """

    def __init__(self, network: nn.Module, points: Points = ffhq.TEMPLATE) -> None:
        super().__init__()
        self.network = network
        self.points = torch.tensor(points)

    def crop(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 3 112 112"]:
        """Return the aligned faces, black where they leave the picture."""
        # bilinear sampling skips pixels where the face is more than twice as large as wanted
        size = images.shape[-1]
        shrinking = 1 / torch.linalg.det(self._matrix(size)[0, :, :2]).sqrt().item()
        images = resize(images, size // max(1, int(shrinking)))
        matrix = self._matrix(images.shape[-1]).to(images)
        return warp(images, matrix.expand(len(images), -1, -1), TEMPLATE_SIZE)

    def _matrix(self, size: int) -> Float[Tensor, "1 2 3"]:
        points = self.points * size - 0.5
        return similarity(points[None], arcface_template()[None])

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) -> embeddings (B, D)."""
        return self.network(self.crop(images))


class CroppedIRSE(nn.Module):
    """FFHQ-aligned pictures as ReStyle's identity loss sees them, and IR-SE50."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) -> embeddings (B, D)."""
        return self.network(identity_crop(resize(images, 256)))


def build_identity(name: str | Path, points: Points = ffhq.TEMPLATE) -> FrozenIdentity:
    """Return the identity network that a config names, an `IdentityEmbedding`.

    Args:
        name: one of `NAMES`; or a path: the folder of a run of method idnet, a folder of
            ``gan3d-bench import --as idnet``, their ``.safetensors``, LiftedGAN's own
            ``lresnet_casia.pth.tar``, another ArcFace network's ``.onnx``, or
            ``model_ir_se50.pth``, which ReStyle is trained with.
        points: of the mean face in the pictures, see `FixedCrop`; ArcFace's networks only. The
            others take pictures as those that they were trained with.

    Raises:
        UserError: unknown name (with the nearest); an asset that is missing or damaged; a path
            that holds no such network.
    """
    text = str(name)
    try:
        path = Path(text).expanduser()
        there = path.exists()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a null byte, nobody's home
        raise UserError(f"no identity network {text[:60]!r}; expected {_EXPECTED}") from error
    if text == ARCFACE or path.suffix == ".onnx":
        arcface = ArcFace(name)
        return FrozenIdentity(FixedCrop(arcface, points), f"{arcface.label}, fixed crop")
    if text == HEADS:
        return FrozenIdentity(read_network(asset_path(HEADS) / NETWORK), HEADS)
    if not there:
        if len(path.parts) > 1 or path.suffix:
            raise UserError(f"no identity network '{text}'; expected {_EXPECTED}")
        raise unknown_name("identity network", text, NAMES)
    if path.suffix == ".pth":
        with torch.device("meta"):
            irse = IRSEEmbedding()
        irse.load_state_dict(read_irse(path), assign=True)
        return FrozenIdentity(CroppedIRSE(irse), f"IR-SE50 {find_weights(path).label}")
    if not path.is_dir():
        weights = find_weights(path)
        return FrozenIdentity(read_network(path), f"idnet {weights.label}")
    if (path / NETWORK).is_file():
        weights = find_weights(path / NETWORK)
        return FrozenIdentity(read_network(weights.path), _label(path, weights))
    if not (path / "config.yaml").is_file():
        raise UserError(f"no identity network in '{text}'; expected {_EXPECTED}")
    weights = find_weights(_checkpoint(path))
    return FrozenIdentity(_of_run(path), _label(path, weights))


def _checkpoint(run: Path) -> Path:
    checkpoint = Run.open(run).checkpoint
    if not checkpoint.is_file():
        raise UserError(f"{run}: no checkpoint in it yet; expected {_EXPECTED}")
    return checkpoint


def _of_run(path: Path) -> ResNetEmbedding:
    checkpoint = _checkpoint(path)
    state = read_checkpoint(checkpoint, METHOD)["state_dict"]
    own = {k.removeprefix(_PREFIX): v for k, v in state.items() if k.startswith(_PREFIX)}
    try:
        return from_state(own)
    except UserError as error:
        raise UserError(f"{checkpoint}: {error}") from error


def _label(folder: Path, weights: Weights) -> str:
    return f"idnet {folder.name} ({weights.sha256[:12]})"
