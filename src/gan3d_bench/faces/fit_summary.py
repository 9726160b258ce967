"""Which of many fits of faces can be used, and what is wrong with the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from gan3d_bench.faces.landmark_fit import LARGEST_ANGLE

LARGEST_ERROR = 8.0
"""Of landmarks, pixels of 256: about an eye's height. Fits beyond have missed the face."""
AT_CLAMP = 0.98  # of the largest yaw a fit may take


@dataclass(frozen=True)
class FitSummary:
    """Which of N fits can be used, and what is wrong with the others.

    Attributes:
        usable: a face was found, and its fit is none of the following.
        missing: no face was found.
        broken: a number of the fit is NaN or infinite.
        far: the landmarks are further off than `LARGEST_ERROR`.
        turned: the yaw is as large as a fit's may be.
    """

    usable: Bool[Tensor, " N"]
    missing: Bool[Tensor, " N"]
    broken: Bool[Tensor, " N"]
    far: Bool[Tensor, " N"]
    turned: Bool[Tensor, " N"]

    @classmethod
    def of(cls, fits: Mapping[str, Tensor], largest_error: float = LARGEST_ERROR) -> FitSummary:
        """Of the tensors of a `FaceFit`, among others or not."""
        found = fits["found"]
        finite = torch.ones_like(found)
        for name in ("pose", "shape", "colour", "light", "landmark_error", "colour_error"):
            finite &= fits[name].reshape(len(found), -1).isfinite().all(1)
        whole = found & finite
        far = whole & (fits["landmark_error"] > largest_error)
        turned = whole & (fits["pose"][:, 0].abs() > AT_CLAMP * LARGEST_ANGLE)
        return cls(whole & ~far & ~turned, ~found, found & ~finite, far, turned)

    def counts(self) -> dict[str, int]:
        """How many of each, and the total as ``items``."""
        return {"items": len(self.usable)} | {k: int(v.sum()) for k, v in vars(self).items()}

    def status(self) -> list[str]:
        """A word for each fit: the first of these names that is true of it."""
        names = list(vars(self))
        first = torch.stack(list(vars(self).values())).to(torch.uint8).argmax(0)
        return [names[i] for i in first.tolist()]

    def __str__(self) -> str:
        n = self.counts()
        return (
            f"{n['usable']} of {n['items']} fits usable; no face in {n['missing']}, not finite "
            f"{n['broken']}, landmarks too far off {n['far']}, turned too far {n['turned']}"
        )
