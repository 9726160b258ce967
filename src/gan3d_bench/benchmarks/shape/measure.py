"""Measures SIDE and MAD of depth maps on the synthetic heads' test split."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.benchmarks.measure import Measure, Settings, Values
from gan3d_bench.datamodules.heads import HeadsConfig, HeadsDataModule, HeadsDataset
from gan3d_bench.datamodules.heads_sampling import FAR, FIELD_OF_VIEW
from gan3d_bench.errors import UserError
from gan3d_bench.methods.base import Method
from gan3d_bench.metrics.depth import MAD, RELEASED_NORMAL_EPSILON, SIDE


class ShapeMeasure(Measure):
    """Depth in the input view against ground truth, for methods that reconstruct.

    Args:
        settings: what was asked for.
        average_over: training heads whose depth maps are averaged.
        image_size: pixels per side.
        root: folder of the heads' cache; None is the suite's.
    """

    requires = frozenset({"reconstruct", "depth"})
    baselines = (
        "Constant depth",
        "Average ground-truth depth",
        "Average ground-truth depth, subject only",
    )
    data = "heads, test"

    def __init__(
        self,
        settings: Settings,
        *,
        average_over: int = 256,
        image_size: int = 64,
        root: Path | None = None,
    ) -> None:
        super().__init__(settings)
        self.image_size = image_size
        self.heads = HeadsDataModule(
            image_size,
            train_size=average_over,
            val_size=1,
            test_size=settings.samples,
            root=root,
        )
        self.side = SIDE()
        self.mad = MAD(fov=FIELD_OF_VIEW, normal_epsilon=RELEASED_NORMAL_EPSILON)

    def protocol(self) -> Mapping[str, Any]:
        config: HeadsConfig = self.heads.config
        return {
            "data": self.data,
            "data_id": self._split("test").folder.parent.name,
            "image_size": self.image_size,
            "seed": config.seed,
            "field_of_view_deg": FIELD_OF_VIEW,
            "average_over": self.heads.sizes["train"],
            "normals": f"central differences, {RELEASED_NORMAL_EPSILON:g} added to their length",
        }

    def items(self) -> list[int]:
        self.heads.prepare_data()
        return list(range(len(self._split("test"))))

    def method(self, method: Method, kind: str, items: Sequence[int]) -> Values:
        images, target = self._batch(items)
        scene = method.row_scene(kind, images)
        scene.require("depth")
        if scene.input_view is None:
            raise UserError(
                f"method '{method.config.method}' reconstructs a scene without an input view; "
                "table 'shape' compares depth there"
            )
        rendering = scene.render(scene.input_view, image_size=self.image_size)
        assert rendering.depth is not None
        return self._errors(rendering.depth, target, rendering.mask)

    def baseline(self, row: str, items: Sequence[int]) -> Values:
        _, target = self._batch(items)
        if row == "Constant depth":
            depth = torch.ones(())
        else:
            depth = self.average_depth["subject" if row.endswith("subject only") else "all"]
        return self._errors(
            depth.to(target).expand_as(target), target, valid=torch.ones_like(target)
        )

    @functools.cached_property
    def average_depth(self) -> dict[str, Tensor]:
        """Means (1, S, S) of the training depth maps.

        ``all``: of the maps as they are, background at the far plane. ``subject``: over the heads
        that cover a pixel; the far plane where none does. Silhouettes move with the view, so that
        near them the first is a blend with the background.
        """
        data = self._split("train")
        total, covered, heads = torch.zeros(3, 1, self.image_size, self.image_size).double()
        for index in range(len(data)):
            depth = data[index]["depth"].double()
            total += depth
            covered += torch.where(depth < FAR, depth, 0.0)
            heads += depth < FAR
        subject = torch.where(heads > 0, covered / heads, FAR)
        return {"all": (total / len(data)).float(), "subject": subject.float()}

    def _split(self, split: str) -> HeadsDataset:
        return self.heads.dataset(split)  # type: ignore[arg-type]

    def _batch(self, items: Sequence[int]) -> tuple[Tensor, Tensor]:
        chosen = [self._split("test")[item] for item in items]
        images, depth = (torch.stack([item[key] for item in chosen]) for key in ("image", "depth"))
        return images.to(self.settings.device), depth.to(self.settings.device)

    def _errors(self, depth: Tensor, target: Tensor, valid: Tensor) -> Values:
        return {
            "side": self.side.instances(depth, target, valid).tolist(),
            "mad": self.mad.instances(depth, target, valid).tolist(),
        }
