"""Measures normalised depth and pose on the FFHQ teacher's samples, against a morphable model."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.benchmarks.depth_pose.errors import ANGLES, CONSTANT, DepthPoseErrors
from gan3d_bench.benchmarks.depth_pose.references import References, framed
from gan3d_bench.benchmarks.identity_rotation.faces import TEACHER, TRUNCATION
from gan3d_bench.benchmarks.measure import Measure, Settings, Values
from gan3d_bench.benchmarks.results import Estimate
from gan3d_bench.errors import UserError
from gan3d_bench.faces.morphable_fit import FaceFit, MorphableFit
from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.latents import numbered_z
from gan3d_bench.generators.names import teacher_hash
from gan3d_bench.generators.teachers import load_teacher
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.base import Method

WHOLE = 256  # side of the whole pictures, to which the model is fitted
FAR = 2.0  # depth of what lies off the face, beyond any face
METRICS = ("depth", "yaw", "pitch", "roll")


class FaceDepthPoseMeasure(Measure):
    """Depth in the input view, and the input view itself, of real faces.

    Args:
        settings: what was asked for; the network ``reference`` is the path of a Basel Face Model.
        fit: the reference; None fits the bundled head model, or the one that was asked for.
        root: folder of caches; None is the suite's.

    Raises:
        UserError: an asset or the model is missing or damaged.
    """

    requires = frozenset({"depth"})
    baselines = (CONSTANT,)
    exchangeable = ("reference",)
    data = f"samples of {TEACHER}, test"

    def __init__(
        self, settings: Settings, *, fit: MorphableFit | None = None, root: Path | None = None
    ) -> None:
        super().__init__(settings)
        model = settings.networks.get("reference")
        self.fit = fit or MorphableFit(model, device=settings.device, root=root)
        self.errors = DepthPoseErrors()
        source = f"{TEACHER} {teacher_hash(TEACHER)} test {TRUNCATION} {WHOLE}"
        self.references = References(self.fit, self.pictures, source, root)

    def protocol(self) -> Mapping[str, Any]:
        return {
            "data": self.data,
            "truncation": TRUNCATION,
            "whole_image_size": WHOLE,
            "reference": self.fit.fingerprint,
            "angles": ANGLES,
            "networks": dict.fromkeys(METRICS, self.fit.label),
        }

    def items(self) -> list[int]:
        """The first samples, without those that show no face."""
        return self.references.found(range(self.settings.samples))

    @functools.cached_property
    def teacher(self) -> Generator:
        return load_teacher(TEACHER, WHOLE).generator.to(self.settings.device)

    @torch.no_grad()
    def pictures(self, items: Sequence[int]) -> Tensor:
        """Whole pictures (B, 3, 256, 256) of test samples, in [-1, 1]."""
        z = numbered_z("test", items, self.teacher.z_dim).to(self.settings.device)
        w = self.teacher.truncate(self.teacher.mapping(z), TRUNCATION)
        return self.teacher.synthesis(w).clamp(-1, 1)

    def method(self, method: Method, kind: str, items: Sequence[int]) -> Values:
        images = method.framed(self.pictures(items))
        scene = method.row_scene(kind, images)
        scene.require("depth")
        view = scene.input_view
        if view is None:
            raise UserError(
                f"method '{method.config.method}' reconstructs a scene without an input view, "
                "which this table starts from"
            )
        rendering = scene.render(view, image_size=images.shape[-1])
        assert rendering.depth is not None
        fit = self.references(items)
        target = framed(*self._depth(fit), FAR, method.framed)
        return self.errors(rendering.depth, target, rendering.mask, view, fit.view)

    def baseline(self, row: str, items: Sequence[int]) -> Values:
        fit = self.references(items)
        target = framed(*self._depth(fit), FAR, lambda maps: maps)
        flat = torch.ones_like(target)
        return self.errors(flat, target, flat, View.from_angles([0.0] * len(items)), fit.view)

    def sets(self) -> dict[str, Estimate]:
        return self.errors.sets()

    def _depth(self, fit: FaceFit) -> tuple[Tensor, Tensor]:
        """Depth (B, 1, 256, 256) of the fitted faces, and where they are."""
        drawn = self.fit.render(fit.to(self.settings.device), WHOLE)
        assert drawn.depth is not None
        return drawn.depth, drawn.mask
