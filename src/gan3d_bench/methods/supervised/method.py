"""Training and use of the supervised depth network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.datamodules.base import DataModule, Item, Split, open_data
from gan3d_bench.distributed.processes import rank_and_size
from gan3d_bench.errors import UserError
from gan3d_bench.heads.sampling import FAR, FIELD_OF_VIEW, NEAR
from gan3d_bench.methods.phases import Phase, PhasedMethod, Trainable
from gan3d_bench.methods.supervised.config import NEEDS, SupervisedConfig
from gan3d_bench.methods.supervised.losses import depth_losses
from gan3d_bench.methods.supervised.networks import DepthNetwork
from gan3d_bench.metrics.depth import MAD, SIDE
from gan3d_bench.scenes.input_depth import InputDepthScene
from gan3d_bench.scenes.preview import Preview
from gan3d_bench.schedules import cosine

Batch = dict[str, Tensor]


class Supervised(PhasedMethod):
    """Regresses the depth map of an image, in its own view, from ground truth.

    The upper bound of table `shape`: row (1) of Table 1 of GAN2Shape.
    """

    config: SupervisedConfig

    def __init__(self, config: SupervisedConfig) -> None:
        super().__init__(config)
        self.network = DepthNetwork(config.image_size, config.channels, NEAR, FAR)

    def phases(self) -> Sequence[Phase]:
        config = self.config

        rate = partial(cosine, steps=config.steps, end=config.lr_end)
        adam = partial(torch.optim.Adam, lr=config.lr)
        return [
            Phase(
                "depth",
                config.steps,
                {"network": Trainable(("network",), adam, rate)},
                self._train_step,
                end=self._validate,
                batches=self._train_batches,
            )
        ]

    def prepare_data(self) -> None:
        """Render the heads that the cache lacks, or look through the pictures."""
        for split in ("train", "val"):
            self.data.prepare(split)

    @cached_property
    def data(self) -> DataModule:
        """What is learnt from; nothing is rendered or read until it is needed."""
        data = self.config.data
        counts: dict[Split, int] = {"train": data.train, "val": data.val}
        size = self.config.image_size
        return open_data(
            data.name,
            data.path,
            size,
            counts=counts,
            seed=data.seed,
            on_bad=data.on_bad,
            on_bad_key="data.on_bad",
        )

    def reconstruct(self, images: Tensor) -> InputDepthScene:
        """Lift `images` (B, 3, S, S) in [-1, 1], S as in the config.

        Raises:
            UserError: another image size.
        """
        size = self.config.image_size
        if images.shape[1:] != (3, size, size):
            raise UserError(
                f"supervised: images of shape {tuple(images.shape)}; "
                f"expected (B, 3, {size}, {size})"
            )
        images = images.to(self.device)
        return InputDepthScene(images, self.network(images), (NEAR, FAR), FIELD_OF_VIEW)

    def preview(self) -> Preview:
        """Show the first images of the val split, and their true depth."""
        # only what is shown is read: a run is looked at without its training data
        batch = self._stack(self.data.read("val", range(min(4, self.config.data.val))))
        scene = self.reconstruct(batch["image"])
        truth, predicted = (_shown(x) for x in (batch["depth"], scene.depth))
        return Preview({"input": batch["image"], "truth": truth, "depth": predicted}, scene)

    def extra_metadata(self) -> Mapping[str, Any]:
        parameters = sum(p.numel() for p in self.network.parameters())
        return {"network": f"encoder-decoder with skip connections, {parameters} parameters"}

    # -- training -------------------------------------------------------------------------------

    def _train_batches(self, start: int) -> Iterator[Batch]:
        data, config = self.data.dataset("train"), self.config
        if config.batch < rank_and_size()[1]:
            raise UserError(f"batch={config.batch}: expected at least one image a process")
        step = start
        while True:
            generator = self.rng("batch", step)
            drawn = torch.randint(len(data), (config.batch,), generator=generator)
            mirror = torch.rand(config.batch, generator=generator) < 0.5
            mine, flip = self.share((drawn, mirror))
            batch = self._load("train", mine.tolist())
            flip = flip.to(self.device)[:, None, None, None]
            self.gradient_weight = len(flip) / config.batch
            yield {key: torch.where(flip, maps.flip(3), maps) for key, maps in batch.items()}
            step += 1

    def _train_step(self, batch: Batch) -> Mapping[str, Tensor]:
        weights = self.config.losses
        depth, target = self.network(batch["image"]), batch["depth"]
        # images without a subject do not occur; pixels at the far plane are background
        losses = depth_losses(depth, target, (target < FAR).float(), unit=(FAR - NEAR) / 2)
        return self.descend({name: getattr(weights, name) * v for name, v in losses.items()})

    def _validate(self) -> None:
        """Log SIDE and MAD on the val images, shared out among the processes."""
        side, mad = SIDE().to(self.device), MAD(fov=FIELD_OF_VIEW).to(self.device)
        mine = self.share(range(len(self.data.dataset("val"))))
        for start in range(0, len(mine), self.config.batch):
            batch = self._load("val", mine[start : start + self.config.batch])
            depth = self.network(batch["image"])
            for metric in (side, mad):
                metric.update(depth, batch["depth"], torch.ones_like(depth))
        row = {"val/side": side.compute()["mean"].item(), "val/mad": mad.compute()["mean"].item()}
        for logger in self.loggers:
            logger.log_metrics(row, step=self.step)

    def _load(self, split: Split, indices: Sequence[int]) -> Batch:
        data = self.data.dataset(split)
        return self._stack([data[index] for index in indices])

    def _stack(self, items: Sequence[Item]) -> Batch:
        return {key: torch.stack([item[key] for item in items]).to(self.device) for key in NEEDS}


def _shown(depth: Tensor) -> Tensor:
    """Depth as a picture: (B, 3, H, W) in [-1, 1], near is white."""
    return (1 - 2 * (depth - NEAR) / (FAR - NEAR)).clamp(-1, 1).expand(-1, 3, -1, -1)
