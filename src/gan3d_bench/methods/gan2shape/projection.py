"""Pseudo samples, their projection onto the image manifold, and the projected samples kept.

Random numbers of an instance are keyed by its global index, so its samples do not depend on which
process draws them or on what else is in the run.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from gan3d_bench.distributed.processes import rank_and_size
from gan3d_bench.losses.photometric import masked_l1
from gan3d_bench.methods.gan2shape.factors import Factors, join_factors, view_from_raw
from gan3d_bench.methods.gan2shape.latents import offset_penalty
from gan3d_bench.methods.gan2shape.losses import discriminator_distance, surface_mask
from gan3d_bench.methods.gan2shape.model import GAN2ShapeModel
from gan3d_bench.methods.gan2shape.sampling import (
    LightDistribution,
    ViewDistribution,
    load_statistics,
)
from gan3d_bench.methods.gan2shape.subject_mask import carve
from gan3d_bench.rendering.shading import Light

# Images handled at once where nothing is trained.
CHUNK = 64


class PseudoSamples(NamedTuple):
    """Rendered pseudo samples, instance-major.

    Attributes:
        images: (B, 3, S, S) in [-1, 1].
        masks: (B, 1, S, S), where they show the canonical image's surface.
    """

    images: Tensor
    masks: Tensor


class GAN2ShapeSampler(GAN2ShapeModel):
    """Step 2's samples, of a group with the networks as they are."""

    @torch.no_grad()
    def frozen_factors(self, group: range) -> Factors:
        """Factors of the whole group, for phases that train neither D, V nor L."""
        parts = [group[i : i + CHUNK] for i in range(0, len(group), CHUNK)]
        return join_factors([self.factors(self.targets[p], self.slots(p)) for p in parts])

    def sampling_factors(self, group: range) -> tuple[Factors, Tensor | None, Tensor]:
        """Factors of the group, canonical object masks if used, and generated targets."""

        def compute() -> tuple[Factors, Tensor | None, Tensor]:
            with torch.no_grad():
                factors = self.frozen_factors(group)
                if self.config.compat.shared_scalars:
                    light = factors.light
                    last = (light.ambient[-1:], light.diffuse[-1:])
                    ambient, diffuse = (x.expand(len(factors)) for x in last)
                    factors = replace(factors, light=Light(ambient, diffuse, light.direction))
                masks = None
                if self.config.use_mask:
                    own = self.masks[list(group)]
                    masks = carve(own, factors.depth, factors.view, self.camera)
                w = self.latents.w[list(group)]
                generated = torch.cat([self.generated(part) for part in w.split(CHUNK)])
                return factors, masks, generated

        return self.cached("sampling", compute)

    @torch.no_grad()
    def pseudo_samples(self, group: range, local: list[int], count: int, key: str) -> PseudoSamples:
        """Render `count` pseudo samples of each instance."""
        factors, masks, _ = self.sampling_factors(group)
        slots = self.slots(local)
        rngs = [self.instance_rng(key, i) for i in local]
        chosen = None if masks is None else masks[slots]
        own = factors[torch.tensor(slots, device=self.device)]
        return self.render_samples(own, chosen, rngs, count)

    def render_samples(
        self, factors: Factors, masks: Tensor | None, rngs: list[torch.Generator], count: int
    ) -> PseudoSamples:
        """Render factors (k) at `count` random views and lights each."""
        views, lights = self.distributions
        raw = torch.cat([views.sample_raw(count, rng) for rng in rngs]).to(self.device)
        sample = torch.cat([lights.sample(count, rng) for rng in rngs]).to(self.device)
        own = factors[torch.arange(len(factors)).repeat_interleave(count).to(self.device)]
        light = lights.apply(sample, own.light)
        rendered = self.render(own, view_from_raw(raw), light)
        masks = None if masks is None else masks.repeat_interleave(count, 0)
        return PseudoSamples(rendered.image, surface_mask(masks, rendered.warp))

    @cached_property
    def distributions(self) -> tuple[ViewDistribution, LightDistribution]:
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

    def projection(
        self, group: range, local: list[int], count: int, key: str
    ) -> tuple[PseudoSamples, Tensor, Tensor]:
        """Pseudo samples, projected samples and offsets."""
        pseudo = self.pseudo_samples(group, local, count, key)
        slots = self.slots(local)
        reference = self.sampling_factors(group)[2][slots]
        projected, offset = self.project(pseudo.images, self.latents.w[local], reference, slots)
        return pseudo, projected, offset

    def projection_terms(
        self, projected: Tensor, pseudo: Tensor, masks: Tensor, offset: Tensor, instances: int
    ) -> dict[str, Tensor]:
        """The losses of eq. 2; images and masks are instance-major."""
        discriminator = self.projection_discriminator
        if discriminator is None:
            distance = self.perceptual()(projected, pseudo, masks)
        else:
            distance = discriminator_distance(projected, pseudo, masks, discriminator, instances)
        return {
            "projection_l1": masked_l1(projected, pseudo, masks, instances).mean(),
            "projection_features": distance.mean(),
            "offset": self.config.losses.offset * offset_penalty(offset),
        }

    def collect(self, group: range) -> None:
        """Project fresh pseudo samples of all instances and keep them."""
        rank, world = rank_and_size()
        total, batch = self.config.samples_per_instance, self.config.batch
        buffers = (self.projected, self.projected_masks)
        for buffer in buffers:
            buffer.zero_()
        own = list(group)[rank::world]
        size = max(1, 4 * CHUNK // batch)
        for start in range(0, total, batch):
            count = min(batch, total - start)
            for first in range(0, len(own), size):
                local = own[first : first + size]
                pseudo, images, _ = self.projection(group, local, count, f"collect/{start}")
                slots, place = self.slots(local), slice(start, start + count)
                self.projected[slots, place] = images.unflatten(0, (-1, count)).half()
                self.projected_masks[slots, place] = pseudo.masks.unflatten(0, (-1, count)) > 0.5
        if world > 1:
            for slot in self.slots(group):  # each instance lies on one process: the sum is exact
                for buffer in buffers:
                    sent = buffer[slot].float()
                    dist.all_reduce(sent)
                    buffer[slot] = sent.to(buffer.dtype)

    def projected_rows(self, local: list[int]) -> Tensor:
        """Which projected samples come next, (k, m), in shuffled passes."""
        total, count = self.config.samples_per_instance, self.config.step3_batch
        epoch, part = divmod(self.phase_step, total // count)
        if self.config.targets:  # instances come and go: a random subset each time
            epoch, part = self.phase_step, 0
        rngs = [self.instance_rng("order", i, epoch) for i in local]
        rows = [
            torch.randperm(total, generator=rng)[part * count : (part + 1) * count] for rng in rngs
        ]
        return torch.stack(rows).to(self.device)

    def projected_batch(self, local: list[int], rows: Tensor) -> PseudoSamples:
        """Projected samples (k * m) with masks; `rows` (k, m) as from `projected_rows`."""
        slots = torch.tensor(self.slots(local), device=self.device)[:, None]
        images, masks = (
            buffer[slots, rows].float().flatten(0, 1)
            for buffer in (self.projected, self.projected_masks)
        )
        return PseudoSamples(images, masks)
