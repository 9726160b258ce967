"""Measures FID and KID of sampled images to real ones, in constant memory."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.assets.store import asset_path
from gan3d_bench.benchmarks.heads import HeadsMeasure
from gan3d_bench.benchmarks.measure import Settings, Values
from gan3d_bench.benchmarks.processes import Processes
from gan3d_bench.benchmarks.results import Estimate
from gan3d_bench.errors import UserError
from gan3d_bench.generators.latents import sample_z
from gan3d_bench.generators.stylegan2 import Generator, load_generator
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.base import Method
from gan3d_bench.metrics.feature_cache import cached_features
from gan3d_bench.metrics.fid import ImageSetDistance
from gan3d_bench.metrics.inception import InceptionFeatures
from gan3d_bench.rendering.images import resize
from gan3d_bench.scenes.base import Scene

REAL = 1024  # about two minutes of Inception on two cores, once
HELD_OUT, TEACHER_ROW = "Held-out heads", "Bundled StyleGAN2 teacher"
TEACHER = "heads-teacher-64"
SCALE = {"fid": 1.0, "kid": 1e3}  # KID is printed in thousandths


class FIDMeasure(HeadsMeasure):
    """Sampled subjects, each at the view of a test head, against images of the train split.

    Args:
        settings: what was asked for.
        real: number of real images.
        features: the network; None opens the asset ``inception-fid``.
        others: of `HeadsMeasure`.

    Raises:
        UserError: fewer than two samples; the asset is missing or damaged.
    """

    baselines = (HELD_OUT, TEACHER_ROW)
    data = "heads, train"

    def __init__(
        self,
        settings: Settings,
        *,
        real: int = REAL,
        features: InceptionFeatures | None = None,
        **others: Any,
    ) -> None:
        super().__init__(settings, train_size=real, **others)
        if settings.samples < 2:
            raise UserError(f"samples={settings.samples}: table 'fid' needs 2 or more")
        self.features = (features or InceptionFeatures()).to(settings.device)
        self.distance = ImageSetDistance(self.features)

    def protocol(self) -> Mapping[str, Any]:
        network = self.features.variant
        return {
            **super().protocol(),
            "real_images": self.source.sizes["train"],
            "networks": {"fid": network, "kid": network},
        }

    def method(self, method: Method, kind: str, items: Sequence[int]) -> Values:
        views = self.parameters(items).view.to(self.settings.device)
        scenes = [method.sample(1, seeded(item)) for item in items]
        shown = [self._shown(scene, views[index]) for index, scene in enumerate(scenes)]
        return self._add(torch.cat(shown))

    def _shown(self, scene: Scene, view: View) -> Tensor:
        """A subject at a view (of one); pasted into its own picture where it belongs into one."""
        if scene.background is None or scene.input_view is None:
            return scene.render(view, image_size=self.image_size).rgb
        seen = scene.render(scene.input_view, image_size=self.image_size)
        return seen.over(resize(scene.background, self.image_size))

    def baseline(self, row: str, items: Sequence[int]) -> Values:
        if row == HELD_OUT:
            return self._add(self.batch(items)["image"])
        z = torch.cat([sample_z(1, self.teacher.z_dim, seeded(item)) for item in items])
        images = self.teacher.synthesis(self.teacher.mapping(z.to(self.settings.device)))
        return self._add(resize(images.clamp(-1, 1), self.image_size))

    @functools.cached_property
    def teacher(self) -> Generator:
        """The bundled generator of heads."""
        path = asset_path(TEACHER) / "generator.safetensors"
        return load_generator(path).to(self.settings.device)

    def _add(self, images: Tensor) -> Values:
        features = self.features(images.to(self.settings.device))
        self.distance.add_features(features.cpu(), real=False)
        return {}  # there is nothing to say of a single image

    def sets(self) -> dict[str, Estimate]:
        if Processes.detect().rank == 0:
            self.distance.add_features(self.real_features, real=True)
        found = self.distance.compute().sets()
        self.distance = ImageSetDistance(self.features)
        return {
            key: _estimate(value, SCALE[key])
            for key, value in found.items()
            if not math.isnan(value["mean"])  # KID of more images than it keeps
        }

    @functools.cached_property
    def real_features(self) -> Tensor:
        """Features (N, D) of the real images; computed once and kept in the cache folder."""
        data = self.split("train")

        def images() -> Iterator[Tensor]:
            for start in range(0, len(data), self.settings.batch_size):
                stop = min(start + self.settings.batch_size, len(data))
                yield torch.stack([data[index]["image"] for index in range(start, stop)])

        root = self.source.root
        return cached_features(
            f"heads {data.folder.parent.name} train {len(data)}",
            images,
            self.features,
            folder=root and root / "statistics",
        )


def seeded(item: int) -> torch.Generator:
    """The source of randomness of sample `item`, the same for every method."""
    digest = hashlib.sha256(f"fid/{item}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def _estimate(value: Mapping[str, float], scale: float) -> Estimate:
    mean, error = scale * value["mean"], scale * value["standard_error"]
    return Estimate(mean, error, int(value["count"]))
