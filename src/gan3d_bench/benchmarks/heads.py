"""What the tables measured on the synthetic heads' test split share."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from gan3d_bench.benchmarks.baseline_shapes import (
    AVERAGE_OVER,
    ELLIPSOID,
    TRUE_DEPTH,
    as_average,
    average_head,
    ellipsoid_depth,
    seen_from,
)
from gan3d_bench.benchmarks.measure import Measure, Settings, Values
from gan3d_bench.benchmarks.subjects import (
    REFERENCES,
    Error,
    OtherSubjects,
    Shape,
)
from gan3d_bench.datamodules.heads import HeadsDataModule, HeadsDataset
from gan3d_bench.errors import UserError, unknown_name
from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.latents import sample_z
from gan3d_bench.geometry.views import View
from gan3d_bench.heads.sampling import FIELD_OF_VIEW, NUM_LATENTS, HeadParameters, render_heads
from gan3d_bench.losses.perceptual import Net
from gan3d_bench.methods.base import Method
from gan3d_bench.pictures.grids import to_image, unit_range
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.scenes.base import Scene

PICTURED = 4  # heads in a row's picture


class HeadsMeasure(Measure):
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
        super().__init__(settings)
        self.image_size = image_size
        self._pictures: list[Tensor] = []
        self.heads = HeadsDataModule(
            image_size, train_size=train_size, val_size=1, test_size=settings.samples, root=root
        )

    def protocol(self) -> Mapping[str, Any]:
        config = self.heads.config
        return {
            "data": self.data,
            "data_id": self.split("test").folder.parent.name,
            "image_size": self.image_size,
            "seed": config.seed,
            "field_of_view_deg": FIELD_OF_VIEW,
        }

    def items(self) -> list[int]:
        self.heads.prepare_data()
        return list(range(len(self.split("test"))))

    def split(self, name: str) -> HeadsDataset:
        return self.heads.dataset(name)  # type: ignore[arg-type]

    def batch(self, items: Sequence[int]) -> dict[str, Tensor]:
        """The maps of test heads, stacked: image, albedo, normal, depth, mask."""
        chosen = [self.split("test")[item] for item in items]
        keys = ("image", "albedo", "normal", "depth", "mask")
        return {
            key: torch.stack([item[key] for item in chosen]).to(self.settings.device)
            for key in keys
        }

    def parameters(self, items: Sequence[int]) -> HeadParameters:
        """What makes the pictures of test heads."""
        return self.split("test").parameters[torch.tensor(list(items))]

    def scene(self, method: Method, kind: str, images: Tensor) -> Scene:
        """The method's scene of the images, checked to know the view they were taken from.

        Raises:
            UserError: it does not.
        """
        scene = method.row_scene(kind, images)
        if scene.input_view is None:
            raise UserError(
                f"method '{method.config.method}' reconstructs a scene without an input view, "
                "which this table starts from"
            )
        return scene

    def in_input_view(self, scene: Scene, *capabilities: str) -> Rendering:
        """A scene of test heads at their own view.

        Raises:
            UserError: it lacks one of `capabilities`.
        """
        scene.require(*capabilities)
        assert scene.input_view is not None
        return scene.render(scene.input_view, image_size=self.image_size)

    @functools.cached_property
    def average(self) -> HeadParameters:
        """The average head."""
        return average_head(self.heads.config.seed)

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

    def keep(self, pictures: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Keep a batch's pictures for `picture`, if it is the row's first batch.

        Args:
            pictures: for each view or light, the truth and what the row shows, (B, 3, S, S) each.
        """
        if not self._pictures:
            self._pictures = [torch.stack(pair, 1)[:PICTURED].cpu() for pair in pictures]

    def picture(self) -> Image.Image | None:
        """What was kept: for each of the first heads the truth, and below it what the row shows."""
        kept, self._pictures = self._pictures, []
        if not kept:
            return None
        grid = torch.stack(kept, 2).flatten(0, 2)  # heads, truth and row, views
        return to_image(make_grid(unit_range(grid), nrow=len(kept), padding=2))

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


def mean_of(values: Sequence[float]) -> float:
    """Mean of the numbers that are known; NaN if none is."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def lpips_net(networks: Mapping[str, str]) -> Net:
    """The trunk of LPIPS that `Settings.networks` asks for, by default AlexNet.

    Raises:
        UserError: neither ``alex`` nor ``vgg``.
    """
    name = networks.get("lpips", "alex")
    if name not in get_args(Net):
        raise unknown_name("LPIPS network", name, get_args(Net))
    return cast(Net, name)


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


def within(rendering: Rendering, subject: Tensor) -> Tensor:
    """A rendering's picture (B, 3, S, S) where the true subject (B, 1, S, S) is, grey elsewhere.

    Grey too where the scene renders nothing.
    """
    return rendering.rgb * rendering.mask * subject
