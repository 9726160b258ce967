"""Where the object is in a picture, and how many there are (section 3.1: Mask R-CNN, filters)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import scipy.ndimage
import torch
from torch import Tensor, nn
from torchvision.models.detection import maskrcnn_resnet50_fpn

from gan3d_bench.assets.manifest import sha256_of
from gan3d_bench.errors import UserError, named
from gan3d_bench.files.weights import is_state, read_torch, require_weights, shapes_of
from gan3d_bench.methods.stylegan_r.config import BACKGROUND, CLASSES, DetectorConfig

LEAST_INSTANCE = 0.02
"""Share of a picture that a region must have to count as an object of its own."""
_DEVIATION = 0.1  # of colours in [-1, 1] from a smooth background that is not one of its own
_REFITS = 4
_RING = 0.06  # of height and width, taken for background at the start
COCO = {"car": 3, "bird": 16, "cat": 17, "dog": 18, "horse": 19}
"""Numbers of categories in the weights of torchvision's Mask R-CNN."""
EXPECTED = "the weights of torchvision's maskrcnn_resnet50_fpn (a .pth file)"


@dataclass(frozen=True)
class Masks:
    """What is found in B pictures.

    Attributes:
        mask: (B, 1, H, W) in [0, 1], of the largest object; all 0 where there is none.
        instances: (B,) int64, objects of the category.
    """

    mask: Tensor
    instances: Tensor


class MaskSource(Protocol):
    """Finds the objects of pictures; `name` is what results call it, `fingerprint` pins it."""

    name: str
    fingerprint: str

    def __call__(self, images: Tensor) -> Masks:
        """Of images (B, 3, H, W) in [-1, 1]."""
        ...


def open_masks(masks: str, detector: DetectorConfig) -> MaskSource:
    """The source of masks for pictures of which nothing is known.

    Args:
        masks: the key; truth is only known of a teacher's own pictures (`Subjects.render`),
            others are then cut out by their background, as for ``background``.
        detector: of a file.

    Raises:
        UserError: the file is missing, damaged or holds something else.
    """
    if masks in (*CLASSES, BACKGROUND):
        return SmoothBackground()
    with named(f"masks={masks}"):
        return MaskRCNN(Path(masks), detector)


class SmoothBackground:
    """Objects before a background whose colours change as slowly as a parabola.

    A parabola of each colour is fitted to the border and, again and again, to all pixels near it;
    what it does not explain is the object. Holes are filled. For rendered objects and teachers of
    these: photographs have no such background.
    """

    name = "objects before a smooth background"
    fingerprint = "smooth-background 1"

    def __call__(self, images: Tensor) -> Masks:
        found = [_largest(_unexplained(image)) for image in images.detach().float().cpu().numpy()]
        mask = torch.from_numpy(np.stack([mask for mask, _ in found])).to(images)
        return Masks(mask[:, None], torch.tensor([count for _, count in found]))


def _unexplained(image: np.ndarray) -> np.ndarray:
    """Pixels (H, W) of (3, H, W) that are not of a parabolic background."""
    _, height, width = image.shape
    x, y = np.tile(np.linspace(-1, 1, width), height), np.repeat(np.linspace(-1, 1, height), width)
    basis = np.stack((np.ones_like(x), x, y, x * x, y * y, x * y), 1)
    colours = image.reshape(3, -1).T.astype(np.float64)
    fitted = np.maximum(np.abs(x), np.abs(y)) > 1 - 2 * _RING
    far = ~fitted
    for _ in range(_REFITS):
        weights = np.linalg.lstsq(basis[fitted], colours[fitted], rcond=None)[0]
        far = np.abs(colours - basis @ weights).max(1) > _DEVIATION
        if (~far).sum() <= basis.shape[1]:  # nothing but object
            break
        fitted = ~far
    return far.reshape(height, width)


def _largest(inside: np.ndarray) -> tuple[np.ndarray, int]:
    """The largest region of (H, W), and how many there are that count."""
    filled = scipy.ndimage.binary_fill_holes(inside)
    regions, count = cast("tuple[np.ndarray, int]", scipy.ndimage.label(filled))
    areas = np.bincount(regions.ravel(), minlength=count + 1)[1:]
    large = int((areas >= LEAST_INSTANCE * inside.size).sum())
    if not large:
        return np.zeros(inside.shape, np.float32), 0
    return (regions == areas.argmax() + 1).astype(np.float32), large


class MaskRCNN:
    """Torchvision's Mask R-CNN (He et al. 2017), from a file of weights; masks are 0 or 1.

    Args:
        path: of `EXPECTED`.
        config: category and least score.

    Raises:
        UserError: the file is missing, damaged or holds something else.
    """

    def __init__(self, path: Path, config: DetectorConfig) -> None:
        self.network = _network()
        self.network.load_state_dict(_read(path), assign=True)
        self.network.eval().requires_grad_(False)
        self.config = config
        self.name = f"Mask R-CNN, {config.category}"
        self.fingerprint = f"{sha256_of(path)} {config} binary"

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Masks:
        self.network.to(images.device)
        found: list[dict[str, Any]] = self.network(list((images.float() + 1) / 2))
        masks, counts = [], []
        for one in found:
            wanted = one["labels"] == COCO[self.config.category]
            kept = one["masks"][wanted & (one["scores"] >= self.config.score)]
            counts.append(len(kept))
            empty = images.new_zeros(1, *images.shape[2:])
            # binarised at one half once resized (He et al. 2017, section 3.1)
            inside = (kept > 0.5).to(images)
            masks.append(inside[inside.sum((1, 2, 3)).argmax()] if len(kept) else empty)
        return Masks(torch.stack(masks), torch.tensor(counts))


def _network() -> nn.Module:
    return maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)


def _read(path: Path) -> dict[str, Tensor]:
    state = read_torch(path, EXPECTED)
    if not is_state(state) or not state:
        raise UserError(f"no weights in it; expected {EXPECTED}")
    with torch.device("meta"):
        require_weights(state, shapes_of(_network()))
    return state


def fill(images: Tensor, mask: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) with colours from around the object in its place.

    Averages of halved pictures, over what is known alone, fill what the finer ones lack
    (pull-push, Gortler et al. 1996).

    Args:
        images: the pictures.
        mask: (B, 1, H, W) in [0, 1], the object.
    """
    known = (mask < 0.05).to(images)
    levels = [(images * known, known)]
    while max(levels[-1][1].shape[-2:]) > 1:
        levels.append((_halved(levels[-1][0]), _halved(levels[-1][1])))
    filled = levels[-1][0] / levels[-1][1].clamp(min=1e-6)
    for colours, weight in reversed(levels[:-1]):
        coarse = nn.functional.interpolate(
            filled, weight.shape[-2:], mode="bilinear", align_corners=False
        )
        share = weight.clamp(max=1)
        filled = torch.where(share > 0, colours / share.clamp(min=1e-6), coarse)
    return torch.where(known > 0, images, filled)


def _halved(maps: Tensor) -> Tensor:
    """Maps (B, C, H, W) at half the size, rounded up: means of what is there of 2 x 2 pixels."""
    kernel = [min(2, size) for size in maps.shape[-2:]]
    return nn.functional.avg_pool2d(maps, kernel, ceil_mode=True)
