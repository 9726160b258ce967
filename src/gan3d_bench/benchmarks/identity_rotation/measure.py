"""Identity of turned synthetic heads."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.assets.store import asset_path
from gan3d_bench.benchmarks.heads import (
    HeadsMeasure,
    before_grey,
    head_stylecodes,
    turned,
    with_own_light,
)
from gan3d_bench.benchmarks.identity_rotation.identity import RotationIdentity
from gan3d_bench.benchmarks.measure import Settings, Values
from gan3d_bench.datamodules.head_yaw import fit_to_heads
from gan3d_bench.faces.yaw import YawMeter
from gan3d_bench.generators.directions import ganspace, sefa
from gan3d_bench.generators.latent_rotation import StylecodeRotationScene, yaw_direction
from gan3d_bench.generators.latents import sample_z
from gan3d_bench.generators.stylegan2 import Generator, load_generator
from gan3d_bench.methods.base import Method

TRUTH, SEFA, GANSPACE = "True heads", "SeFa", "GANSpace"
TEACHER = "heads-teacher-64"
STEPS = tuple(step / 2 for step in range(-12, 13))
"""At which a head's yaw is measured along a direction, in standard deviations of w."""
DIRECTIONS = 10
SAMPLES = 32  # of the teacher, to choose among the directions
GANSPACE_SAMPLES = 50_000


class IdentityRotationMeasure(HeadsMeasure):
    """Turned heads beside their own front views."""

    baselines = (TRUTH, GANSPACE, SEFA)
    exchangeable = ("identity",)

    def __init__(self, settings: Settings, *, train_size: int = 256, **kwargs: Any) -> None:
        super().__init__(settings, train_size=train_size, **kwargs)
        self.identity = RotationIdentity(settings)
        self._directions: dict[str, Tensor] = {}

    def protocol(self) -> Mapping[str, Any]:
        return {
            **super().protocol(),
            **self.identity.protocol(),
            "teacher": TEACHER,
            "directions": DIRECTIONS,
            "ganspace_samples": GANSPACE_SAMPLES,
            "yaw_regressed_on": self.source.sizes["train"],
        }

    def method(self, method: Method, kind: str, items: Sequence[int]) -> Values:
        scene = method.row_scene(kind, self.batch(items)["image"])
        return self.identity.of_scene(scene, self.image_size, self.yaw)

    def baseline(self, row: str, items: Sequence[int]) -> Values:
        if row == TRUTH:
            heads = before_grey(self.parameters(items))

            def turn(yaw: float) -> Tensor:
                return self.truth(with_own_light(turned(heads, yaw), heads))["image"]

            return self.identity(turn, self.yaw)
        scene = StylecodeRotationScene(
            self.teacher, self._stylecodes(items), self._direction(row), self.yaw, STEPS
        )
        return self.identity.of_scene(scene, self.image_size, self.yaw)

    @functools.cached_property
    def yaw(self) -> YawMeter:
        """Measures the yaw of heads in pictures."""
        aligner = self.identity.aligner
        return YawMeter(aligner, fit_to_heads(aligner, self.split("train")))

    @functools.cached_property
    def teacher(self) -> Generator:
        """The bundled generator of heads."""
        path = asset_path(TEACHER) / "generator.safetensors"
        return load_generator(path).to(self.settings.device)

    def _direction(self, row: str) -> Tensor:
        if row not in self._directions:
            rng = torch.Generator().manual_seed(0)
            z = sample_z(SAMPLES, self.teacher.z_dim, rng)
            directions = (
                sefa(self.teacher, DIRECTIONS)
                if row == SEFA
                else ganspace(self.teacher, GANSPACE_SAMPLES, DIRECTIONS, rng)
            )
            w = self.teacher.mapping(z.to(self.settings.device))
            self._directions[row] = yaw_direction(self.teacher, directions, w, self.yaw)
        return self._directions[row]

    def _stylecodes(self, items: Sequence[int]) -> Tensor:
        """Stylecodes (B, w_dim) of test heads."""
        return head_stylecodes(self.teacher, self.split("test").latents[list(items)])
