"""What the tables measured on the synthetic heads' test split share."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.benchmarks.baseline_shapes import (
    AVERAGE_OVER,
    ELLIPSOID,
    TRUE_DEPTH,
    as_average,
    average_head,
    ellipsoid_depth,
    seen_from,
)
from gan3d_bench.benchmarks.measure import Settings, Values
from gan3d_bench.benchmarks.rendered import RenderedMeasure
from gan3d_bench.benchmarks.subjects import (
    REFERENCES,
    Error,
    OtherSubjects,
    Shape,
)
from gan3d_bench.datamodules.heads import HeadsDataModule, HeadsDataset
from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.latents import sample_z
from gan3d_bench.geometry.views import View
from gan3d_bench.heads.sampling import NUM_LATENTS, HeadParameters, render_heads
from gan3d_bench.methods.base import Method
from gan3d_bench.rendering.rendering import Rendering


class HeadsMeasure(RenderedMeasure[HeadsDataset]):
    """Base of tables over test heads, whose truth can be rendered at any view and light.

    Args:
        settings: what was asked for.
        image_size: pixels per side.
        train_size: training heads that a baseline uses.
        root: folder of the heads' cache; None is the suite's.
    """

    data = "heads, test"

    def __init__(
        self,
        settings: Settings,
        *,
        image_size: int = 64,
        train_size: int = 1,
        root: Path | None = None,
    ) -> None:
        heads = HeadsDataModule(
            image_size, train_size=train_size, val_size=1, test_size=settings.samples, root=root
        )
        super().__init__(settings, heads)

    def parameters(self, items: Sequence[int]) -> HeadParameters:
        """What makes the pictures of test heads."""
        return self.split("test").parameters[torch.tensor(list(items))]

    @functools.cached_property
    def average(self) -> HeadParameters:
        """The average head."""
        return average_head(self.source.config.seed)

    def baseline_shape(self, row: str, items: Sequence[int]) -> Shape:
        """Depth in the input view of `TRUE_DEPTH`, `MEAN_HEAD` or `ELLIPSOID`, and where it is."""
        heads = self.parameters(items)
        if row == ELLIPSOID:
            outline = self.truth(self.average)["mask"]
            depth = ellipsoid_depth(outline, heads.view)
            return Shape(depth, torch.ones_like(depth))
        shown = heads if row == TRUE_DEPTH else as_average(heads, self.average)
        return self.true_shape(shown)

    def true_shape(self, heads: HeadParameters) -> Shape:
        """Exact depth of heads, and where they are."""
        maps = self.truth(heads)
        return Shape(maps["depth"], (maps["mask"] >= 0.5).to(maps["depth"]))

    def truth(self, heads: HeadParameters) -> dict[str, Tensor]:
        """Render test heads afresh; see `render_heads`."""
        maps = render_heads(heads, self.image_size, self.split("test").config.supersample)
        return {key: value.to(self.settings.device) for key, value in maps.items()}


class SubjectsMeasure(HeadsMeasure):
    """Base of tables that also ask whether a method's shapes are its subjects'."""

    _others: OtherSubjects | None = None

    def protocol(self) -> Mapping[str, Any]:
        return {**super().protocol(), "references": REFERENCES, "average_over": AVERAGE_OVER}

    def begin(self, method: Method, kind: str, items: Sequence[int]) -> None:
        """Take the first subjects to stand in for the others, if they have depth."""
        first = list(items)[:REFERENCES]
        self._others = None
        if len(first) > 1:
            scene = self.scene(method, kind, self.batch(first)["image"])
            if "depth" in scene.capabilities:
                self._others = OtherSubjects(scene, first, self.parameters(first).view)

    def leads(
        self,
        own: Rendering,
        items: Sequence[int],
        view: View,
        heads: HeadParameters,
        target: Tensor,
        error: Error,
    ) -> Values:
        """Compare shapes with others in their place; see `benchmarks.subjects`.

        Args:
            own: B subjects with depth.
            items: their test items.
            view: B views of the scene that show them.
            heads: B true heads at the same moment.
            target: (B, 1, S, S) their depth.
            error: smaller is better.

        Returns:
            as `OtherSubjects.compare`; nothing where there is no other subject.
        """
        if self._others is None:
            return {}
        assert own.depth is not None
        view = view.expand(len(items))
        average = as_average(heads, self.average)
        return self._others.compare(
            Shape(own.depth, own.mask),
            items,
            view,
            heads.view,
            target,
            average=self.true_shape(average).depth,
            average_there=self.true_shape(seen_from(average, view)),
            error=error,
        )


def head_stylecodes(teacher: Generator, latents: Tensor) -> Tensor:
    """Stylecodes (B, w_dim) of heads' latents (B, NUM_LATENTS): the teacher was fitted to these."""
    # it normalises its latents: further entries, which it hardly looks at, fill up the length
    rest = teacher.z_dim - NUM_LATENTS
    rest = sample_z(1, rest, torch.Generator().manual_seed(0)).expand(len(latents), -1)
    room = teacher.z_dim - latents.square().sum(1, keepdim=True)
    rest = F.normalize(rest) * room.clamp(min=0).sqrt()
    return teacher.mapping(torch.cat([latents, rest], 1).to(teacher.w_mean.device))


def turned(heads: HeadParameters, yaw: float, pitch: float = 0.0) -> HeadParameters:
    """The same heads at a yaw and pitch in degrees, upright, where their input views place them."""
    angles = torch.tensor([yaw, pitch, 0.0]).expand_as(heads.angles)
    return replace(heads, angles=angles)


def with_own_light(heads: HeadParameters, before: HeadParameters) -> HeadParameters:
    """Heads whose light has turned with them since `before`: it belongs to the scene, in which the
    camera moves."""
    light = before.light.in_scene(before.view).in_camera(heads.view)
    return replace(heads, light_direction=light.direction)


def before_grey(heads: HeadParameters) -> HeadParameters:
    """The same heads before a plain mid-grey background."""
    return replace(heads, background=torch.zeros_like(heads.background))


def moved(view: View, before: HeadParameters, after: HeadParameters) -> View:
    """A scene's view, turned as its head is turned from `before` to `after`.

    Angles are added: methods are told by how much to turn from the input view, not where their own
    canonical view should lie.
    """
    step = (after.angles - before.angles).to(view.yaw).unbind(1)
    yaw, pitch, roll = (
        own + angle for own, angle in zip((view.yaw, view.pitch, view.roll), step, strict=True)
    )
    return replace(view, yaw=yaw, pitch=pitch, roll=roll)
