"""Measures normalised depth and pose on the FFHQ teacher's samples, against a morphable model."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.benchmarks.baseline_shapes import ellipsoid_depth
from gan3d_bench.benchmarks.depth_pose.errors import ANGLES, CONSTANT, SIGNED, DepthPoseErrors
from gan3d_bench.benchmarks.depth_pose.references import References, framed
from gan3d_bench.benchmarks.identity_rotation.faces import TEACHER, TRUNCATION
from gan3d_bench.benchmarks.measure import Measure, Settings, Values
from gan3d_bench.benchmarks.subjects import REFERENCES, OtherSubjects, Shape
from gan3d_bench.faces.morphable_fit import FaceFit, MorphableFit
from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.latents import numbered_z
from gan3d_bench.generators.names import teacher_hash
from gan3d_bench.generators.teachers import load_teacher
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.base import Method
from gan3d_bench.metrics.depth import foreground
from gan3d_bench.scenes.base import Scene

WHOLE = 256  # side of the whole pictures, to which the model is fitted
FAR = 2.0  # depth of what lies off the face, beyond any face
METRICS = ("depth", "yaw", "pitch", "roll")
ELLIPSOID, MEAN_FACE = "Ellipsoid, fitted view", "Mean face, fitted view"


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
    baselines = (CONSTANT, ELLIPSOID, MEAN_FACE)
    signed = SIGNED
    exchangeable = ("reference",)
    data = f"samples of {TEACHER}, test"

    def __init__(
        self, settings: Settings, *, fit: MorphableFit | None = None, root: Path | None = None
    ) -> None:
        super().__init__(settings)
        model = settings.networks.get("reference")
        self.fit = fit or MorphableFit(model, device=settings.device, root=root)
        self.errors = DepthPoseErrors()
        self._others: OtherSubjects | None = None
        source = f"{TEACHER} {teacher_hash(TEACHER)} test {TRUNCATION} {WHOLE}"
        self.references = References(self.fit, self.pictures, source, root)

    def protocol(self) -> Mapping[str, Any]:
        return {
            "data": self.data,
            "truncation": TRUNCATION,
            "whole_image_size": WHOLE,
            "reference": self.fit.fingerprint,
            "angles": ANGLES,
            "references": REFERENCES,
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

    def begin(self, method: Method, kind: str, items: Sequence[int]) -> None:
        """Take the first faces to stand in for the others."""
        first = list(items)[:REFERENCES]
        self._others = None
        if len(first) > 1:
            scene = self._scene(method, kind, first)
            self._others = OtherSubjects(scene, first, self.references(first).view)

    def method(self, method: Method, kind: str, items: Sequence[int]) -> Values:
        scene = self._scene(method, kind, items)
        view, size = scene.input_view, scene.camera.width
        assert view is not None
        rendering = scene.render(view, image_size=size)
        assert rendering.depth is not None
        fit = self.references(items)
        target = self._framed(fit, method)
        values = self.errors(rendering.depth, target, rendering.mask, view, fit.view)
        if self._others is not None:
            mean = self._mean_face(fit)
            there = self._framed(self._turned(mean, view), method)
            values |= self._others.compare(
                Shape(rendering.depth, rendering.mask),
                items,
                view,
                fit.view,
                target,
                average=self._framed(mean, method),
                average_there=Shape(there, foreground(there)),
                error=self.errors.depth.instances,
            )
        return values

    def baseline(self, row: str, items: Sequence[int]) -> Values:
        fit = self.references(items)
        target = self._framed(fit)
        whole = torch.ones_like(target)
        if row == CONSTANT:
            front = View.from_angles([0.0] * len(items))
            return self.errors(whole, target, whole, front, fit.view)
        mean = self._mean_face(fit)
        if row == MEAN_FACE:
            depth = self._framed(mean)
            return self.errors.of_depth(depth, target, foreground(depth))
        frontal = self._framed(self._turned(mean, View.from_angles([0.0] * len(items))))
        depth = ellipsoid_depth(foreground(frontal), fit.view.to(frontal.device))
        return self.errors.of_depth(depth, target, whole)

    def _scene(self, method: Method, kind: str, items: Sequence[int]) -> Scene:
        """A method's scene of samples, checked to have depth and to know its view.

        Raises:
            UserError: it lacks one of them.
        """
        scene = self.scene(method, kind, method.framed(self.pictures(items)))
        scene.require("depth")
        return scene

    def _framed(self, fit: FaceFit, method: Method | None = None) -> Tensor:
        """Depth (B, 1, S, S) of fitted faces in a method's frame, else whole; `FAR` off them."""
        drawn = self.fit.render(fit.to(self.settings.device), WHOLE)
        assert drawn.depth is not None
        return framed(drawn.depth, drawn.mask, FAR, method.framed if method else lambda maps: maps)

    @staticmethod
    def _mean_face(fit: FaceFit) -> FaceFit:
        """The model's mean face, posed and lit as fitted faces are."""
        return replace(fit, shape=torch.zeros_like(fit.shape), colour=torch.zeros_like(fit.colour))

    @staticmethod
    def _turned(fit: FaceFit, view: View) -> FaceFit:
        """Fitted faces at other views (B), where they are and as large as they are."""
        angles = torch.stack((view.yaw, view.pitch, view.roll), 1).deg2rad().to(fit.pose)
        return replace(fit, pose=torch.cat((angles, fit.pose[:, 3:]), 1))
