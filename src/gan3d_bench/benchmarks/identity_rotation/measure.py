"""Measures how far ArcFace's embedding of a face moves while the face is turned."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.assets.store import asset_path
from gan3d_bench.benchmarks.heads import HeadsMeasure, before_grey, turned
from gan3d_bench.benchmarks.identity_rotation.rotation import (
    TurnedStylecodes,
    YawEstimator,
    turning_direction,
)
from gan3d_bench.benchmarks.measure import Settings, Values
from gan3d_bench.datamodules.heads_sampling import NUM_LATENTS
from gan3d_bench.faces.aligner import FaceAligner
from gan3d_bench.faces.arcface import ArcFace, angle
from gan3d_bench.generators.directions import ganspace, sefa
from gan3d_bench.generators.stylegan2 import Generator, load_generator
from gan3d_bench.generators.stylegan2.latents import sample_z
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.base import Method
from gan3d_bench.scene import Scene

VIEWS = tuple(round(yaw, 3) for yaw in torch.linspace(-20, 20, 20).tolist())
"""Yaw in degrees (GAN2Shape, Table 3)."""
CURVE = (-60, -45, -30, -15, 0, 15, 30, 45, 60)
"""Yaw in degrees at which the cosine is measured too (LiftedGAN, Figure 7)."""
TRUTH, SEFA, GANSPACE = "True heads", "SeFa", "GANSpace"
TEACHER = "heads-teacher-64"
STEPS = tuple(step / 2 for step in range(-12, 13))
"""At which a head's yaw is measured along a direction, in standard deviations of w."""
DIRECTIONS = 10
SAMPLES = 32  # of the teacher, to choose among the directions
GANSPACE_SAMPLES = 50_000
CHUNK = 32  # images ArcFace takes at once

Turn = Callable[[float], Tensor]
"""Yaw in degrees -> pictures (B, 3, S, S) of a batch of heads, grey where there is nothing."""


class IdentityRotationMeasure(HeadsMeasure):
    """Turned heads beside their own front views."""

    requires = frozenset({"reconstruct"})
    baselines = (TRUTH, GANSPACE, SEFA)
    exchangeable = ("identity",)

    def __init__(self, settings: Settings, *, train_size: int = 256, **kwargs: Any) -> None:
        super().__init__(settings, train_size=train_size, **kwargs)
        arcface = settings.networks.get("identity", "arcface-mbf")
        self.arcface = ArcFace(arcface).to(settings.device)
        self.aligner = FaceAligner()
        self._directions: dict[str, Tensor] = {}

    def protocol(self) -> Mapping[str, Any]:
        network = f"{self.arcface.label}, {self.aligner.label}"
        return {
            **super().protocol(),
            "yaw_deg": list(VIEWS),
            "curve_yaw_deg": list(CURVE),
            "teacher": TEACHER,
            "directions": DIRECTIONS,
            "ganspace_samples": GANSPACE_SAMPLES,
            "yaw_regressed_on": self.heads.sizes["train"],
            "networks": {
                "error_mean": network,
                "error_max": network,
                "faces": self.aligner.label,
                "similarity": network,
            },
        }

    def method(self, method: Method, kind: str, items: Sequence[int]) -> Values:
        return self._measure(self._turn(method.row_scene(kind, self.batch(items)["image"])))

    def baseline(self, row: str, items: Sequence[int]) -> Values:
        if row == TRUTH:
            heads = before_grey(self.parameters(items))
            return self._measure(lambda yaw: self.truth(turned(heads, yaw))["image"])
        scene = TurnedStylecodes(
            self.teacher, self._stylecodes(items), self._direction(row), self.yaw, STEPS
        )
        return self._measure(self._turn(scene))

    def yaw(self, images: Tensor) -> Tensor:
        """Measure the yaw of heads (B, 3, S, S): (B,) degrees on the CPU, NaN without a face."""
        result = torch.full((len(images),), torch.nan)
        aligned = self.aligner(images)
        result[aligned.found] = self._estimator(aligned.points)
        return result

    @functools.cached_property
    def teacher(self) -> Generator:
        """The bundled generator of heads."""
        path = asset_path(TEACHER) / "generator.safetensors"
        return load_generator(path).to(self.settings.device)

    @functools.cached_property
    def _estimator(self) -> YawEstimator:
        data = self.split("train")
        aligned = self.aligner(torch.stack([data[i]["image"] for i in range(len(data))]))
        return YawEstimator.fit(aligned.points, data.parameters.angles[aligned.found, 0])

    def _direction(self, row: str) -> Tensor:
        if row not in self._directions:
            rng = torch.Generator().manual_seed(0)
            z = sample_z(SAMPLES, self.teacher.config.z_dim, rng)
            directions = (
                sefa(self.teacher, DIRECTIONS)
                if row == SEFA
                else ganspace(self.teacher, GANSPACE_SAMPLES, DIRECTIONS, rng)
            )
            w = self.teacher.mapping(z.to(self.settings.device))
            self._directions[row] = turning_direction(self.teacher, directions, w, self.yaw)
        return self._directions[row]

    def _stylecodes(self, items: Sequence[int]) -> Tensor:
        """Stylecodes (B, w_dim) of test heads: the teacher was fitted to their latents."""
        known = self.split("test").latents[list(items)]
        # it normalises its latents: further entries, which it hardly looks at, fill up the length
        rest = self.teacher.config.z_dim - NUM_LATENTS
        rest = sample_z(1, rest, torch.Generator().manual_seed(0)).expand(len(known), -1)
        room = self.teacher.config.z_dim - known.square().sum(1, keepdim=True)
        rest = F.normalize(rest) * room.clamp(min=0).sqrt()
        return self.teacher.mapping(torch.cat([known, rest], 1).to(self.settings.device))

    def _turn(self, scene: Scene) -> Turn:
        def turn(yaw: float) -> Tensor:
            view = View.from_angles([yaw] * scene.batch_size, device=self.settings.device)
            rendering = scene.render(view, image_size=self.image_size)
            return rendering.rgb * rendering.mask

        return turn

    def _measure(self, turn: Turn) -> Values:
        yaws = (0.0, *VIEWS, *(float(yaw) for yaw in CURVE if yaw))
        images = torch.stack([turn(yaw) for yaw in yaws], 1)
        embeddings = self._embed(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        angles, reference = from_front(embeddings, torch.tensor(yaws))
        compared = angles.scatter(1, reference[:, None], torch.nan)[:, : 1 + len(VIEWS)]
        turned_by = angles[:, 1 : 1 + len(VIEWS)]
        cosines = dict(zip(yaws, angles.deg2rad().cos().T.tolist(), strict=True))
        return {
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


def _known(values: Sequence[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]
