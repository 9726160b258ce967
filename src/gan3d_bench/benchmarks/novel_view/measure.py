"""Measures pictures and depth of turned reconstructions against renderings of the true head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.benchmarks.heads import (
    HeadsMeasure,
    before_grey,
    lpips_net,
    moved,
    turned,
    with_own_light,
    within,
)
from gan3d_bench.benchmarks.measure import Settings, Values
from gan3d_bench.faces.aligner import FaceAligner
from gan3d_bench.faces.arcface import ArcFace, cosine_similarity
from gan3d_bench.geometry.views import View
from gan3d_bench.heads.sampling import HeadParameters
from gan3d_bench.methods.base import Method
from gan3d_bench.metrics.depth import SIDE
from gan3d_bench.metrics.images import psnr
from gan3d_bench.metrics.lpips import MeanLPIPS
from gan3d_bench.rendering.rendering import Rendering

VIEWS = (*((yaw, 0) for yaw in (-60, -45, -30, -15, 15, 30, 45, 60)), (0, -20), (0, 20))
"""Yaw and pitch of the true head in degrees."""
INPUT = "Input image, not turned"


class NovelViewMeasure(HeadsMeasure):
    """Turned reconstructions beside the turned truth, over the true subject's pixels.

    The light belongs to the scene and turns with the subject: the camera moves round it.
    """

    baselines = (INPUT,)
    exchangeable = ("identity", "lpips")

    def __init__(self, settings: Settings, **kwargs: Any) -> None:
        super().__init__(settings, **kwargs)
        networks = settings.networks
        self.arcface = ArcFace(networks.get("identity", "arcface-mbf")).to(settings.device)
        self.aligner = FaceAligner()
        self.lpips = MeanLPIPS(lpips_net(networks)).to(settings.device)
        self.side = SIDE()

    def protocol(self) -> Mapping[str, Any]:
        networks = {
            "lpips": self.lpips.name,
            "identity": f"{self.arcface.label}, {self.aligner.label}",
        }
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

        def turn(after: HeadParameters) -> Rendering:
            return scene.render(moved(own, heads, after), image_size=self.image_size)

        return self._measure(heads, turn)

    def baseline(self, row: str, items: Sequence[int]) -> Values:
        image = self.batch(items)["image"]
        whole = torch.ones_like(image[:, :1])
        return self._measure(self.parameters(items), lambda _: Rendering(rgb=image, mask=whole))

    def _measure(self, heads: HeadParameters, turn: Any) -> Values:
        parts: dict[str, list[list[float]]] = {}
        pictures: list[tuple[Tensor, Tensor]] = []
        for yaw, pitch in VIEWS:
            after = before_grey(with_own_light(turned(heads, float(yaw), float(pitch)), heads))
            truth, rendering = self.truth(after), turn(after)
            subject = (truth["mask"] >= 0.5).float()
            real, shown = truth["image"] * subject, within(rendering, subject)
            pictures.append((real, shown))
            values = {
                "psnr": psnr(shown, real, subject),
                "lpips": self.lpips.instances(shown, real),
                "identity": self._identity(shown, real),
            }
            if rendering.depth is not None:
                values["side"] = self.side.instances(
                    rendering.depth, truth["depth"], rendering.mask
                )
            for key, value in values.items():
                parts.setdefault(key, []).append(value.tolist())
                place = f"yaw={yaw}" if pitch == 0 else f"pitch={pitch}"
                parts[f"{key}@{place}"] = [value.tolist()]
        self.keep(pictures)
        return {key: [_mean(column) for column in zip(*rows, strict=True)]
                for key, rows in parts.items()}  # fmt: skip

    def _identity(self, shown: Tensor, real: Tensor) -> Tensor:
        """Cosine per pair; NaN where no face is found in either."""
        aligned = [self.aligner(images) for images in (shown, real)]
        result = torch.full((len(shown),), torch.nan)
        both = aligned[0].found & aligned[1].found
        if both.any():
            kept = [a.images[both[a.found].to(a.images.device)] for a in aligned]
            result[both] = cosine_similarity(*(self.arcface(x) for x in kept)).cpu()
        return result


def _mean(values: Sequence[float]) -> float:
    """Mean over the views that could be compared; NaN if none could."""
    known = [value for value in values if value == value]
    return fmean(known) if known else float("nan")
