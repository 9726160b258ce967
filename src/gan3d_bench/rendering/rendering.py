"""What a renderer returns: pictures of a batch of subjects, and the maps behind them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class Rendering:
    """Pictures of B subjects at one view each.

    Attributes:
        rgb: (B, 3, H, W) in [-1, 1], the subject's own colour: not yet mixed with a background
            where `mask` is between 0 and 1 (`over` does it), of no meaning where it is 0; unless
            `whole`.
        mask: (B, 1, H, W) in [0, 1], 1 where the subject was rendered.
        depth: (B, 1, H, W) z in camera space, scene units, away from the camera (not the distance
            along the ray); None if the scene has no geometry.
        normal: (B, 3, H, W) unit vectors towards the viewer, camera space (x right, y down,
            z forward).
        albedo: (B, 3, H, W) in [-1, 1].
        shading: (B, 1 or 3, H, W), non-negative.
        whole: `rgb` is a picture everywhere, with a background of the scene's own; `mask` says
            where there is geometry.
    """

    rgb: Tensor
    mask: Tensor
    depth: Tensor | None = None
    normal: Tensor | None = None
    albedo: Tensor | None = None
    shading: Tensor | None = None
    whole: bool = False

    def over(self, background: float | Tensor) -> Tensor:
        """The subject before a background: a colour in [-1, 1], or pictures of B (or 1).

        What is `whole` has its own and hides any other.
        """
        if self.whole:
            return self.rgb
        return self.rgb * self.mask + (1 - self.mask) * background
