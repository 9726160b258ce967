"""Measures SIDE and MAD on the test images of Synface, the papers' own data for their Table 1."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.benchmarks.baseline_shapes import TRUE_DEPTH
from gan3d_bench.benchmarks.measure import Measure, Settings, Values
from gan3d_bench.benchmarks.shape.errors import (
    AVERAGE,
    AVERAGE_SUBJECT,
    CONSTANT,
    NORMALS,
    ShapeErrors,
    average_depths,
)
from gan3d_bench.benchmarks.subjects import REFERENCES, OtherSubjects, Shape
from gan3d_bench.datamodules.synface import FAR, SynfaceDataModule
from gan3d_bench.errors import UserError
from gan3d_bench.files.fingerprint import fingerprint
from gan3d_bench.files.run_folder import Run
from gan3d_bench.methods.base import Method
from gan3d_bench.scenes.base import Scene

IMAGE_SIZE = 64
FIELD_OF_VIEW = 10.0  # of the camera that Synface was rendered with, in degrees
AVERAGE_OVER = 256  # training images whose depth maps are averaged


class SynfaceShapeMeasure(Measure):
    """Depth in the input view of Synface's faces, in the folder that the runs were fitted to.

    Args:
        settings: what was asked for.
    """

    requires = frozenset({"depth"})
    baselines = (TRUE_DEPTH, CONSTANT, AVERAGE, AVERAGE_SUBJECT)
    data = "synface, test"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.errors = ShapeErrors(FIELD_OF_VIEW)
        self._folder: Path | None = None
        self._others: OtherSubjects | None = None

    def open(self, run: Run) -> None:
        """Take the folder of a run's images.

        Raises:
            UserError: another run has other images.
        """
        folder = Path(getattr(run.config, "images", ""))
        if self._folder is None:
            self._folder = folder
        elif folder != self._folder and fingerprint(folder) != fingerprint(self._folder):
            raise UserError(
                f"{run.path}: fitted to images={str(folder)!r}; expected the images of the other "
                f"runs, {str(self._folder)!r}"
            )

    def protocol(self) -> Mapping[str, Any]:
        assert self._folder is not None
        return {
            "data": self.data,
            "data_id": fingerprint(self._folder),
            "image_size": IMAGE_SIZE,
            "field_of_view_deg": FIELD_OF_VIEW,
            "average_depth_over": len(self.source.dataset("train")),
            "normals": NORMALS,
            "references": REFERENCES,
        }

    def items(self) -> list[int]:
        """The first test images.

        Raises:
            UserError: no run says where the images are, or there are fewer.
        """
        if self._folder is None:
            raise UserError(
                "table 'shape-synface' is measured on the folder that its runs were fitted to: "
                "expected at least one --run"
            )
        found = len(self.source.dataset("test"))
        if found < self.settings.samples:
            raise UserError(
                f"{self._folder / 'test'}: {found} images; expected --samples {found} or fewer, "
                f"not {self.settings.samples}"
            )
        return list(range(self.settings.samples))

    @functools.cached_property
    def source(self) -> SynfaceDataModule:
        """The folder, of which the first images of each split are read."""
        assert self._folder is not None
        return SynfaceDataModule(
            self._folder,
            image_size=IMAGE_SIZE,
            train_limit=AVERAGE_OVER,
            test_limit=self.settings.samples,
        )

    def begin(self, method: Method, kind: str, items: Sequence[int]) -> None:
        """Take the first faces to stand in for the others, where one frame holds for all."""
        first = list(items)[:REFERENCES]
        self._others = None
        if len(first) > 1:
            scene = self._scene(method, kind, first)
            # else they would have to be turned by their true views, which Synface does not tell
            if scene.canonical and scene.input_view is not None:
                self._others = OtherSubjects(scene, first, scene.input_view)

    def method(self, method: Method, kind: str, items: Sequence[int]) -> Values:
        scene, target = self._scene(method, kind, items), self._depth(items)
        view = scene.input_view
        assert view is not None
        rendering = scene.render(view, image_size=IMAGE_SIZE)
        assert rendering.depth is not None
        own = Shape(rendering.depth, rendering.mask)
        values = self.errors.of_shape(own.depth, own.mask, target, scene.camera.fov)
        if self._others is not None:
            error = self.errors.side.instances
            values |= self._others.compare(own, items, view, view, target, error=error)
        return values

    def baseline(self, row: str, items: Sequence[int]) -> Values:
        target = self._depth(items)
        if row == TRUE_DEPTH:
            return self.errors.of_shape(target, torch.ones_like(target), target)
        depth = torch.ones(()) if row == CONSTANT else self.average_depth[row]
        return self.errors(depth.to(target).expand_as(target), target)

    @functools.cached_property
    def average_depth(self) -> dict[str, Tensor]:
        """Means (1, S, S) of training depth maps; see `average_depths`."""
        data = self.source.dataset("train")
        return average_depths((data[index]["depth"] for index in range(len(data))), FAR)

    def _depth(self, items: Sequence[int]) -> Tensor:
        data = self.source.dataset("test")
        return torch.stack([data[item]["depth"] for item in items]).to(self.settings.device)

    def _scene(self, method: Method, kind: str, items: Sequence[int]) -> Scene:
        """A method's scene of test images, checked to have depth and to know its view.

        Raises:
            UserError: it lacks one of them.
        """
        pictures = [item["original"][None] for item in self.source.read("test", items)]
        images = torch.cat([method.framed(picture) for picture in pictures])
        scene = self.scene(method, kind, images.to(self.settings.device))
        scene.require("depth")
        return scene
