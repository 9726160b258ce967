"""How far ArcFace's embedding of a face moves while the face is turned."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from gan3d_bench.benchmarks.measure import Settings, Values
from gan3d_bench.faces.aligner import FaceAligner
from gan3d_bench.faces.arcface import ArcFace, angle
from gan3d_bench.generators.latent_rotation import MeasureYaw, monotonic_yaw
from gan3d_bench.geometry.views import View
from gan3d_bench.scenes.base import Scene

VIEWS = tuple(round(yaw, 3) for yaw in torch.linspace(-20, 20, 20).tolist())
"""Yaw in degrees (GAN2Shape, Table 3)."""
CURVE = (-60, -45, -30, -15, 0, 15, 30, 45, 60)
"""Yaw in degrees at which the cosine is measured too (LiftedGAN, Figure 7)."""
CHUNK = 32  # images ArcFace takes at once

Turn = Callable[[float], Tensor]
"""Yaw in degrees -> pictures (B, 3, S, S) of a batch of faces, grey where there is nothing."""


class RotationIdentity:
    """Measures turned faces beside their own front views.

    Args:
        settings: device, and perhaps another network for ``identity`` than ``arcface-mbf``.

    Raises:
        UserError: an asset is missing or damaged.
    """

    def __init__(self, settings: Settings) -> None:
        self.arcface = ArcFace(settings.networks.get("identity", "arcface-mbf"))
        self.arcface.to(settings.device)
        self.aligner = FaceAligner()
        self.device = settings.device

    def protocol(self) -> Mapping[str, object]:
        """What a table's protocol says about views and networks."""
        network = f"{self.arcface.label}, {self.aligner.label}"
        return {
            "yaw_deg": list(VIEWS),
            "curve_yaw_deg": list(CURVE),
            "networks": {
                "error_mean": network,
                "error_max": network,
                "faces": self.aligner.label,
                "similarity": network,
            },
        }

    def of_scene(self, scene: Scene, image_size: int, yaw: MeasureYaw) -> Values:
        """Measure a scene about its canonical view, pitch and roll 0; see `__call__`."""

        def turn(degrees: float) -> Tensor:
            view = View.from_angles([degrees] * scene.batch_size, device=self.device)
            rendering = scene.render(view, image_size=image_size)
            return rendering.rgb * rendering.mask

        return self(turn, yaw)

    def __call__(self, turn: Turn, yaw: MeasureYaw) -> Values:
        """Measure pictures at all views: one number per face and metric.

        Also, by the yaw measured in the pictures: ``turned``, by how much it grows from the first
        of `VIEWS` to the last, and ``matched``, the mean angle where it has changed by each of
        `VIEWS` since the front, wherever the scene had to be asked to turn to. Who turns less than
        asked keeps identity more easily; not there.
        """
        yaws = (0.0, *VIEWS, *(float(yaw) for yaw in CURVE if yaw))
        images = torch.stack([turn(yaw) for yaw in yaws], 1)
        embeddings = self._embed(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        angles, reference = from_front(embeddings, torch.tensor(yaws))
        compared = angles.scatter(1, reference[:, None], torch.nan)[:, : 1 + len(VIEWS)]
        turned_by = angles[:, 1 : 1 + len(VIEWS)]
        cosines = dict(zip(yaws, angles.deg2rad().cos().T.tolist(), strict=True))
        seen = torch.stack([yaw(images[:, index]).cpu() for index in range(len(yaws))], 1)
        return {
            "turned": (seen[:, len(VIEWS)] - seen[:, 1]).tolist(),
            "matched": [
                at_measured_yaw(yaws, row, change)
                for row, change in zip(angles.tolist(), (seen - seen[:, :1]).tolist(), strict=True)
            ],
            "error_mean": compared.nanmean(1).tolist(),
            "error_max": [max(_known(row), default=math.nan) for row in compared.tolist()],
            "faces": [100 * len(_known(row)) / len(VIEWS) for row in turned_by.tolist()],
            **{f"similarity@yaw={yaw}": cosines[float(yaw)] for yaw in CURVE},
        }

    def _embed(self, images: Tensor) -> Tensor:
        """Embeddings (N, D) on the CPU of the faces in images, NaN where none is found."""
        aligned = [self.aligner(part) for part in images.split(CHUNK)]
        known = torch.cat([self.arcface(part.images).cpu() for part in aligned])
        result = known.new_full((len(images), known.shape[1]), torch.nan)
        result[torch.cat([part.found for part in aligned])] = known
        return result


def from_front(embeddings: Tensor, yaws: Tensor) -> tuple[Tensor, Tensor]:
    """Angles between each view's embedding and the front view's.

    Args:
        embeddings: (B, V, D), NaN where no face was found.
        yaws: (V,) degrees.

    Returns:
        (B, V) degrees, NaN where no face was found, and (B,) the index of the view nearest to the
        front in which one was: it stands in for the front view.
    """
    found = ~embeddings.isnan().any(2)
    reference = yaws.abs().where(found, torch.inf).argmin(1)
    front = embeddings[torch.arange(len(embeddings)), reference]
    angles = angle(embeddings.flatten(0, 1), front.repeat_interleave(len(yaws), 0))
    return angles.view(found.shape), reference


def at_measured_yaw(
    asked: Sequence[float], angles: Sequence[float], turned: Sequence[float]
) -> float:
    """Mean angle of one face at the views where its pictures have turned by each of `VIEWS`.

    Args:
        asked: yaw of V views in degrees, the front among them.
        angles: between each view's embedding and the front's, degrees.
        turned: yaw measured in each view less that in the front's; NaN where no face was found.

    Returns:
        degrees, linear between the views; NaN where the pictures do not turn so far.
    """
    order = np.argsort(asked)
    views, reached = np.asarray(asked)[order], np.asarray(turned)[order]
    steps, yaw = monotonic_yaw(views, reached)
    if not len(yaw) or min(VIEWS) < yaw[0] or max(VIEWS) > yaw[-1]:
        return math.nan
    known = np.interp(steps, views, np.asarray(angles)[order])
    return float(np.interp(VIEWS, yaw, known).mean())


def _known(values: Sequence[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]
