"""The fits of a run as buffers: a checkpoint needs neither pictures nor landmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

import torch
from torch import Tensor, nn

from gan3d_bench.errors import UserError
from gan3d_bench.faces.face_model import FaceModel
from gan3d_bench.faces.landmark_fit import POSE
from gan3d_bench.faces.morphable_fit import FaceFit
from gan3d_bench.methods.mm_fit.truth import ERRORS
from gan3d_bench.rendering.images import resize

THUMBNAIL = 16
SAME_IMAGE = 2 / 255  # mean difference below which thumbnails are of one image


class FittedFaces(nn.Module):
    """N fits under the names of `FaceFit`'s fields, and what goes with them.

    Args:
        count: N.
        space: of the model that is fitted.
        truth: whether errors against the truth are known, see `HeadTruth.errors`.
        recognised: whether pictures must be told by thumbnails.
    """

    found: Tensor  # (N,) bool; False too where nothing is fitted yet

    def __init__(self, count: int, space: FaceModel, truth: bool, recognised: bool) -> None:
        super().__init__()
        self.shapes: dict[str, tuple[int, ...]] = {
            **dict(found=(), pose=(POSE,), shape=(space.num_shape,), colour=(space.num_colour,)),
            **dict(light=(3, 9), landmark_error=(), colour_error=()),
            **(dict.fromkeys(ERRORS, ()) if truth else {}),
            **({"thumbnail": (3, THUMBNAIL, THUMBNAIL)} if recognised else {}),
        }
        self.resize(count)

    def resize(self, count: int) -> None:
        """Make room for so many; what was there is lost."""
        for name, shape in self.shapes.items():
            dtype = torch.bool if name == "found" else torch.float32
            self.register_buffer(name, torch.zeros(count, *shape, dtype=dtype))

    def __len__(self) -> int:
        return len(self.found)

    def tensors(self) -> dict[str, Tensor]:
        """All buffers by name."""
        return {name: getattr(self, name) for name in self.shapes}

    def put(self, items: range, made: Mapping[str, Tensor]) -> None:
        """Keep the tensors of some items."""
        for name, values in self.tensors().items():
            values[items.start : items.stop] = made[name].to(values)

    def fits(self, items: Sequence[int] | Tensor) -> FaceFit:
        """The fits of some items."""
        index = torch.as_tensor(items, device=self.found.device)
        return FaceFit(*(getattr(self, field.name)[index] for field in fields(FaceFit)))

    def find(self, images: Tensor) -> list[int]:
        """Numbers of the items that images (B, 3, S, S) show.

        Raises:
            UserError: an image shows none.
        """
        away = (thumbnails(images)[:, None] - self.get_buffer("thumbnail")).abs().mean((2, 3, 4))
        least, best = away.masked_fill(~self.found, torch.inf).min(1)
        if (least > SAME_IMAGE).any():
            raise UserError(
                "an image that this run was not fitted to has no exact landmarks; expected a run "
                "with landmarks=landmarks-106 or face-mesh-468"
            )
        return best.tolist()


def thumbnails(images: Tensor) -> Tensor:
    """Images (B, 3, S, S) as small as it takes to tell them apart."""
    return resize(images, THUMBNAIL)
