"""State of a run: frozen teacher, the trained networks, statistics of w; and its training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gan3d_bench.distributed.processes import rank_and_size
from gan3d_bench.errors import UserError
from gan3d_bench.faces.embeddings import build_identity
from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.latents import sample_z
from gan3d_bench.generators.names import teacher_hash
from gan3d_bench.geometry.depth_prior import Extent, prior_depth
from gan3d_bench.losses.cosine_perceptual import (
    CosinePerceptualLoss,
    discriminator_features,
    vgg_features,
)
from gan3d_bench.losses.perceptual import LPIPS
from gan3d_bench.methods.liftedgan.checkpoint import load_networks
from gan3d_bench.methods.liftedgan.config import LiftedGANConfig
from gan3d_bench.methods.liftedgan.image_formation import (
    ROTATION_RANGE,
    Geometry,
    Lifter,
    depth_from_raw,
)
from gan3d_bench.methods.liftedgan.losses import (
    ImageLoss,
    Share,
    StyleStatistics,
    perturbed_view,
    shuffled_light,
)
from gan3d_bench.methods.liftedgan.networks import (
    DepthDecoder,
    StyleDecomposition,
    StyleManipulation,
    TransformationDecoder,
)
from gan3d_bench.methods.liftedgan.objective import Batch, BatchTotals, Objective
from gan3d_bench.methods.lifting import LiftingMethod
from gan3d_bench.methods.phases import Phase, Trainable

WARM_UP_SLOPES = 4.0  # weight of slopes beside depth in the warm-up


class LiftedGANModel(LiftingMethod):
    """Networks, teacher and the training step.

    Raises:
        UserError: the teacher, or a network that losses need, is missing or does not fit.
    """

    config: LiftedGANConfig
    lifter: Lifter
    w_mean: Tensor  # (w_dim,)
    w_precision: Tensor  # 0.5 / s^2

    def __init__(self, config: LiftedGANConfig) -> None:
        super().__init__(config)
        generator = self.generator
        if self.teacher.discriminator is not None:
            self.frozen["discriminator"] = self.teacher.discriminator
        self.lifter = self._lifter(generator)
        if config.start:
            self._load_start(Path(config.start))
        self.register_buffer("w_mean", generator.w_mean.clone())
        self.register_buffer("w_precision", torch.ones(()))
        self.image_loss = ImageLoss(self._perceptual(), config.losses.perceptual)
        if config.losses.identity:
            self.frozen["identity"] = build_identity(config.identity)

    @cached_property
    def geometry(self) -> Geometry:
        config = self.config.geometry
        return Geometry(
            self.config.image_size,
            near=config.near,
            far=config.far,
            border=config.border,
            blur_radius=config.blur_radius,
            blur_sigma=config.blur_sigma,
            released=self.config.renderer == "released",
            clip_contours=config.clip_contours,
        )

    def _lifter(self, generator: Generator) -> Lifter:
        size, width = self.config.image_size, self.config.width
        options: dict[str, Any] = {"most": width.most, "hidden": width.hidden}
        return Lifter(
            DepthDecoder(
                size, generator.w_dim, generator.feature_channels, channels=width.depth, **options
            ),
            TransformationDecoder(
                size, generator.w_dim, channels=width.transformation, most=width.most
            )
            if self.config.geometry.blend
            else None,
            StyleDecomposition(generator.w_dim, width.hidden),
            StyleManipulation(generator.w_dim, width.hidden),
            generator.image_and_features,
            self.geometry,
        )

    def _load_start(self, folder: Path) -> None:
        networks = dict(self.lifter.named_children())
        try:
            states = load_networks(folder, networks)
        except UserError as error:
            raise UserError(f"start={self.config.start!r}: {error}") from error
        for name, network in networks.items():
            network.load_state_dict(states[name])

    def _perceptual(self) -> CosinePerceptualLoss | None:
        config = self.config.perceptual
        if config.network == "none":
            return None
        if config.network == "vgg":
            self.frozen["lpips"] = lpips = LPIPS("vgg")
            return CosinePerceptualLoss(vgg_features(lpips), config.scales, "vgg")
        discriminator: Any = self.teacher.discriminator
        if discriminator is None:
            raise UserError(
                f"perceptual.network=discriminator: teacher={self.config.teacher} has none; "
                "expected perceptual.network=vgg"
            )
        features = discriminator_features(discriminator, config.layers)
        return CosinePerceptualLoss(features, config.scales, "discriminator")

    def extra_metadata(self) -> Mapping[str, Any]:
        """The teacher, with its hash, and the networks inside losses."""
        perceptual, identity = self.image_loss.perceptual, self.frozen.get("identity")
        return {
            "teacher": self.config.teacher,
            "teacher_sha256": teacher_hash(self.config.teacher),
            "perceptual": perceptual.name if perceptual else "none",
            "identity": identity.name if identity is not None else "none",
            "parameters": sum(p.numel() for p in self.lifter.parameters()),
        }

    # -- training -------------------------------------------------------------------------------

    def phases(self) -> Sequence[Phase]:
        config = self.config
        start = partial(torch.optim.Adam, lr=config.warmup.lr)
        rate = self._rate if config.decay else None
        return [
            Phase(
                "warm-up",
                config.warmup.steps,
                {"lifter": Trainable(("lifter",), start)},
                self._warm_up_step,
                begin=self._measure_styles,
            ),
            Phase(
                "lift",
                config.steps,
                {"lifter": Trainable(("lifter",), self._adam, rate)},
                self._train_step,
                begin=None if config.warmup.steps else self._measure_styles,
                batches=self._batches,
            ),
        ]

    def _adam(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        config = self.config
        shape = {id(p) for p in self.lifter.depth.parameters()}
        groups = [
            {"params": [p for p in parameters if id(p) not in shape]},
            {
                "params": [p for p in parameters if id(p) in shape],
                "lr": config.lr * config.lr_depth,
            },
        ]
        return torch.optim.Adam(groups, lr=config.lr, weight_decay=config.weight_decay)

    def _rate(self, step: int) -> float:
        """Factor on the learning rates: 1, then a straight line to 0."""
        steps = self.config.steps
        return min(1.0, (steps - step) / (self.config.decay * steps))

    def _measure_styles(self) -> None:
        """Mean and deviation of w; of the mean, stylecodes are truncated to."""
        rng = self.rng("statistics", step=0)
        z = sample_z(self.config.statistics, self.generator.z_dim, rng).to(self.device)
        w = torch.cat([self.generator.mapping(part) for part in z.split(1024)])
        found = StyleStatistics.of(w)
        self.w_mean.copy_(found.mean)
        self.w_precision.copy_(found.precision)

    def _warm_up_step(self, _: None) -> Mapping[str, Tensor]:
        config, lifter, z_dim = self.config.warmup, self.lifter, self.generator.z_dim
        rng = self.rng("warm-up")
        with torch.no_grad():
            w = self.styles(sample_z(config.styles, z_dim, rng))
            shown = self.styles(sample_z(config.batch, z_dim, rng))
            features = self.generator.image_and_features(shown)[1]
        light, uniform = torch.rand(len(w), 4, generator=rng), torch.rand(len(w), 3, generator=rng)
        perturbation = self.config.perturbation
        view = perturbed_view(uniform, perturbation.pitch, perturbation.yaw).to(w)
        moved = lifter.manipulate(w, (2 * light - 1).to(w), view)
        error = depth_from_raw(lifter.depth(shown, features).float(), self.geometry) - self._prior
        error = error / (self.geometry.far - self.geometry.near)
        slopes = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        return self.descend(
            {
                "prior": error.abs().mean(),
                # what little is left of the decoder's own pattern shows as a lattice once relit
                "slope": WARM_UP_SLOPES * slopes,
                "same": (moved - w).square().mean() * 2 * self.w_precision,
            }
        )

    @cached_property
    def _prior(self) -> Tensor:
        """Depth (1, 1, S, S) of the ellipsoid, as near to it as D_S can come."""
        config, geometry, size = self.config.warmup, self.geometry, self.config.image_size
        extent = Extent(*(edge * (size - 1) for edge in config.box))
        depth = prior_depth(extent, size, config.near, config.far)[None, None].to(self.device)
        middle, half = (geometry.near + geometry.far) / 2, (geometry.far - geometry.near) / 2
        return depth_from_raw(torch.atanh((depth - middle) / half), geometry)

    def _batches(self, start: int) -> Iterator[dict[str, Tensor]]:
        """Global batches: what is drawn is the same on every process."""
        step, batch = start, self.config.batch
        kept = self.config.kept if self.config.losses.keep else 0
        while True:
            rng = self.rng("batch", step)
            yield {
                "z": sample_z(batch, self.generator.z_dim, rng),
                "view": torch.rand(batch, 3, generator=rng),
                "strength": torch.randperm(batch, generator=rng),
                "direction": torch.randperm(batch, generator=rng),
                "kept": sample_z(kept, self.generator.z_dim, rng),
            }
            step += 1

    def styles(self, z: Tensor, psi: float | None = None) -> Tensor:
        """Stylecodes (N, w_dim) of latents (N, z_dim), truncated as in training."""
        psi = self.config.truncation if psi is None else psi
        return self.w_mean.lerp(self.generator.mapping(z.to(self.device)), psi)

    @torch.no_grad()
    def _training_batch(self, drawn: Mapping[str, Tensor]) -> Batch:
        config, perturbation = self.config, self.config.perturbation
        drawn = {key: value.to(self.device) for key, value in drawn.items()}
        w = self.styles(drawn["z"])
        light, _ = self.lifter.decompose(w)
        view = perturbed_view(drawn["view"], perturbation.pitch, perturbation.yaw)
        return Batch(
            w,
            shuffled_light(light, drawn["strength"], drawn["direction"]),
            view,
            view[:, 1].abs() * ROTATION_RANGE < config.identity_yaw,
            self.styles(drawn["kept"]),
        )

    def _train_step(self, drawn: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        self.batch = batch = self._training_batch(drawn)
        share, objective = self._share(), self._objective()
        self.gradient_weight = share.fraction
        parts = share.split(self.config.micro_batch)
        if len(parts) == 1:
            return self.descend(objective.terms(batch, share))
        # the nuclear norm and the masks' sum are of the whole batch: found before, without gradient
        totals = [objective.totals(batch, part) for part in parts]
        rows = torch.cat([part.rows for part in totals])
        mask = torch.stack([part.mask for part in totals]).sum()
        whole = objective.gather(rows, mask)
        return self.descend(
            {
                name: value * (part.fraction / share.fraction)
                for name, value in objective.terms(batch, part, whole).items()
            }
            for part in parts
        )

    def _share(self) -> Share:
        """The rows of a global batch that this process works on."""
        (rank, processes), batch = rank_and_size(), self.config.batch
        if batch < processes:
            raise UserError(f"batch={batch}: expected at least one image a process")
        return Share.of_process(rank, processes, batch)

    def _objective(self) -> Objective:
        return Objective(
            self.lifter,
            self.config.losses,
            self.image_loss,
            StyleStatistics(self.w_mean, self.w_precision),
            self.frozen.get("identity"),
            self.config.pooling,
            self._gather if rank_and_size()[1] > 1 else None,
        )

    def _gather(self, rows: Tensor, mask: Tensor) -> BatchTotals:
        """Put the shares of all processes together; without gradient."""
        _, processes = rank_and_size()
        shares = [Share.of_process(i, processes, self.config.batch) for i in range(processes)]
        sizes = [share.rows.stop - share.rows.start for share in shares]
        # all_gather wants equal shapes
        padded = rows.new_zeros(max(sizes), rows.shape[1])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        total = mask.detach().clone()
        dist.all_reduce(total)
        known = [part[:size] for part, size in zip(parts, sizes, strict=True)]
        return BatchTotals(torch.cat(known), total)
