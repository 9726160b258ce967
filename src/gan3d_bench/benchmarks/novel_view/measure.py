"""Measures pictures and depth of turned reconstructions against renderings of the true head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.benchmarks.baseline_shapes import (
    ELLIPSOID,
    MEAN_HEAD,
    TRUE_DEPTH,
    as_average,
)
from gan3d_bench.benchmarks.heads import (
    SubjectsMeasure,
    before_grey,
    moved,
    turned,
    with_own_light,
)
from gan3d_bench.benchmarks.measure import Settings, Values
from gan3d_bench.benchmarks.rendered import lpips_net, mean_of, within
from gan3d_bench.faces.identity_pairs import IdentityPairs
from gan3d_bench.geometry.views import View
from gan3d_bench.heads.sampling import FAR, FIELD_OF_VIEW, NEAR, HeadParameters
from gan3d_bench.methods.base import Method
from gan3d_bench.metrics.depth import SIDE, filled, left_out
from gan3d_bench.metrics.images import psnr
from gan3d_bench.metrics.lpips import MeanLPIPS
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.scenes.input_depth import InputDepthScene

VIEWS = (*((yaw, 0) for yaw in (-60, -45, -30, -15, 15, 30, 45, 60)), (0, -20), (0, 20))
"""Yaw and pitch of the true head in degrees."""
INPUT = "Input image, not turned"
MEAN_HEAD_TEXTURED = "Mean head, true view, image as texture"

Turn = Callable[[HeadParameters], tuple[Rendering, View]]
"""Heads in a new view -> what a row shows for them, and the view of its scene."""


class NovelViewMeasure(SubjectsMeasure):
    """Turned reconstructions beside the turned truth, over the true subject's pixels.

    The light belongs to the scene and turns with the subject: the camera moves round it.
    """

    baselines = (INPUT, TRUE_DEPTH, ELLIPSOID, MEAN_HEAD_TEXTURED, MEAN_HEAD)
    exchangeable = ("identity", "lpips")

    def __init__(self, settings: Settings, **kwargs: Any) -> None:
        super().__init__(settings, **kwargs)
        networks = settings.networks
        self.identity = IdentityPairs(networks.get("identity", "arcface-mbf")).to(settings.device)
        self.lpips = MeanLPIPS(lpips_net(networks)).to(settings.device)
        self.side = SIDE()

    def protocol(self) -> Mapping[str, Any]:
        networks = {"lpips": self.lpips.name, "identity": self.identity.label}
        return {
            **super().protocol(),
            "views": [list(v) for v in VIEWS],
            "light": "the scene's, turns with the subject",
            "networks": networks,
        }

    def method(self, method: Method, kind: str, items: Sequence[int]) -> Values:
        scene = self.scene(method, kind, self.batch(items)["image"])
        heads = self.parameters(items)
        assert scene.input_view is not None
        own: View = scene.input_view

        def turn(after: HeadParameters) -> tuple[Rendering, View]:
            view = moved(own, heads, after)
            return scene.render(view, image_size=self.image_size), view

        return self._measure(items, heads, turn, compared=True)

    def baseline(self, row: str, items: Sequence[int]) -> Values:
        """The input image as it is, or shapes that are told the true view.

        These are surfaces in the input view with the image on it, moved as the head truly moves;
        `MEAN_HEAD` is an average person instead, in the true light.
        """
        heads, image = self.parameters(items), self.batch(items)["image"]
        whole = torch.ones_like(image[:, :1])
        front = View.from_angles([0.0] * len(items))
        if row == INPUT:
            return self._measure(items, heads, lambda _: (Rendering(image, whole), front))
        if row == MEAN_HEAD:
            return self._measure(items, heads, lambda after: (self._average_person(after), front))
        shape = MEAN_HEAD if row == MEAN_HEAD_TEXTURED else row
        depth = self.baseline_shape(shape, items).depth
        scene = InputDepthScene(image, depth, (NEAR, FAR), FIELD_OF_VIEW)

        def turn(after: HeadParameters) -> tuple[Rendering, View]:
            view = View.between(heads.view, after.view)
            return scene.render(view, image_size=self.image_size), view

        return self._measure(items, heads, turn)

    def _average_person(self, heads: HeadParameters) -> Rendering:
        maps = self.truth(as_average(heads, self.average))
        inside = (maps["mask"] >= 0.5).to(maps["depth"])
        return Rendering(rgb=maps["image"], mask=inside, depth=maps["depth"])

    def _measure(
        self, items: Sequence[int], heads: HeadParameters, turn: Turn, *, compared: bool = False
    ) -> Values:
        """Measure a row; `compared` with other subjects' shapes where it is a method's."""
        parts: dict[str, list[list[float]]] = {}
        pictures: list[tuple[Tensor, Tensor]] = []
        for yaw, pitch in VIEWS:
            after = before_grey(with_own_light(turned(heads, float(yaw), float(pitch)), heads))
            truth, (rendering, view) = self.truth(after), turn(after)
            subject = (truth["mask"] >= 0.5).float()
            real, shown = truth["image"] * subject, within(rendering, subject)
            pictures.append((real, shown))
            values = {
                "psnr": psnr(shown, real, subject),
                "lpips": self.lpips.instances(shown, real),
                "identity": self.identity(shown, real),
                "left_out": left_out(rendering.mask, subject),
            }
            found = {key: value.tolist() for key, value in values.items()}
            if rendering.depth is not None:
                depth = filled(rendering.depth, rendering.mask)
                error = self.side.instances
                found["side"] = error(depth, truth["depth"], torch.ones_like(depth)).tolist()
                if compared:
                    found |= self.leads(rendering, items, view, after, truth["depth"], error)
            for key, value in found.items():
                parts.setdefault(key, []).append(value)
                place = f"yaw={yaw}" if pitch == 0 else f"pitch={pitch}"
                parts[f"{key}@{place}"] = [value]
        self.keep(pictures)
        return {key: [mean_of(column) for column in zip(*rows, strict=True)]
                for key, rows in parts.items()}  # fmt: skip
