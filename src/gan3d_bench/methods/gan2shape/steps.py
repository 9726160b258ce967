"""Training: prior fit, inversion and steps 1-3 over stages and groups (facts, section 4).

Instances of a step are sharded over processes. Every process holds all weights, projected samples
and latents: gradients are averaged by `descend`, projected samples exchanged once collected.
Random numbers of an instance are keyed by its global index, so its training does not depend on who
computes it or on what else is in the run (with independent weights).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Adam

from gan3d_bench.distributed.processes import rank_and_size
from gan3d_bench.generators.inversion.projection import (
    learning_rate_factor,
    noise_scale,
    projection_terms,
)
from gan3d_bench.generators.latents import w_statistics
from gan3d_bench.geometry.depth_prior import Extent, mask_extent, prior_depth
from gan3d_bench.losses.perceptual import Distance
from gan3d_bench.methods.gan2shape.factors import (
    Factors,
    clamp_border,
    depth_from_raw,
    light_from_raw,
    view_from_raw,
)
from gan3d_bench.methods.gan2shape.losses import (
    image_loss,
    mirror,
    mirror_normal,
    photogeometric,
    smoothness,
)
from gan3d_bench.methods.gan2shape.model import group_prefix
from gan3d_bench.methods.gan2shape.projection import CHUNK
from gan3d_bench.methods.gan2shape.target_distances import TargetDistances
from gan3d_bench.methods.gan2shape.warmup import WarmUp
from gan3d_bench.methods.phases import Phase, Trainable
from gan3d_bench.pictures.tensors import from_uint8, resize
from gan3d_bench.rendering.depth_mesh import depth_normals, sample_texture
from gan3d_bench.rendering.shading import lit_texture

Terms = Mapping[str, Tensor]


class Shard(NamedTuple):
    """Instances of a step: all of them, and this process's."""

    active: list[int]
    local: list[int]


class StaticGeometry(NamedTuple):
    """What step 1 renders with, per instance and copy: shading, sampling grids, valid pixels."""

    ambient: Tensor  # (K, 1)
    diffuse: Tensor  # (K, 1)
    shading: Tensor  # (K, F, 1, S, S) diffuse shading
    grid: Tensor  # (K, F, S, S, 2)
    valid: Tensor  # (K, 1, S, S) of all copies


class GAN2ShapeTraining(WarmUp):
    """The phases of a run and their steps."""

    def phases(self) -> Sequence[Phase]:
        """For each group: inversion, prior, then steps 1-3 of every stage."""
        phases: list[Phase] = []
        groups = self.groups
        for index, group in enumerate(groups):
            prefix = group_prefix(index, len(groups))
            own = [p for p in self._group_phases(group, prefix) if p.steps > 0]
            if own:
                own[0] = replace(own[0], begin=partial(self._begin_group, index, own[0].begin))
            phases += own
        return phases

    def _group_phases(self, group: range, prefix: str) -> list[Phase]:
        config, lr = self.config, self.config.lr
        phases = []
        if config.data != "teacher" and not config.latents:
            size = config.inversion.batch
            parts = [group[i : i + size] for i in range(0, len(group), size)]
            for number, part in enumerate(parts):
                of = f" {number + 1}/{len(parts)}" if len(parts) > 1 else ""
                phases.append(self._inversion_phase(part, f"{prefix}inversion{of}"))
        phases.append(
            Phase(
                f"{prefix}prior",
                0 if config.start else config.prior.steps,
                {"depth": self._adam("depth_net", lr.prior)},
                partial(self._fit_prior, group),
            )
        )
        pose = {
            "view": self._adam("view_net", lr.view),
            "light": self._adam("light_net", lr.light),
        }
        encoder = {"encoder": self._adam("encoder", lr.step2)}
        count = config.batch * len(group)
        prior = partial(self.cached, "prior", partial(self._prior, group[0]))
        phases += [
            Phase(
                f"{prefix}warm-up, encoder",
                config.warmup.encoder,
                encoder,
                partial(self._warm_up, count, self.encoder_terms),
            ),
            Phase(
                f"{prefix}warm-up, lifted samples",
                config.warmup.lifted,
                encoder,
                partial(self._warm_up, count, lambda *args: self.lifted_terms(prior(), *args)),
            ),
            Phase(
                f"{prefix}warm-up, pose",
                config.warmup.pose,
                {name: self._adam(f"{name}_net", lr.warmup) for name in pose},
                partial(self._warm_up, count, self.pose_terms),
                begin=lambda: self.find_directions(prior()),
            ),
        ]
        for stage in range(config.stages):
            lengths = config.steps.first if stage == 0 else config.steps.later
            name = f"{prefix}stage {stage + 1}/{config.stages}, step"
            phases += [
                Phase(
                    f"{name} 1",
                    lengths.step1,
                    {"albedo": self._adam("albedo_net", lr.step1)},
                    partial(self._step1, group, stage),
                ),
                Phase(
                    f"{name} 2",
                    lengths.step2,
                    encoder,
                    partial(self._step2, group),
                    end=partial(self.collect, group),
                ),
                Phase(
                    f"{name} 3",
                    lengths.step3,
                    {
                        "depth": self._adam("depth_net", lr.depth),
                        "albedo": self._adam("albedo_net", lr.albedo),
                        **pose,
                    },
                    partial(self._step3, group, stage),
                    end=partial(self._store, group),
                ),
            ]
        return phases

    def _adam(self, module: str, lr: float) -> Trainable:
        optimizer = partial(Adam, lr=lr, weight_decay=self.config.weight_decay, fused=True)
        return Trainable((module,), optimizer)

    def _begin_group(self, index: int, begin: Callable[[], None] | None) -> None:
        self.group_index.fill_(index)
        self.reset_networks()
        if begin is not None:
            begin()

    # -- sharding -------------------------------------------------------------------------------

    def _shard(self, group: range) -> Shard:
        """Instances of this step: all of the group, or the next `targets` of a shuffled pass."""
        count = self.config.targets
        active = list(group)
        if 0 < count < len(group):
            epoch, part = divmod(self.phase_step, len(group) // count)
            order = torch.randperm(
                len(group), generator=self.rng(f"targets/{self.phase_index}", step=epoch)
            )
            active = sorted(group[int(i)] for i in order[part * count : (part + 1) * count])
        rank, world = rank_and_size()
        return Shard(active, active[rank::world])

    def _update(self, shard: Shard, compute: Callable[[list[int]], Terms]) -> Terms:
        """Descend the instances' mean loss (shared weights) or the sum of their losses."""
        shared = self.config.weights == "shared"
        count = len(shard.local)
        self.gradient_weight = count / len(shard.active) if shared else 1.0
        if not count:
            return self._idle()
        self.batch = {"instances": shard.local}
        factor = 1 if shared else count
        terms = compute(shard.local)
        self.descend({key: value * factor for key, value in terms.items()})
        return {key: value.detach() for key, value in terms.items()}

    def _idle(self) -> Terms:
        """With more processes than instances: take part in the averaging of gradients only."""
        self.descend({"idle": torch.zeros((), device=self.device, requires_grad=True)})
        return {}

    # -- inversion and prior --------------------------------------------------------------------

    def _inversion_phase(self, part: range, name: str) -> Phase:
        config = self.config.inversion
        return Phase(
            name,
            config.steps,
            {
                "latents": Trainable(
                    ("latents",),
                    partial(Adam, lr=config.lr),
                    partial(learning_rate_factor, config),
                )
            },
            partial(self._invert, part),
            begin=partial(self._begin_inversion, part),
        )

    def _begin_inversion(self, part: range) -> None:
        mean, deviation = w_statistics(self.generator, self.rng("w statistics", step=0))
        self.w_deviation.copy_(deviation.norm())
        self.latents.w.data[list(part)] = mean

    def _invert(self, part: range, _: Any) -> Terms:
        config = self.config.inversion
        rank, world = rank_and_size()
        local = list(part)[rank::world]
        noise = [
            torch.randn(
                self.latents.w.shape[1],
                generator=self.rng(f"inversion/{self.config.first + i}", self.phase_step),
            )
            for i in local
        ]
        self.gradient_weight = 1.0  # each image has a stylecode of its own
        if not local:
            return self._idle()
        self.batch = {"instances": local}
        scale = noise_scale(config, self.phase_step) * self.w_deviation
        w = self.latents.w[local] + scale * torch.stack(noise).to(self.device)
        targets, distance = self.cached("inversion", partial(self._inversion_targets, local))
        images = self.generator.synthesis(w)
        return self.descend(projection_terms(images, targets, distance, config.pixel))

    def _inversion_targets(self, local: list[int]) -> tuple[Tensor, Distance]:
        config = self.config.inversion
        size = min(self.generator.image_size, config.compare_size)
        targets = resize(from_uint8(self.originals[local]), size)
        return targets, self.perceptual(config.perceptual).against(targets)

    def _fit_prior(self, group: range, _: Any) -> Terms:
        shard = self._shard(group[:1] if self.config.compat.prior_first_image else group)
        priors = self.cached("priors", lambda: torch.stack([self._prior(i) for i in group]))

        def compute(local: list[int]) -> Terms:
            slots = self.slots(local)
            depth = depth_from_raw(self.depth_net(self.targets[local], slots).float())
            return {"prior": (depth[:, 0] - priors[slots]).square().mean()}

        return self._update(shard, compute)

    def _prior(self, instance: int) -> Tensor:
        """The prior of an instance (S, S), over its mask or over `prior.box`."""
        config, size = self.config.prior, self.config.image_size
        if len(self.masks):
            extent = mask_extent(self.masks[instance, 0], config.category)
        else:
            extent = Extent(*(fraction * (size - 1) for fraction in config.box))
        return prior_depth(extent, size, config.near, config.far, config.shape).to(self.device)

    # -- step 1 ---------------------------------------------------------------------------------

    @torch.no_grad()
    def _static_geometry(self, group: range, stage: int) -> StaticGeometry:
        factors: Factors = self.frozen_factors(group)
        copies = [(factors.depth, factors.normal)]
        if self.config.mirrored("step1", stage):
            copies.append((mirror(factors.depth), mirror_normal(factors.normal)))
        rendered = [
            self.render(replace(factors, depth=depth, normal=normal)) for depth, normal in copies
        ]
        return StaticGeometry(
            factors.light.ambient[:, None],
            factors.light.diffuse[:, None],
            torch.stack([r.diffuse for r in rendered], 1),
            torch.stack([r.warp.grid for r in rendered], 1),
            torch.stack([r.mask for r in rendered]).prod(0),
        )

    def _step1(self, group: range, stage: int, _: Any) -> Terms:
        """Fit A to the target with everything else fixed. Smoothness has no gradient here."""
        geometry: StaticGeometry = self.cached(
            "geometry", lambda: self._static_geometry(group, stage)
        )

        def compute(local: list[int]) -> Terms:
            slots = self.slots(local)
            target = self.targets[local]
            albedo = self.albedo_net(target, slots).float()
            distance = self._target_distances(group, projected=False)(
                slots, self._first_rows(local)
            )
            terms: dict[str, Tensor] = {}
            for copy in range(geometry.grid.shape[1]):
                own = albedo if copy == 0 else mirror(albedo)
                ambient, diffuse = (
                    x[slots][..., None, None] for x in (geometry.ambient, geometry.diffuse)
                )
                shading = ambient + diffuse * geometry.shading[slots, copy]
                texture = lit_texture(own, shading)
                image = sample_texture(texture, geometry.grid[slots, copy]).clamp(-1, 1)
                valid = geometry.valid[slots] * self._target_masks(local)
                self._add_image_loss(
                    terms, image, target, valid, distance, copy, "target", len(local)
                )
            return terms

        return self._update(self._shard(group), compute)

    def _target_masks(self, local: list[int]) -> Tensor:
        """Where the targets count, (k or 1, 1, S, S): the paper leaves nothing out."""
        return self.masks[local] if self.config.mask_target else self.targets.new_ones(1, 1, 1, 1)

    def _add_image_loss(
        self, terms: dict[str, Tensor], image: Tensor, target: Tensor, mask: Tensor,
        distance: Callable[[Tensor, Tensor], Tensor], copy: int, name: str, instances: int,
    ) -> None:  # fmt: skip
        """Add L1 and perceptual terms of the direct (0) or mirrored (1) copy."""
        config = self.config.losses
        l1, perceptual = image_loss(image, target, mask, distance, config.perceptual, instances)
        weight, suffix = (config.mirrored, "_mirrored") if copy else (1.0, "")
        terms[f"{name}_l1{suffix}"] = weight * l1
        terms[f"{name}_perceptual{suffix}"] = weight * perceptual

    def _target_distances(self, group: range, *, projected: bool) -> TargetDistances:
        """From each instance's target and, where asked for, its projected samples after it."""

        def images(slot: int) -> Tensor:
            target = self.targets[group[slot]][None]
            return torch.cat((target, self.projected[slot].float())) if projected else target

        return self.cached(
            "distances", lambda: TargetDistances(self.perceptual(), images, len(group))
        )

    def _first_rows(self, local: list[int]) -> Tensor:
        """The targets' rows of `_target_distances`."""
        return torch.zeros(len(local), 1, dtype=torch.int64, device=self.device)

    # -- step 2 ---------------------------------------------------------------------------------

    def _step2(self, group: range, _: Any) -> Terms:
        """Train E to project pseudo samples (eq. 2)."""

        def compute(local: list[int]) -> Terms:
            (pseudo, masks), projected, offset = self.projection(
                group, local, self.config.batch, "pseudo"
            )
            return self.projection_terms(projected, pseudo, masks, offset, len(local))

        return self._update(self._shard(group), compute)

    # -- warm-up --------------------------------------------------------------------------------

    def _warm_up(
        self, count: int, terms: Callable[[int, Sequence[int]], dict[str, Tensor]], _: Any
    ) -> Terms:
        """A step on `count` samples of the teacher (`warmup.py`), shared out over processes."""
        rank, world = rank_and_size()
        local = range(count)[rank::world]
        if not local:
            return self._idle()
        self.gradient_weight = len(local) / count
        return self.descend(terms(count, local))

    # -- step 3 ---------------------------------------------------------------------------------

    def _step3(self, group: range, stage: int, _: Any) -> Terms:
        """Train D, A, V and L to reconstruct the target and its projected samples (eq. 3)."""
        flip = self.config.mirrored("step3", stage)

        def compute(local: list[int]) -> Terms:
            slots, k = self.slots(local), len(local)
            target = self.targets[local]
            rows = self.projected_rows(local)
            projected, cached_masks = (
                x.unflatten(0, (k, -1)) for x in self.projected_batch(local, rows)
            )
            distances = self._target_distances(group, projected=True)
            from_target = distances(slots, self._first_rows(local))
            from_projected = distances(slots, rows + 1)
            images = torch.cat((target[:, None], projected), 1)
            n = images.shape[1]
            view, light = (
                raw.unflatten(0, (k, n))
                for raw in (
                    self.raw_view(images.flatten(0, 1), slots),
                    self.raw_light(images.flatten(0, 1), slots),
                )
            )
            depth = clamp_border(depth_from_raw(self.depth_net(target, slots).float()))
            albedo = self.albedo_net(target, slots).float()
            normal = depth_normals(depth, self.camera, epsilon=self.normal_epsilon)
            copies = [(depth, albedo, normal)]
            if flip:
                copies.append((mirror(depth), mirror(albedo), mirror_normal(normal)))
            f = len(copies)
            shape, colour, facing = (
                torch.stack(m, 1)[:, :, None].expand(-1, -1, n, -1, -1, -1).flatten(0, 2)
                for m in zip(*copies, strict=True)
            )
            views, lights = (x[:, None].expand(-1, f, -1, -1).flatten(0, 2) for x in (view, light))
            r = photogeometric(
                shape,
                colour,
                facing,
                view_from_raw(views),
                light_from_raw(lights),
                self.camera,
                supersample=self.config.supersample,
                half_pixel=self.config.compat.half_pixel,
            )
            image, mask, diffuse = (x.unflatten(0, (k, f, n)) for x in (r.image, r.mask, r.diffuse))
            terms: dict[str, Tensor] = {}
            valid = mask[:, :, 0].prod(1) * self._target_masks(local)
            for copy in range(f):
                self._add_image_loss(
                    terms, image[:, copy, 0], target, valid, from_target, copy, "target", k
                )
                seen = (mask[:, copy, 1:] * cached_masks).flatten(0, 1)
                self._add_image_loss(
                    terms, image[:, copy, 1:].flatten(0, 1), projected.flatten(0, 1), seen,
                    from_projected, copy, "projected", k,
                )  # fmt: skip
            smooth = smoothness(
                torch.stack([c[0] for c in copies], 1).flatten(0, 1), diffuse[:, :, 0].flatten(0, 1)
            )
            terms["smooth"] = self.config.losses.smooth * smooth
            return terms

        return self._update(self._shard(group), compute)

    @torch.no_grad()
    def _store(self, group: range) -> None:
        """Keep the group's factors, computed in float32, as the run's result."""
        index = list(group)
        with torch.autocast(self.device.type, enabled=False):
            for start in range(0, len(index), CHUNK):
                part = index[start : start + CHUNK]
                images, slots = self.targets[part], self.slots(part)
                depth = clamp_border(depth_from_raw(self.depth_net(images, slots)))
                self.fitted_depth[part] = depth
                self.fitted_albedo[part] = self.albedo_net(images, slots)
                self.fitted_view[part] = self.raw_view(images, slots)
                self.fitted_light[part] = self.raw_light(images, slots)
        self.fitted[index] = True
