"""Fits of a morphable model to the pictures of a data module: a run without networks of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from gan3d_bench.datamodules.base import DataModule, Item, Split, open_data
from gan3d_bench.datamodules.specs import require_data
from gan3d_bench.distributed.processes import from_rank_zero, rank_and_size
from gan3d_bench.errors import UserError, named
from gan3d_bench.faces.fit_summary import FitSummary
from gan3d_bench.faces.head_landmarks import HeadLandmarks
from gan3d_bench.faces.landmark_sources import LandmarkSource, open_landmarks
from gan3d_bench.faces.morphable_fit import FitConfig, MorphableFit, open_space
from gan3d_bench.files.shard_store import ShardStore
from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.methods.mm_fit.config import EXACT, HEADS, MMFitConfig
from gan3d_bench.methods.mm_fit.fitted import FittedFaces, thumbnails
from gan3d_bench.methods.mm_fit.results import overlay, write_results
from gan3d_bench.methods.mm_fit.truth import HeadTruth
from gan3d_bench.methods.phases import Phase, PhasedMethod
from gan3d_bench.scenes.mesh import MeshScene
from gan3d_bench.scenes.preview import Preview

SHOWN = 4  # faces in a preview


class MMFit(PhasedMethod):
    """Pose, shape, albedo and light of every picture, in the weights of a morphable model.

    One phase; in each step every process fits the next shard of pictures that is its own and not
    in the run's folder yet. Shards do not depend on each other, so that a killed run ends in the
    same bits, on any number of processes.

    Raises:
        UserError: the morphable model, or what finds the landmarks, is missing or damaged.
    """

    config: MMFitConfig

    def __init__(self, config: MMFitConfig) -> None:
        super().__init__(config)
        require_data("data", config.data, ("image",), path=("images", config.images))
        with named(f"model={config.model}"):
            self.space = open_space(None if config.model == HEADS else config.model)
        self.exact = config.landmarks == EXACT
        self.known = config.data == config.model == HEADS
        self.source: LandmarkSource = (
            HeadLandmarks(MorphableModel.load_heads(), config.deviation)
            if self.exact
            else open_landmarks(config.landmarks)
        )
        self.faces = FittedFaces(config.count, self.space, self.known, self.exact)
        self.store: ShardStore | None = None
        self._fitter: MorphableFit | None = None

    def phases(self) -> Sequence[Phase]:
        shards = -(-self.count // self.config.shard)
        return [Phase("fits", shards, {}, self._fit_next, end=self._join)]

    @property
    def count(self) -> int:
        """Pictures of the run. Without ``count`` they are looked through, unless a checkpoint has
        told."""
        if not len(self.faces):
            self.faces.resize(len(self._dataset))
        return len(self.faces)

    @cached_property
    def data(self) -> DataModule:
        """Where the pictures come from; nothing is rendered or read until it is needed."""
        config = self.config
        counts: dict[Split, int] = {self._split: config.count} if config.count else {}
        return open_data(
            config.data, config.images, config.image_size, counts=counts, on_bad=config.on_bad
        )

    @property
    def fitter(self) -> MorphableFit:
        """What fits, on this method's device."""
        if self._fitter is None or self._fitter.space.mean.device != self.device:
            config = FitConfig(**asdict(self.config.fit))
            self._fitter = MorphableFit(self.space, config, source=self.source, device=self.device)
        return self._fitter

    def prepare_data(self) -> None:
        """Render the heads that the cache lacks, or look through the pictures; find out where the
        landmarks are on the model."""
        self.data.prepare(self._split)
        if len(self._dataset) < self.count:
            raise UserError(
                f"count={self.count}: {self.config.images or self.config.data} has only "
                f"{len(self._dataset)} pictures"
            )
        self.fitter  # noqa: B018

    def on_fit_start(self) -> None:
        """Open the shards in the run's folder, which process 0 knows."""
        config = self.config
        folder = Path(from_rank_zero(str(self.trainer.default_root_dir)))
        facts = (self.fitter.fingerprint, config.data, config.split, config.image_size)
        key = hashlib.sha256(repr((*facts, config.batch, config.on_bad)).encode()).hexdigest()
        self.store = ShardStore(folder / "fits", key, config.shard)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See `PhasedMethod`; takes as many fits as there are."""
        found = checkpoint.get("state_dict", {}).get("faces.found")
        if not self.config.count and isinstance(found, Tensor) and found.ndim == 1:
            self.faces.resize(len(found))
        super().on_load_checkpoint(checkpoint)

    def extra_metadata(self) -> Mapping[str, Any]:
        return {"model": self.config.model, "landmarks": self.source.label}

    # -- fitting --------------------------------------------------------------------------------

    def _fit_next(self, _: Any) -> Mapping[str, Tensor]:
        assert self.store is not None
        self.store.run(self.count, self._make, most=1)
        # for previews on the way; what others make is there in the end
        items = self.store.shards(self.count)[self.phase_step]
        if self.store.has(items):
            self.faces.put(items, self.store.read(items))
        fits = self.faces.fits(items)
        usable = FitSummary.of(fits.tensors(), self.config.largest_error).usable
        errors = {"landmark_error": fits.landmark_error, "colour_error": fits.colour_error}
        means = {name: error[usable].mean() for name, error in errors.items() if usable.any()}
        return {"usable": usable.float().mean(), **means}

    def _join(self) -> None:
        """Take the fits of all processes together."""
        assert self.store is not None
        self.store.run(self.count, self._make)  # of a run that was moved without its folder
        if rank_and_size()[1] > 1:
            dist.barrier()
        for items in self.store.shards(self.count):
            self.faces.put(items, self.store.read(items))

    def _make(self, items: range) -> dict[str, Tensor]:
        """Fit some pictures, `batch` at a time."""
        batches = [
            items[i : i + self.config.batch] for i in range(0, len(items), self.config.batch)
        ]
        parts = [self._fit_batch([self._dataset[i] for i in batch]) for batch in batches]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _fit_batch(self, items: Sequence[Item]) -> dict[str, Tensor]:
        images = torch.stack([item["image"] for item in items]).to(self.device)
        truth = HeadTruth(items) if self.known else None
        with torch.autocast(self.device.type, enabled=False):
            if isinstance(self.source, HeadLandmarks):
                assert truth is not None
                fit = self.fitter.fit(images, self.source.plane(truth.heads).to(self.device))
            else:
                fit = self.fitter(images)
        made = fit.tensors()
        if truth is not None:
            made |= truth.errors(fit, self.space)
        if self.exact:
            made["thumbnail"] = thumbnails(images)
        return made

    # -- results --------------------------------------------------------------------------------

    def reconstruct(self, images: Tensor) -> MeshScene:
        """Lift faces (B, 3, S, S) in [-1, 1], S as in the config, to the model's whole heads.

        Raises:
            UserError: another image size, no face in an image, or, with exact landmarks, an image
                that the run was not fitted to.
        """
        size = self.config.image_size
        if images.shape[1:] != (3, size, size):
            raise UserError(
                f"mm-fit: images of shape {tuple(images.shape)}; expected (B, 3, {size}, {size})"
            )
        images = images.to(self.device, torch.float32)
        if self.exact:
            fit = self.faces.fits(self.faces.find(images))
        else:
            fit = self.fitter(images)
            missing = (~fit.found).nonzero().flatten().tolist()
            if missing:
                raise UserError(f"mm-fit: no face in image {missing[0]} of {len(images)}")
        return self.fitter.scene(fit, size)

    def items(self) -> list[int] | None:
        """With exact landmarks the test heads it was fitted to; otherwise any image will do."""
        if not self.exact:
            return None
        return list(range(len(self.faces))) if self.config.split == "test" else []

    def preview(self) -> Preview:
        """The first usable faces, what is fitted over them, and their scene."""
        summary = FitSummary.of(self.faces.tensors(), self.config.largest_error)
        numbers = summary.usable.nonzero().flatten()[:SHOWN].tolist()
        if not numbers:
            return Preview()
        # only what is shown is read: a run is looked at without its other pictures
        items = self.data.read(self._split, numbers)
        images = torch.stack([item["image"] for item in items]).to(self.device)
        fit = self.faces.fits(numbers)
        shown = {"input": images, "overlay": overlay(self.fitter, fit, images)}
        return Preview(shown, self.fitter.scene(fit, self.config.image_size))

    def write_results(self, folder: Path) -> None:
        """See `Method.write_results` and `results.write_results`."""
        self.data.prepare(self._split)
        write_results(
            folder, self.faces.tensors(), self.fitter, self._dataset, self.data, self.config
        )

    @property
    def _split(self) -> Split:
        return cast("Split", self.config.split)

    @cached_property
    def _dataset(self) -> Any:
        """The pictures, by number."""
        with named("images" if self.config.images else "data"):
            return self.data.dataset(self._split)
