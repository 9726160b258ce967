"""Rotation of a generator's subjects by moving stylecodes along a direction of W.

How far a stylecode has to move is read off the yaw measured in its pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from gan3d_bench.generators.base import Generator
from gan3d_bench.geometry.views import View
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.rendering.shading import Light
from gan3d_bench.scenes.base import Scene

CHUNK = 64

MeasureYaw = Callable[[Tensor], Tensor]
"""Images (B, 3, S, S) in [-1, 1] -> (B,) yaw in degrees, NaN where no face is found."""


def yaw_changes(generator: Generator, steps: Tensor, w: Tensor, measure: MeasureYaw) -> Tensor:
    """Return by how many degrees each step changes the yaw: half of what one to either side does.

    Args:
        steps: (D, w_dim).
        w: (B, w_dim) stylecodes of samples.

    Returns:
        (D,) degrees on the CPU, the mean over the samples; NaN where none shows a face on both
        sides.
    """
    changes = []
    for step in steps:
        after, before = (measure(generate(generator, w + sign * step)) for sign in (1, -1))
        changes.append((after - before).nanmean() / 2)
    return torch.stack(changes)


def yaw_direction(
    generator: Generator, directions: Tensor, w: Tensor, measure: MeasureYaw
) -> Tensor:
    """Choose the direction that changes yaw most, one standard deviation of `w` to either side.

    Args:
        directions: (D, w_dim) unit vectors.
        w: (B, w_dim) stylecodes of samples.

    Returns:
        (w_dim,) the chosen one times the standard deviation of `w` along it; yaw grows with it.

    Raises:
        ValueError: no sample shows a face on both sides of any direction.
    """
    steps = directions * (w @ directions.T).std(0)[:, None]
    change = yaw_changes(generator, steps, w, measure)
    if change.isnan().all():
        raise ValueError("no sample shows a face on both sides of any direction")
    best = int(change.abs().nan_to_num().argmax())
    return steps[best] * change[best].sign().to(steps)


class StylecodeRotationScene(Scene):
    """Subjects of a generator, rotated by moving their stylecodes along one direction of W.

    RGB only; a view's pitch, roll and translation are not looked at. Views that a head does not
    reach have the mask 0.

    Args:
        generator: the teacher.
        w: (B, w_dim).
        direction: (w_dim,) as `yaw_direction` gives it.
        measure: the yaw of pictures.
        steps: along `direction`, ascending, 0 among them, at which yaw is measured.
    """

    def __init__(
        self,
        generator: Generator,
        w: Tensor,
        direction: Tensor,
        measure: MeasureYaw,
        steps: Sequence[float],
    ) -> None:
        self.generator = generator
        self.w = w
        self.direction = direction
        self.camera = PinholeCamera(generator.image_size)
        moved = w[:, None] + w.new_tensor(steps)[:, None] * direction
        yaws = measure(generate(generator, moved.flatten(0, 1))).view(len(w), -1).cpu().numpy()
        self.reached = [monotonic_yaw(np.asarray(steps, dtype=float), row) for row in yaws]

    @property
    def batch_size(self) -> int:
        return len(self.w)

    def _render(self, view: View, light: Light | None, camera: PinholeCamera) -> Rendering:
        """Generate the heads where they measure the views' yaw; see `Scene.render`."""
        steps = self.w.new_tensor(
            [
                np.interp(angle, yaw, step, left=np.nan, right=np.nan) if len(yaw) else np.nan
                for angle, (step, yaw) in zip(view.yaw.tolist(), self.reached, strict=True)
            ]
        )
        known = ~steps.isnan()
        rgb = generate(self.generator, self.w + steps.nan_to_num()[:, None] * self.direction)
        mask = known.to(rgb)[:, None, None, None].expand_as(rgb[:, :1])
        return Rendering(rgb=rgb, mask=mask)


def monotonic_yaw(steps: np.ndarray, yaw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep the steps at which yaw goes further than before, from step 0 to either side.

    A side ends where the yaw is not known (NaN).

    Args:
        steps: (K,) ascending, 0 among them.
        yaw: (K,) measured there, degrees.

    Returns:
        steps and their yaw, both strictly ascending; empty if yaw is not known at step 0.
    """
    middle = int(np.flatnonzero(steps == 0)[0])
    if np.isnan(yaw[middle]):
        return steps[:0], yaw[:0]
    kept = [middle]
    for side, sign in ((range(middle + 1, len(steps)), 1), (range(middle - 1, -1, -1), -1)):
        furthest = yaw[middle]
        for index in side:
            if np.isnan(yaw[index]):
                break
            if sign * (yaw[index] - furthest) > 0:
                kept.append(index)
                furthest = yaw[index]
    kept.sort()
    return steps[kept], yaw[kept]


@torch.no_grad()
def generate(generator: Generator, w: Tensor) -> Tensor:
    """Images (N, 3, S, S) in [-1, 1] of stylecodes (N, w_dim)."""
    return torch.cat([generator.synthesis(part) for part in w.split(CHUNK)]).clamp(-1, 1)
