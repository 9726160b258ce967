"""Phase 1: stylecodes and the 3DMM coefficients fitted to the teacher's pictures of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property

import torch
from torch import Tensor

from gan3d_bench.assets.store import cache_dir
from gan3d_bench.errors import UserError
from gan3d_bench.faces.fit_summary import FitSummary
from gan3d_bench.faces.head_landmarks import HeadLandmarks
from gan3d_bench.faces.landmark_sources import LandmarkSource, open_landmarks
from gan3d_bench.faces.morphable_fit import FaceFit, FitConfig, MorphableFit
from gan3d_bench.files.shard_store import ShardStore
from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.latents import numbered_z
from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.heads.sampling import NUM_LATENTS, sample_heads
from gan3d_bench.methods.uv3dmm.coefficients import Coefficients
from gan3d_bench.methods.uv3dmm.config import UV3DMMConfig

SHARD = 64  # pairs a file
LEAST = 16  # usable pairs that F3D can be trained on
EXACT = "exact"


class Pairs:
    """Stylecodes by number, their pictures, and the fits, kept in the cache folder.

    Runs of the same teacher, model and settings share them: ablations do not fit again.

    Args:
        config: of the run.
        generator: the teacher.
        styles: latents (N, z_dim) to its stylecodes (N, w_dim), truncated.
        teacher: identifies it wholly.
        model: the morphable model.
    """

    def __init__(
        self,
        config: UV3DMMConfig,
        generator: Generator,
        styles: Callable[[Tensor], Tensor],
        teacher: str,
        model: MorphableModel,
    ) -> None:
        self.config, self.generator, self.styles = config, generator, styles
        self.teacher, self.model = teacher, model
        if config.pairs.landmarks == EXACT and generator.z_dim < NUM_LATENTS:
            raise UserError(
                f"pairs.landmarks=exact: teacher={config.teacher} has latents of "
                f"{generator.z_dim} numbers, expected those of heads (at least {NUM_LATENTS})"
            )

    @cached_property
    def fit(self) -> MorphableFit:
        """The fitter, with its landmarks; opens their networks."""
        pairs, exact = self.config.pairs, self.config.pairs.landmarks == EXACT
        settings = FitConfig(
            image_size=pairs.image_size,
            steps=pairs.steps,
            looseness=1.0 if exact else FitConfig.looseness,
        )
        source: LandmarkSource = (
            HeadLandmarks(self.model) if exact else open_landmarks(pairs.landmarks)
        )
        device = self.generator.w_mean.device
        return MorphableFit(self.model, settings, source=source, device=device)

    @cached_property
    def store(self) -> ShardStore:
        """Where they are kept."""
        config = self.config
        known = (self.teacher, config.truncation, config.pairs.batch, self.fit.fingerprint)
        name = hashlib.sha256(" ".join(map(str, known)).encode()).hexdigest()[:16]
        return ShardStore(cache_dir() / "style-fits" / name, name, SHARD)

    @property
    def shards(self) -> int:
        """Files, one a step of the phase."""
        return -(-self.config.pairs.count // SHARD)

    def make_shard(self, step: int) -> Mapping[str, Tensor]:
        """Fit the next shard of this process's that is missing; return what to log.

        That is of the shard that one process would make at this step, whether it was there
        already or not, so that runs that find pairs in the cache log the same.
        """
        count = self.config.pairs.count
        self.store.run(count, self._make, most=1)
        shown = self.store.shards(count)[step]
        if not self.store.has(shown):
            return {}
        fits = self.store.read(shown)
        usable = FitSummary.of(fits).usable
        return {
            "usable": usable.float().mean(),
            "landmark_error": fits["landmark_error"][usable].mean(),
            "colour_error": fits["colour_error"][usable].mean(),
        }

    @torch.no_grad()
    def _make(self, items: range) -> dict[str, Tensor]:
        """Stylecodes and fits of some numbers."""
        size, parts, codes = self.config.pairs.batch, [], []
        for start in range(items.start, items.stop, size):
            numbers = range(start, min(start + size, items.stop))
            z = numbered_z("train", numbers, self.generator.z_dim)
            w = self.styles(z)
            images = self.generator.synthesis(w).float().clamp(-1, 1)
            parts.append(self._fitted(images, z))
            codes.append(w)
        return {"w": torch.cat(codes), **FaceFit.join(parts).tensors()}

    def _fitted(self, images: Tensor, z: Tensor) -> FaceFit:
        source = self.fit.source
        if isinstance(source, HeadLandmarks):
            return self.fit.fit(images, source.plane(sample_heads(head_part(z)).to(images.device)))
        return self.fit(images)

    def stylecodes(self, items: range) -> Tensor:
        """Stylecodes (N, w_dim) of a shard, whether their fits can be used or not."""
        return self.store.read(items)["w"].to(self.generator.w_mean.device)

    # -- what is trained on ---------------------------------------------------------------------

    @cached_property
    def summary(self) -> FitSummary:
        """Which fits can be used; once all are there."""
        return FitSummary.of(self._all)

    @cached_property
    def _all(self) -> dict[str, Tensor]:
        return self.store.load(self.config.pairs.count)

    @cached_property
    def _usable(self) -> tuple[Tensor, Tensor]:
        """Stylecodes (N, w_dim) and packed coefficients (N, K + 33) of fits that can be used.

        Raises:
            UserError: too few of them.
        """
        chosen = self.summary.usable
        if chosen.sum() < LEAST:
            raise UserError(
                f"pairs.count={self.config.pairs.count}: {self.summary}; expected at "
                f"least {LEAST} usable"
            )
        fits = {name: value[chosen] for name, value in self._all.items()}
        return fits["w"], Coefficients.of_fit(fits).pack()

    @property
    def train(self) -> tuple[Tensor, Tensor]:
        """Stylecodes and coefficients that F3D is trained on, on the CPU."""
        w, packed = self._usable
        return w[: -self._held_out], packed[: -self._held_out]

    @property
    def train_numbers(self) -> Tensor:
        """Numbers (N,) of the pairs of `train`, in their order."""
        return self.summary.usable.nonzero()[: -self._held_out, 0]

    @property
    def held_out(self) -> tuple[Tensor, Tensor]:
        """Those that it is not trained on: the last."""
        w, packed = self._usable
        return w[-self._held_out :], packed[-self._held_out :]

    @property
    def _held_out(self) -> int:
        return max(2, round(self.config.pairs.held_out * len(self._usable[0])))


def head_part(z: Tensor) -> Tensor:
    """Latents (B, NUM_LATENTS) of the heads that a teacher of heads makes of z (B, z_dim).

    It normalises z to the length of a standard normal's before anything else.
    """
    return torch.nn.functional.normalize(z)[:, :NUM_LATENTS] * z.shape[1] ** 0.5
