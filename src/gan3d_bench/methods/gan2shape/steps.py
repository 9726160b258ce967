"""Training: prior fit, inversion and steps 1-3 over stages and groups (facts, section 4).

Instances of a step are sharded over processes. Every process holds all weights, projected samples
and latents: gradients are averaged by `descend`, projected samples exchanged once collected.
Random numbers of an instance are keyed by its global index, so its training does not depend on who
computes it or on what else is in the run (with independent weights).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import Adam

from gan3d_bench.generators.stylegan2.latents import w_statistics
from gan3d_bench.geometry.views import View
from gan3d_bench.losses.photometric import masked_l1
from gan3d_bench.methods.gan2shape.data import from_uint8
from gan3d_bench.methods.gan2shape.factors import (
    Factors,
    clamp_border,
    depth_from_raw,
    join_factors,
    light_from_raw,
    select_light,
    view_from_raw,
)
from gan3d_bench.methods.gan2shape.inversion import (
    inversion_loss,
    learning_rate_factor,
    noise_scale,
)
from gan3d_bench.methods.gan2shape.latents import offset_penalty
from gan3d_bench.methods.gan2shape.losses import (
    discriminator_distance,
    image_loss,
    mirror,
    mirror_normal,
    photogeometric,
    sample_lights,
    smoothness,
    surface_mask,
)
from gan3d_bench.methods.gan2shape.model import GAN2ShapeModel, rank_and_world
from gan3d_bench.methods.gan2shape.prior import Extent, mask_extent, prior_depth
from gan3d_bench.methods.gan2shape.sampling import (
    LightDistribution,
    ViewDistribution,
    load_statistics,
)
from gan3d_bench.methods.phases import Phase, Trainable
from gan3d_bench.rendering.depth_mesh import depth_normals, sample_texture, view_grid
from gan3d_bench.rendering.shading import Light, lit_texture

Terms = Mapping[str, Tensor]

# Images handled at once where nothing is trained.
CHUNK = 64


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


class GAN2ShapeTraining(GAN2ShapeModel):
    """The phases of a run and their steps."""

    def phases(self) -> Sequence[Phase]:
        """For each group: inversion, prior, then steps 1-3 of every stage."""
        phases: list[Phase] = []
        groups = self.groups
        for index, group in enumerate(groups):
            prefix = f"group {index + 1}/{len(groups)}, " if len(groups) > 1 else ""
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
                    {"encoder": self._adam("encoder", lr.step2)},
                    partial(self._step2, group),
                    end=partial(self._collect, group),
                ),
                Phase(
                    f"{name} 3",
                    lengths.step3,
                    {
                        key: self._adam(f"{key}_net", lr.step3)
                        for key in ("depth", "albedo", "view", "light")
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
        rank, world = rank_and_world()
        return Shard(active, active[rank::world])

    def _update(self, shard: Shard, compute: Callable[[list[int]], Terms]) -> Terms:
        """Descend the instances' mean loss (shared weights) or the sum of their losses."""
        shared = self.config.weights == "shared"
        count = len(shard.local)
        self.gradient_weight = count / len(shard.active) if shared else 1.0
        if not count:
            return self._idle()
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
        rank, world = rank_and_world()
        local = list(part)[rank::world]
        noise = [
            torch.randn(self.latents.w.shape[1], generator=self.instance_rng("w", i)) for i in local
        ]
        self.gradient_weight = 1.0  # each image has a stylecode of its own
        if not local:
            return self._idle()
        scale = noise_scale(config, self.phase_step) * self.w_deviation
        w = self.latents.w[local] + scale * torch.stack(noise).to(self.device)
        targets = from_uint8(self.originals[local])
        perceptual = self.perceptual(config.perceptual)
        return self.descend(inversion_loss(self.generator, w, targets, perceptual, config))

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
    def _frozen_factors(self, group: range) -> Factors:
        """Factors of the whole group, for phases that train neither D, V nor L."""
        parts = [group[i : i + CHUNK] for i in range(0, len(group), CHUNK)]
        return join_factors([self.factors(self.targets[p], self.slots(p)) for p in parts])

    @torch.no_grad()
    def _static_geometry(self, group: range, stage: int) -> StaticGeometry:
        factors: Factors = self._frozen_factors(group)
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
            terms: dict[str, Tensor] = {}
            for copy in range(geometry.grid.shape[1]):
                own = albedo if copy == 0 else mirror(albedo)
                ambient, diffuse = (
                    x[slots][..., None, None] for x in (geometry.ambient, geometry.diffuse)
                )
                shading = ambient + diffuse * geometry.shading[slots, copy]
                texture = lit_texture(own, shading)
                image = sample_texture(texture, geometry.grid[slots, copy]).clamp(-1, 1)
                valid = geometry.valid[slots]
                self._add_image_loss(terms, image, target, valid, copy, "target", len(local))
            return terms

        return self._update(self._shard(group), compute)

    def _add_image_loss(
        self, terms: dict[str, Tensor], image: Tensor, target: Tensor, mask: Tensor, copy: int,
        name: str, instances: int,
    ) -> None:  # fmt: skip
        """Add L1 and perceptual terms of the direct (0) or mirrored (1) copy."""
        config = self.config.losses
        l1, perceptual = image_loss(
            image, target, mask, self.perceptual(), config.perceptual, instances
        )
        weight, suffix = (config.mirrored, "_mirrored") if copy else (1.0, "")
        terms[f"{name}_l1{suffix}"] = weight * l1
        terms[f"{name}_perceptual{suffix}"] = weight * perceptual

    # -- step 2 ---------------------------------------------------------------------------------

    def _sampling_factors(self, group: range) -> tuple[Factors, Tensor | None, Tensor]:
        """Factors of the group, canonical object masks if used, and generated targets."""

        def compute() -> tuple[Factors, Tensor | None, Tensor]:
            with torch.no_grad():
                factors = self._frozen_factors(group)
                if self.config.compat.shared_scalars:
                    light = factors.light
                    last = (light.ambient[-1:], light.diffuse[-1:])
                    ambient, diffuse = (x.expand(len(factors)) for x in last)
                    factors = replace(factors, light=Light(ambient, diffuse, light.direction))
                masks = None
                if self.config.use_mask:
                    grid = view_grid(factors.depth, factors.view, self.camera)
                    masks = sample_texture(self.masks[list(group)], grid)
                w = self.latents.w[list(group)]
                generated = torch.cat([self.generated(part) for part in w.split(CHUNK)])
                return factors, masks, generated

        return self.cached("sampling", compute)

    @torch.no_grad()
    def _pseudo_samples(
        self, group: range, local: list[int], count: int, key: str
    ) -> tuple[Tensor, Tensor]:
        """Render `count` pseudo samples of each instance.

        Returns:
            images (k * count, 3, S, S) in [-1, 1] and masks (k * count, 1, S, S).
        """
        factors, masks, _ = self._sampling_factors(group)
        slots = self.slots(local)
        rngs = [self.instance_rng(key, i) for i in local]
        chosen = None if masks is None else masks[slots]
        return self._render_samples(factors[slots], chosen, rngs, count)

    def _render_samples(
        self, factors: Factors, masks: Tensor | None, rngs: list[torch.Generator], count: int
    ) -> tuple[Tensor, Tensor]:
        """Render factors (k) at `count` random views and lights each."""
        views, lights = self._distributions
        raw = torch.cat([views.sample_raw(count, rng) for rng in rngs]).to(self.device)
        light = torch.cat([lights.sample(count, rng) for rng in rngs]).to(self.device)
        own = factors[torch.arange(len(factors)).repeat_interleave(count).to(self.device)]
        rendered = self.render(own, view_from_raw(raw), lights.apply(light, own.light))
        masks = None if masks is None else masks.repeat_interleave(count, 0)
        return rendered.image, surface_mask(masks, rendered.warp)

    @cached_property
    def _distributions(self) -> tuple[ViewDistribution, LightDistribution]:
        view, light = self.config.view, self.config.light
        return (
            ViewDistribution(load_statistics(view.statistics, 6), view.yaw_scale),
            LightDistribution(
                (light.x[0], light.x[1]),
                (light.y[0], light.y[1]),
                (light.diffuse[0], light.diffuse[1]),
                light.ambient_factor,
            ),
        )

    def _projection(
        self, group: range, local: list[int], count: int, key: str
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pseudo samples, their masks, projected samples and offsets."""
        pseudo, masks = self._pseudo_samples(group, local, count, key)
        slots = self.slots(local)
        reference = self._sampling_factors(group)[2][slots]
        projected, offset = self.project(pseudo, self.latents.w[local], reference, slots)
        return pseudo, masks, projected, offset

    def _step2(self, group: range, _: Any) -> Terms:
        """Train E to project pseudo samples (eq. 2)."""

        def compute(local: list[int]) -> Terms:
            pseudo, masks, projected, offset = self._projection(
                group, local, self.config.batch, "pseudo"
            )
            k = len(local)
            distance = discriminator_distance(projected, pseudo, masks, self.discriminator, k)
            return {
                "projection_l1": masked_l1(projected, pseudo, masks, k).mean(),
                "projection_features": distance.mean(),
                "offset": self.config.losses.offset * offset_penalty(offset),
            }

        return self._update(self._shard(group), compute)

    def _collect(self, group: range) -> None:
        """Project fresh pseudo samples of all instances and keep them."""
        rank, world = rank_and_world()
        total, batch = self.config.samples_per_instance, self.config.batch
        self.projected.zero_()
        self.projected_masks.zero_()
        own = list(group)[rank::world]
        size = max(1, 4 * CHUNK // batch)
        for start in range(0, total, batch):
            count = min(batch, total - start)
            for first in range(0, len(own), size):
                local = own[first : first + size]
                _, masks, images, _ = self._projection(group, local, count, f"collect/{start}")
                slots, place = self.slots(local), slice(start, start + count)
                self.projected[slots, place] = images.unflatten(0, (-1, count)).half()
                self.projected_masks[slots, place] = masks.unflatten(0, (-1, count)) > 0.5
        if world > 1:
            for slot in self.slots(group):  # each instance lies on one process: the sum is exact
                for buffer in (self.projected, self.projected_masks):
                    sent = buffer[slot].float()
                    dist.all_reduce(sent)
                    buffer[slot] = sent.to(buffer.dtype)

    # -- step 3 ---------------------------------------------------------------------------------

    def _projected_batch(self, group: range, local: list[int]) -> tuple[Tensor, Tensor]:
        """Next projected samples (k, m, 3, S, S) and masks (k, m, 1, S, S), in shuffled passes."""
        total, count = self.config.samples_per_instance, self.config.step3_batch
        epoch, part = divmod(self.phase_step, total // count)
        if self.config.targets:  # instances come and go: a random subset each time
            epoch, part = self.step, 0
        rows = [
            torch.randperm(
                total, generator=self.instance_rng(f"projected/{self.phase_index}", i, epoch)
            )[part * count : (part + 1) * count]
            for i in local
        ]
        index = torch.stack(rows).to(self.device)
        slots = torch.tensor(self.slots(local), device=self.device)[:, None]
        return self.projected[slots, index].float(), self.projected_masks[slots, index].float()

    def _step3(self, group: range, stage: int, _: Any) -> Terms:
        """Train D, A, V and L to reconstruct the target and its projected samples (eq. 3)."""
        flip = self.config.mirrored("step3", stage)

        def compute(local: list[int]) -> Terms:
            slots, k = self.slots(local), len(local)
            target = self.targets[local]
            projected, cached_masks = self._projected_batch(group, local)
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
            maps = (torch.stack(m, 1)[:, :, None] for m in zip(*copies, strict=True))
            maps = tuple(m.expand(-1, -1, n, -1, -1, -1).flatten(0, 2) for m in maps)
            views, lights = (x[:, None].expand(-1, f, -1, -1).flatten(0, 2) for x in (view, light))
            r = photogeometric(
                *maps,
                view_from_raw(views),
                light_from_raw(lights),
                self.camera,
                half_pixel=self.config.compat.half_pixel,
            )
            image, mask, diffuse = (
                x.unflatten(0, (k, f, n)) for x in (r.image, r.mask, r.diffuse)
            )
            terms: dict[str, Tensor] = {}
            valid = mask[:, :, 0].prod(1)
            for copy in range(f):
                self._add_image_loss(terms, image[:, copy, 0], target, valid, copy, "target", k)
                seen = (mask[:, copy, 1:] * cached_masks).flatten(0, 1)
                self._add_image_loss(
                    terms, image[:, copy, 1:].flatten(0, 1), projected.flatten(0, 1), seen, copy,
                    "projected", k,
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
