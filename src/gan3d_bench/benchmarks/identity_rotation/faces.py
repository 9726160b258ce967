"""Identity of turned faces that are the FFHQ teacher's own samples."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.benchmarks.identity_rotation.identity import RotationIdentity
from gan3d_bench.benchmarks.identity_rotation.spec import HYPERPLANE
from gan3d_bench.benchmarks.measure import Measure, Settings, Values
from gan3d_bench.datamodules.head_yaw import head_yaw_meter
from gan3d_bench.faces.yaw import YawMeter
from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.directions import Directions
from gan3d_bench.generators.latent_rotation import StylecodeRotationScene
from gan3d_bench.generators.latents import numbered_z
from gan3d_bench.generators.teachers import load_teacher
from gan3d_bench.methods.base import Method

TEACHER = "mobilestylegan-ffhq-fast"
IMAGE_SIZE = 128  # of what methods render, the middle of pictures of ...
WHOLE = 160  # ... this size, as baselines show them
TRUNCATION = 0.7
BASELINES = {"GANSpace": "ganspace", "SeFa": "sefa", HYPERPLANE: "hyperplane"}
STEPS = tuple(float(degrees) for degrees in range(-60, 61, 10))
"""Along a direction, in the degrees that it is expected to turn: yaw is measured there."""


class FaceRotationMeasure(Measure):
    """Turned faces beside their own front views."""

    baselines = tuple(BASELINES)
    exchangeable = ("identity",)
    data = f"samples of {TEACHER}, test"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.identity = RotationIdentity(settings)

    def protocol(self) -> Mapping[str, Any]:
        return {
            "data": self.data,
            "truncation": TRUNCATION,
            "image_size": IMAGE_SIZE,
            "whole_image_size": WHOLE,
            **self.identity.protocol(),
        }

    def items(self) -> list[int]:
        return list(range(self.settings.samples))

    @functools.cached_property
    def teacher(self) -> Generator:
        return load_teacher(TEACHER, WHOLE).generator.to(self.settings.device)

    def stylecodes(self, items: Sequence[int]) -> Tensor:
        """Stylecodes (B, w_dim) of test samples."""
        z = numbered_z("test", items, self.teacher.z_dim).to(self.settings.device)
        return self.teacher.truncate(self.teacher.mapping(z), TRUNCATION)

    @torch.no_grad()
    def method(self, method: Method, kind: str, items: Sequence[int]) -> Values:
        whole = self.teacher.synthesis(self.stylecodes(items)).clamp(-1, 1)
        scene = method.row_scene(kind, method.framed(whole))
        return self.identity.of_scene(scene, IMAGE_SIZE, self.yaw)

    def baseline(self, row: str, items: Sequence[int]) -> Values:
        step = self.directions.steps[BASELINES[row]].to(self.settings.device)
        w = self.stylecodes(items)
        scene = StylecodeRotationScene(self.teacher, w, step, self.yaw, STEPS)
        return self.identity.of_scene(scene, WHOLE, self.yaw)

    @functools.cached_property
    def directions(self) -> Directions:
        return Directions.of_teacher(TEACHER)

    @functools.cached_property
    def yaw(self) -> YawMeter:
        return head_yaw_meter(self.identity.aligner)
