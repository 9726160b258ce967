"""Training of the encoder: every refinement has its own losses and backward pass (ReStyle)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gan3d_bench.distributed.processes import mean_over_processes, rank_and_size
from gan3d_bench.errors import UserError, named
from gan3d_bench.faces.embeddings import build_identity
from gan3d_bench.faces.identity_files import read_irse
from gan3d_bench.generators.eg3d.cameras import mirrored
from gan3d_bench.generators.eg3d.generator import EG3DGenerator
from gan3d_bench.generators.eg3d.volume import Jitter
from gan3d_bench.generators.encoders import Ranger
from gan3d_bench.generators.latents import w_statistics
from gan3d_bench.generators.names import teacher_hash
from gan3d_bench.losses.perceptual import build_perceptual
from gan3d_bench.losses.similarity import SimilarityLoss
from gan3d_bench.methods.phases import Phase, PhasedMethod, Trainable
from gan3d_bench.methods.wtri.camera_network import CameraNetwork
from gan3d_bench.methods.wtri.codes import CodeSpace
from gan3d_bench.methods.wtri.config import CameraConfig, WarmUpConfig, WTriConfig
from gan3d_bench.methods.wtri.data import PosedPictures
from gan3d_bench.methods.wtri.inverter import Encoder, Inverter, load_eg3d
from gan3d_bench.methods.wtri.known_pictures import KnownPairs, KnownPictures, subject_codes
from gan3d_bench.methods.wtri.linear import LinearInverter
from gan3d_bench.methods.wtri.losses import Pairs, Reconstruction, code_distance, w_norm
from gan3d_bench.methods.wtri.offsets import PlaneOffsets
from gan3d_bench.schedules import cosine

START_SAMPLES = 10_000
RANGE_PICTURES = 1024  # whose cameras say where cameras lie


class Batch(NamedTuple):
    """Attributes: pictures (B, 3, S, S), as the encoder sees them, and cameras (B, 25)."""

    targets: Tensor
    cameras: Tensor


class WTriTraining(PhasedMethod):
    """Networks, losses and phases of the encoder.

    Attributes:
        encoder: E.
        offsets: adds to the planes; None without ``offsets.width``.
        camera: tells the cameras of pictures that come without.
        linear: the trivial inverter, beside which the encoder is measured; None without a warm-up,
            whose pictures it learns from.
        start: (count, w_dim) codes of the average subject.

    Raises:
        UserError: the teacher is missing, damaged, no EG3D or of another size; a network's file is.
    """

    config: WTriConfig
    start: Tensor

    def __init__(self, config: WTriConfig) -> None:
        super().__init__(config)
        self.frozen["generator"] = load_eg3d(config)
        generator, own = self.generator, config.encoder
        self.space = CodeSpace(config.codes, generator.num_ws)
        self.encoder = Encoder(self.space, generator.w_dim, own)
        if own.weights:
            with named("encoder.weights"):
                self.encoder.take(read_irse(Path(own.weights)), self.rng("first convolution", 0))
        planes = generator.config.backbone
        self.offsets = (
            PlaneOffsets(planes.image_channels, planes.image_size, config.offsets.width)
            if config.offsets.width
            else None
        )
        self.orbit = generator.config.orbit
        self.camera = CameraNetwork(
            own.image_size, self.orbit, config.camera.width, config.camera.depths
        )
        self.linear = LinearInverter(generator.w_dim) if config.warmup.steps else None
        self.register_buffer("start", self._start().expand(self.space.count, -1).clone())
        self.reconstruction = Reconstruction(*self._terms())

    @property
    def generator(self) -> EG3DGenerator:
        """The frozen teacher."""
        return self.frozen["generator"]  # type: ignore[return-value]

    def inverter(self, training: bool = False) -> Inverter:
        """The encoder with its generator."""
        size = self.config.volume_size if training else 0
        return Inverter(
            self.encoder,
            self.generator,
            self.space,
            self.config.encoder.image_size,
            size or None,
            self.offsets,
        )

    def _start(self) -> Tensor:
        generator = self.generator
        if self.config.start == "w_mean":
            return generator.w_mean
        frontal = generator.config.orbit.frontal()
        return w_statistics(generator, self.rng("start", 0), START_SAMPLES, frontal)[0]

    def _terms(self) -> tuple[dict[str, float], dict[str, Pairs]]:
        """Weights of Eq. 1, and the networks of those that have one."""
        config, losses = self.config, self.config.losses
        networks: dict[str, Pairs] = {}
        if losses.lpips:
            with named("perceptual"):
                lpips = build_perceptual(config.perceptual, image_size=config.encoder.image_size)
            assert isinstance(lpips, nn.Module)
            self.frozen["lpips"] = lpips
            networks["lpips"] = lambda made, targets: lpips(made, targets)
        if losses.id or losses.views_id:
            with named("identity"):
                identity = build_identity(config.identity)
            self.frozen["identity"] = identity
            networks["id"] = lambda made, targets: (
                1 - (identity(made) * identity(targets).detach()).sum(1)
            )
        if losses.similarity:
            with named("similarity.weights"):
                similarity = SimilarityLoss(config.similarity.weights)
            self.frozen["similarity"] = similarity
            networks["similarity"] = similarity
        weights = {"l2": losses.l2, "lpips": losses.lpips, "id": losses.id}
        weights["similarity"] = losses.similarity
        return {name: weight for name, weight in weights.items() if weight}, networks

    # -- data -----------------------------------------------------------------------------------

    @cached_property
    def data(self) -> PosedPictures:
        """What is learnt from; nothing is rendered or read until it is needed."""
        return PosedPictures(self.config.data, self.config.image_size, self.orbit)

    def prepare_data(self) -> None:
        """Render the heads that the cache lacks, or look through pictures and labels."""
        self.data.prepare()

    def _batches(self, key: str, batch: int, start: int) -> Iterator[Batch]:
        step, count = start, self.data.count("train")
        while True:
            rng = self.rng(key, self.step - self.phase_step + step)
            drawn = torch.randint(count, (batch,), generator=rng)
            flip = torch.rand(batch, generator=rng) < self.config.data.mirror
            own, flipped = self.share((drawn, flip))
            images, cameras = self.data.read("train", own.tolist())
            flipped = flipped[:, None]
            images = torch.where(flipped[..., None, None], images.flip(3), images)
            cameras = torch.where(flipped, mirrored(cameras), cameras)
            yield self._batch(images, cameras)
            step += 1

    def _batch(self, images: Tensor, cameras: Tensor) -> Batch:
        seen = self.inverter().seen(images.to(self.device))
        return Batch(seen, cameras.to(self.device))

    # -- phases ---------------------------------------------------------------------------------

    def phases(self) -> Sequence[Phase]:
        config = self.config

        def by_adam(module: str, own: CameraConfig | WarmUpConfig) -> Trainable:
            adam = partial(torch.optim.Adam, lr=own.lr)
            return Trainable((module,), adam, partial(cosine, steps=own.steps))

        optimizer = Ranger if config.optimizer == "ranger" else torch.optim.Adam
        trained = ("encoder",) if self.offsets is None else ("encoder", "offsets")
        return [
            Phase(
                "camera",
                config.camera.steps,
                {"camera": by_adam("camera", config.camera)},
                self._camera_step,
                begin=self._learn_range,
                end=self._report_camera,
                batches=partial(self._camera_batches, config.camera.batch),
            ),
            Phase(
                "warm-up",
                config.warmup.steps,
                {"encoder": by_adam("encoder", config.warmup)},
                self._warm_up_step,
                begin=lambda: _require_share(config.warmup.batch, "warmup.batch"),
                end=self._forget_known,
            ),
            Phase(
                "encoder",
                config.steps,
                {"encoder": Trainable(trained, partial(optimizer, lr=config.lr))},
                self._encoder_step,
                end=self._report,
                batches=partial(self._encoder_batches, config.batch),
            ),
        ]

    def _camera_batches(self, batch: int, start: int) -> Iterator[Batch]:
        _require_share(batch, "camera.batch")
        return self._batches("camera", batch, start)

    def _encoder_batches(self, batch: int, start: int) -> Iterator[Batch]:
        _require_share(batch, "batch")
        return self._batches("encoder", batch, start)

    def _learn_range(self) -> None:
        numbers = range(min(RANGE_PICTURES, self.data.count("train")))
        self.camera.learn_range(self.data.read("train", numbers)[1].to(self.device))

    def _camera_step(self, batch: Batch) -> Mapping[str, Tensor]:
        weight = _weight(len(batch.targets), self.config.camera.batch)
        loss = self.camera.loss(batch.targets, batch.cameras)
        self.descend({"camera": weight * loss})
        return {"camera": loss.detach()}

    @cached_property
    def known(self) -> KnownPairs:
        """What the warm-up learns from; made when it is first needed, also after resuming."""
        own = self.config.warmup
        numbers = [number % self.data.count("train") for number in range(own.cameras)]
        cameras = self.data.read("train", numbers)[1]
        rng = self.rng("known pictures", 0)
        # as they are in use, not as in training, whatever `volume_size`: they are made once
        inverter = self.inverter()
        codes = subject_codes(inverter, self.space.count, own.cameras, own.group, rng)
        subjects = KnownPictures.make(inverter, codes, cameras)
        assert self.linear is not None
        if not self.linear.fitted:
            self.linear.fit(subjects)
        return KnownPairs.make(inverter, subjects, self.start, cameras, self.linear)

    def _forget_known(self) -> None:
        vars(self).pop("known", None)

    def _warm_up_step(self, _: None) -> Mapping[str, Tensor]:
        """Say from two pictures by one camera how their codes differ."""
        known, batch = self.known, self.config.warmup.batch
        drawn = self.share(known.draw(batch, self.rng("pairs")))
        targets, made, codes, start = known.pairs(*drawn)
        distance = code_distance(start + self.encoder(targets, made), codes)
        return self.descend({"codes": _weight(len(targets), batch) * distance})

    def _encoder_step(self, batch: Batch) -> Mapping[str, Tensor]:
        weight = _weight(len(batch.targets), self.config.batch)
        last: dict[str, Tensor] = {}

        def parts() -> Iterator[dict[str, Tensor]]:
            for terms in self.terms(batch):
                last.update((f"last_{key}", value.detach()) for key, value in terms.items())
                yield {key: weight * value for key, value in terms.items()}

        return {**self.descend(parts()), **last}

    def terms(self, batch: Batch) -> Iterator[dict[str, Tensor]]:
        """The weighted terms of each refinement of a batch (Eq. 4), one after another."""
        config, losses = self.config, self.config.losses
        inverter = self.inverter(training=True)
        count = config.refinements
        steps = inverter.steps(
            batch.targets, batch.cameras, self.start, count, self._jitters(count + 1)
        )
        for step, (codes, made) in enumerate(steps, start=1):
            terms = self.reconstruction(made, batch.targets)
            if losses.w_norm:
                terms["w_norm"] = losses.w_norm * w_norm(codes, self.start)
            if losses.cycle and (step == count or config.cycle.every_refinement):
                cameras = self._cycle_camera(step).expand(len(codes), -1)
                again = inverter.encode_again(codes, cameras, self.start, config.cycle.refinements)
                terms["cycle"] = losses.cycle * code_distance(codes, again)
            if step == count:
                terms |= self._final_terms(inverter, batch, codes, made)
            yield terms

    def _final_terms(
        self, inverter: Inverter, batch: Batch, codes: Tensor, made: Tensor
    ) -> dict[str, Tensor]:
        """What the paper has not: terms of the volume that a picture ends as, from all sides."""
        losses = self.config.losses
        if self.offsets is None and not losses.mirror and not losses.views_id:
            return {}
        planes = inverter.final_planes(batch.targets, codes, made)
        terms = {}
        if self.offsets is not None:
            seen = inverter.look(planes, codes, batch.cameras)
            own = self.reconstruction(seen, batch.targets)
            terms = {f"final_{name}": value for name, value in own.items()}
        if losses.mirror:
            seen = inverter.look(planes, codes, mirrored(batch.cameras))
            other = self.reconstruction(seen, batch.targets.flip(3))
            terms["mirror"] = losses.mirror * torch.stack(list(other.values())).sum()
        if losses.views_id:
            cameras = self.cycle_cameras
            drawn = torch.randint(len(cameras), (self.config.batch,), generator=self.rng("views"))
            seen = inverter.look(planes, codes, cameras[self.share(drawn)].to(self.device))
            distance = self.reconstruction.networks["id"](seen, batch.targets)
            terms["views_id"] = losses.views_id * distance.mean()
        return terms

    def _jitters(self, count: int) -> list[Jitter] | None:
        """This process's part of where samples lie in the pictures of a step."""
        if not self.config.jitter:
            return None
        own = self.generator.config
        rays = (self.config.volume_size or own.volume_size) ** 2
        rng = self.rng("jitter")
        return [
            Jitter(*self.share(tuple(Jitter.draw(self.config.batch, rays, own.volume, rng))))
            for _ in range(count)
        ]

    def _cycle_camera(self, refinement: int) -> Tensor:
        """(1, 25) the camera of the cycle, one for the whole batch."""
        cameras = self.cycle_cameras
        rng = self.rng(f"cycle/{refinement}")
        drawn = int(torch.randint(len(cameras), (1,), generator=rng))
        return cameras[drawn : drawn + 1].to(self.device)

    @cached_property
    def cycle_cameras(self) -> Tensor:
        """(N, 25) the aligned cameras of Eq. 3, and those of `losses.views_id`."""
        cycle = self.config.cycle
        if cycle.cameras == "trajectory":
            return self.orbit.trajectory(cycle.count)
        drawn = torch.randint(
            self.data.count("train"), (cycle.count,), generator=self.rng("cycle", 0)
        )
        return self.data.read("train", drawn.tolist())[1]

    # -- reports --------------------------------------------------------------------------------

    def _report_camera(self) -> None:
        """Log how far the cameras of the val pictures are told wrong."""

        def errors(batch: Batch) -> dict[str, Tensor]:
            told, truth = (
                self.orbit.view(x) for x in (self.camera.cameras(batch.targets), batch.cameras)
            )
            return {
                key: (getattr(told, key) - getattr(truth, key)).abs()
                for key in ("yaw", "pitch", "roll")
            }

        self._log_means(errors, self.camera)

    def _report(self) -> None:
        """Log Eq. 1's terms of the val pictures from their own cameras, without weights."""
        inverter = self.inverter()

        def errors(batch: Batch) -> dict[str, Tensor]:
            *_, (_, made) = inverter.steps(
                batch.targets, batch.cameras, self.start, self.config.refinements
            )
            made = made.clamp(-1, 1)
            found = {"l2": (made - batch.targets).square().flatten(1).mean(1)}
            networks = self.reconstruction.networks.items()
            return found | {name: network(made, batch.targets) for name, network in networks}

        self._log_means(errors, self.encoder)

    def _log_means(self, errors: Any, network: nn.Module) -> None:
        """Log means over the val pictures, which the processes share out."""
        training, total = network.training, {}
        network.eval()
        count = self.data.count("val")
        mine = self.share(range(count))
        for start in range(0, len(mine), self.config.batch):
            images, cameras = self.data.read("val", mine[start : start + self.config.batch])
            for key, value in errors(self._batch(images, cameras)).items():
                total[key] = total.get(key, 0.0) + value.sum()
        network.train(training)
        processes = rank_and_size()[1]
        row = {
            f"val/{key}": float(mean_over_processes(value) * processes / count)
            for key, value in total.items()
        }
        for logger in self.loggers:
            logger.log_metrics(row, step=self.step)

    def extra_metadata(self) -> Mapping[str, Any]:
        parameters = _count(self.encoder)
        names = {
            key: getattr(self.frozen[key], "name", key)
            for key in ("lpips", "identity", "similarity")
            if key in self.frozen
        }
        return {
            "teacher": teacher_hash(self.config.teacher),
            "network": f"{self.space.count} codes, {parameters} parameters",
            **({"offsets": f"{_count(self.offsets)} parameters"} if self.offsets else {}),
            **names,
        }


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _require_share(batch: int, name: str) -> None:
    if batch < rank_and_size()[1]:
        raise UserError(f"{name}={batch}: expected at least one picture a process")


def _weight(own: int, batch: int) -> float:
    """What a mean over a process's own pictures weighs: every process's loss counts alike."""
    return own * rank_and_size()[1] / batch
