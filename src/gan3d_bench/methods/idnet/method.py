"""Training of the identity network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.datamodules.base import DataModule, open_data
from gan3d_bench.datamodules.images import ImageFolderDataModule
from gan3d_bench.distributed.batch_norm import share_statistics
from gan3d_bench.distributed.processes import rank_and_size
from gan3d_bench.errors import UserError, named
from gan3d_bench.faces.resnet_embedding import ResNetEmbedding, dropout_factors
from gan3d_bench.methods.idnet.config import HEADS, IdentityConfig
from gan3d_bench.methods.idnet.data import FolderPeople, HeadPeople, ModulePeople, People
from gan3d_bench.methods.idnet.losses import MarginLoss
from gan3d_bench.methods.idnet.verification import verification
from gan3d_bench.methods.phases import Phase, PhasedMethod, Trainable
from gan3d_bench.rendering.images import resize
from gan3d_bench.scenes.preview import Preview
from gan3d_bench.schedules import warmed_cosine

SHOWN = (4, 4)  # people and pictures of each in a preview
MOMENTUM = 0.9
CELL = 8  # pixels a side of one cosine in it


Batch = dict[str, Tensor]
"""``image`` (B, 3, S, S), ``person`` (B,) and, with dropout, ``keep`` (B, F): see
`ResNetEmbedding`."""


class IdentityNetwork(PhasedMethod):
    """Learns embeddings in which pictures of one person lie together, by CosFace or ArcFace.

    Makes no scenes: its run is what `faces.embeddings.build_identity` takes.
    """

    config: IdentityConfig

    def __init__(self, config: IdentityConfig) -> None:
        super().__init__(config)
        loss = config.losses
        self.network = ResNetEmbedding(config.image_size, config.width, config.dimensions)
        share_statistics(self.network)
        self.head = MarginLoss(
            loss.kind, config.people.train, config.dimensions, loss.margin, loss.scale
        )

    def phases(self) -> Sequence[Phase]:
        config = self.config

        def rate(step: int) -> float:
            return warmed_cosine(step, config.steps, config.lr_end, config.warmup + 1)

        options = {"lr": config.lr, "weight_decay": config.weight_decay}
        optimizer = partial(torch.optim.AdamW, **options)
        if config.optimizer == "sgd":
            optimizer = partial(torch.optim.SGD, momentum=MOMENTUM, **options)
        return [
            Phase(
                "identity",
                config.steps,
                {"all": Trainable(("network", "head"), optimizer, rate)},
                self._train_step,
                end=self._validate,
                batches=self._train_batches,
            )
        ]

    def prepare_data(self) -> None:
        """Render the pictures that the cache lacks; look whether a folder has enough people."""
        if self.config.data != HEADS:
            module = self.module
            with named("images"):
                for split in ("train", "val"):
                    module.prepare(split)
        for people in (self.train_people, self.val_people):
            if isinstance(people, HeadPeople):
                people.prepare()

    @cached_property
    def module(self) -> DataModule:
        """The data module that gives people, or pictures in a folder for each."""
        config = self.config
        with named("images"):
            return open_data(
                config.data,
                config.images,
                config.image_size,
                seed=config.people.seed,
                on_bad=config.on_bad,
            )

    @cached_property
    def train_people(self) -> People:
        """People to learn."""
        people = self.config.people
        return self._people("train", 0, people.train, people.pictures)

    @cached_property
    def val_people(self) -> People:
        """People held out."""
        people = self.config.people
        return self._people("val", people.train, people.val, people.val_pictures)

    def _people(self, split: Any, first: int, people: int, pictures: int) -> People:
        config = self.config
        key = f"images={config.images!r}" if config.images else f"data={config.data}"
        if config.data == HEADS:
            return HeadPeople(split, people, pictures, config.image_size, config.people.seed)
        if isinstance(self.module, ImageFolderDataModule):
            return FolderPeople(self.module.everything(), first, people, pictures, key)
        return ModulePeople(self.module, split, people, pictures, key)

    def preview(self) -> Preview:
        """Show pictures of people held out, and the cosines between all of them.

        A cosine of 1 is white, of -1 black; pictures of one person stand together.
        """
        count, pictures = SHOWN
        if self.config.data == HEADS:
            settings = self.config
            people = HeadPeople("val", count, pictures, settings.image_size, settings.people.seed)
            images = people.render(range(count * pictures))
        else:
            images = self.val_people.read(range(min(count * pictures, len(self.val_people.person))))
        images = images.to(self.device)
        embeddings = self.network(images)
        cosine = (embeddings @ embeddings.T).clamp(-1, 1)[None, None]
        shown = F.interpolate(cosine, scale_factor=CELL).expand(-1, 3, -1, -1)
        return Preview({"input": images, "similarity": shown})

    def extra_metadata(self) -> Mapping[str, Any]:
        parameters = sum(p.numel() for p in self.network.parameters())
        return {"network": f"ResNet of 18 layers, {parameters} parameters"}

    # -- training -------------------------------------------------------------------------------

    def _train_batches(self, start: int) -> Iterator[Batch]:
        people, config = self.train_people, self.config
        if config.batch < rank_and_size()[1]:
            raise UserError(f"batch={config.batch}: expected at least one picture a process")
        step = start
        while True:
            rng = self.rng("batch", step)
            drawn = torch.randint(len(people.person), (config.batch,), generator=rng)
            chance = torch.rand(2, config.batch, generator=rng)
            own = self.share(drawn)
            batch = {"person": people.person[own].to(self.device)}
            if config.dropout:
                features = self.network.num_features
                keep = dropout_factors(config.batch, features, config.dropout, rng)
                batch["keep"] = self.share(keep).to(self.device)
            mirrored, softened = (
                self.share(row < part).to(self.device)
                for row, part in zip(chance, (config.mirror, config.soften), strict=True)
            )
            images = people.read(own.tolist()).to(self.device)
            yield {"image": augment(images, mirrored, softened), **batch}
            step += 1

    def _train_step(self, batch: Batch) -> Mapping[str, Tensor]:
        embeddings = self.network(batch["image"], batch.get("keep"))
        loss, right = self.head(embeddings, batch["person"])
        # every process's loss counts alike, see `SharedBatchNorm`
        share = len(embeddings) * rank_and_size()[1] / self.config.batch
        kind = self.config.losses.kind
        self.descend({kind: share * loss})
        return {kind: loss.detach(), "accuracy": right}

    def _validate(self) -> None:
        """Log how people held out are told apart; their pictures are shared by the processes."""
        row = self.measure(self.val_people)
        for logger in self.loggers:
            logger.log_metrics({f"val/{key}": value for key, value in row.items()}, step=self.step)

    def measure(self, people: People) -> dict[str, float]:
        """Return the numbers of `verification` for all pictures of some people."""
        return verification(self.embed(people), people.person, people.yaw)

    @torch.no_grad()
    def embed(self, people: People) -> Tensor:
        """Return the embeddings (N, D) of all pictures of some people, on every process."""
        training = self.network.training
        self.network.eval()
        found = torch.zeros(len(people.person), self.config.dimensions, device=self.device)
        mine = self.share(range(len(people.person)))
        for start in range(0, len(mine), self.config.batch):
            indices = mine[start : start + self.config.batch]
            images = people.read(indices).to(self.device)
            found[list(indices)] = self.network(images).float()
        self.network.train(training)
        if rank_and_size()[1] > 1:
            dist.all_reduce(found)
        return found


def augment(images: Tensor, mirrored: Tensor, softened: Tensor) -> Tensor:
    """Mirror and soften some pictures.

    Softened ones, shrunk to half and enlarged again, are as blurred as what generators and
    renderers make: sharpness must not tell people apart.

    Args:
        images: (B, 3, S, S), S even.
        mirrored, softened: (B,) which.
    """
    soft = resize(resize(images, images.shape[-1] // 2), images.shape[-1])
    images = torch.where(softened[:, None, None, None], soft, images)
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)
