"""Step 2's samples: pseudo samples, their projection onto the image manifold, those kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gan3d_bench.distributed.processes import rank_and_size
from gan3d_bench.methods.gan2shape.config import GAN2ShapeConfig
from gan3d_bench.methods.gan2shape.factors import Factors, view_from_raw
from gan3d_bench.methods.gan2shape.model import CHUNK, GAN2ShapeNetworks
from gan3d_bench.methods.gan2shape.photogeometry import per_sample, surface_mask
from gan3d_bench.methods.gan2shape.sampling import (
    LightDistribution,
    ViewDistribution,
    load_statistics,
)
from gan3d_bench.methods.gan2shape.subject_mask import carve
from gan3d_bench.methods.gan2shape.teacher import FrozenTeacher
from gan3d_bench.rendering.shading import LambertLight


class PseudoSamples(NamedTuple):
    """Images and where they count, instance-major.

    Attributes:
        images: (B, 3, S, S) in [-1, 1].
        masks: (B, 1, S, S), where they show the canonical image's surface.
    """

    images: Tensor
    masks: Tensor


@dataclass(frozen=True)
class Subjects:
    """What pseudo samples of k instances are made from and compared with, one a slot.

    Attributes:
        factors: of the k instances' images.
        masks: (k, 1, S, S) canonical object masks; None: the whole canonical image counts.
        generated: (k, 3, S, S) generated targets G(w).
    """

    factors: Factors
    masks: Tensor | None
    generated: Tensor

    def of(self, slots: Sequence[int]) -> Subjects:
        """Those of some slots, in their order."""
        index = torch.tensor(slots, device=self.generated.device)
        masks = None if self.masks is None else self.masks[index]
        return Subjects(self.factors[index], masks, self.generated[index])


class ProjectedSamples(nn.Module):
    """P projected samples of each of a group's K instances, as buffers in half precision.

    Args:
        slots: K.
        count: P.
        size: side S of the images.
    """

    images: Tensor  # (K, P, 3, S, S) float16 in [-1, 1]
    masks: Tensor  # (K, P, 1, S, S) bool

    def __init__(self, slots: int, count: int, size: int) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(slots, count, 3, size, size).half())
        self.register_buffer("masks", torch.zeros(slots, count, 1, size, size, dtype=torch.bool))

    def clear(self) -> None:
        """Forget all samples."""
        for buffer in self.buffers():
            buffer.zero_()

    def put(self, slots: Sequence[int], first: int, samples: PseudoSamples) -> None:
        """Keep m samples of each slot, `samples` (k * m), as the slots' samples from `first` on."""
        images, masks = (x.unflatten(0, (len(slots), -1)) for x in samples)
        place = slice(first, first + images.shape[1])
        self.images[list(slots), place] = images.half()
        self.masks[list(slots), place] = masks > 0.5

    def take(self, slots: Sequence[int], index: Tensor) -> PseudoSamples:
        """Samples `index` (k, m) of k slots, as k * m images in float32."""
        index = index.to(self.images.device)
        rows = torch.tensor(slots, device=self.images.device)[:, None]
        return PseudoSamples(
            *(kept[rows, index].float().flatten(0, 1) for kept in (self.images, self.masks))
        )

    def exchange(self, slots: Sequence[int]) -> None:
        """Give every process the samples of slots that lie on one process each, zero elsewhere."""
        if rank_and_size()[1] == 1:
            return
        for slot in slots:  # each lies on one process: the sum is exact
            for buffer in (self.images, self.masks):
                sent = buffer[slot].float()
                dist.all_reduce(sent)
                buffer[slot] = sent.to(buffer.dtype)


class Projector:
    """Renders pseudo samples and projects them onto the teacher's image manifold.

    Args:
        config: of the run.
        networks: E projects; D, A, V and L say what is rendered.
        teacher: makes the projected samples.
    """

    def __init__(
        self, config: GAN2ShapeConfig, networks: GAN2ShapeNetworks, teacher: FrozenTeacher
    ) -> None:
        self.config = config
        self.networks = networks
        self.teacher = teacher
        self.renderer = networks.renderer

    @cached_property
    def distributions(self) -> tuple[ViewDistribution, LightDistribution]:
        """Views and lights of pseudo samples (A.2.3)."""
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

    @torch.no_grad()
    def subjects(
        self, images: Tensor, w: Tensor, slots: Sequence[int], masks: Tensor | None = None
    ) -> Subjects:
        """Look at instances with the networks as they are.

        Args:
            images: (k, 3, S, S), one a slot.
            w: (k, w_dim) their stylecodes.
            slots: the k instances' slots.
            masks: (k, 1, S, S) of the subjects in the images; None: the background counts too.
        """
        factors = self.networks.fixed_factors(images, slots)
        if self.config.compat.shared_scalars:
            light = factors.light
            last = (light.ambient[-1:], light.diffuse[-1:])
            ambient, diffuse = (x.expand(len(factors)) for x in last)
            factors = replace(factors, light=LambertLight(ambient, diffuse, light.direction))
        if masks is not None:
            masks = carve(masks, factors.depth, factors.view, self.renderer.camera)
        generated = torch.cat([self.teacher.generated(part) for part in w.split(CHUNK)])
        return Subjects(factors, masks, generated)

    @torch.no_grad()
    def pseudo_samples(
        self, subjects: Subjects, rngs: Sequence[torch.Generator], count: int
    ) -> PseudoSamples:
        """Render `count` pseudo samples of each of k subjects, k * count in all.

        Args:
            subjects: k.
            rngs: k, each draws the views and lights of a subject.
            count: samples of each.
        """
        views, lights = self.distributions
        factors, masks = subjects.factors, subjects.masks
        device = factors.depth.device
        raw = torch.cat([views.sample_raw(count, rng) for rng in rngs]).to(device)
        sample = torch.cat([lights.sample(count, rng) for rng in rngs]).to(device)
        own = factors[torch.arange(len(factors)).repeat_interleave(count).to(device)]
        rendered = self.renderer.render(own, view_from_raw(raw), lights.apply(sample, own.light))
        masks = None if masks is None else per_sample(masks, count)
        return PseudoSamples(rendered.image, surface_mask(masks, rendered.warp))

    def find_offset(self, pseudo: Tensor, reference: Tensor, slots: Sequence[int]) -> Tensor:
        """The offsets (k * m, w_dim) of `project`, without what they generate (eq. 7)."""
        code = self.networks.encoder(pseudo, slots)
        if not self.config.offset.relative:
            return self.teacher.offset(code)
        centre = self.networks.encoder(reference, slots)
        return self.teacher.offset(code, per_sample(centre, len(pseudo) // len(reference)))

    def project(
        self, pseudo: Tensor, w: Tensor, reference: Tensor, slots: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Project pseudo samples onto the image manifold: ``G(w + E's offset)`` (eq. 2).

        Args:
            pseudo: (k * m, 3, S, S), m samples an instance.
            w: (k, w_dim) stylecodes of the instances.
            reference: (k, 3, S, S) generated targets G(w).
            slots: the k instances' slots.

        Returns:
            projected samples (k * m, 3, S, S) in [-1, 1] and offsets (k * m, w_dim).
        """
        offset = self.find_offset(pseudo, reference, slots)
        return self.teacher.generated(per_sample(w, len(pseudo) // len(w)) + offset), offset

    @torch.no_grad()
    def collect(
        self,
        kept: ProjectedSamples,
        subjects: Subjects,
        w: Tensor,
        slots: Sequence[int],
        rng: Callable[[int, int], torch.Generator],
    ) -> None:
        """Project fresh pseudo samples and keep them.

        Args:
            kept: filled in the slots that are asked for.
            subjects: of all slots.
            w: (K, w_dim) stylecodes of all slots.
            slots: whose samples are made here.
            rng: of a slot's samples from a number on: called with the two.
        """
        total, batch = self.config.samples_per_instance, self.config.batch
        size = max(1, 4 * CHUNK // batch)  # slots handled at once
        for first in range(0, total, batch):
            count = min(batch, total - first)
            for start in range(0, len(slots), size):
                part = list(slots[start : start + size])
                own = subjects.of(part)
                pseudo = self.pseudo_samples(own, [rng(slot, first) for slot in part], count)
                images, _ = self.project(pseudo.images, w[part], own.generated, part)
                kept.put(part, first, PseudoSamples(images, pseudo.masks))


def next_samples(
    config: GAN2ShapeConfig, step: int, rngs: Callable[[int], Sequence[torch.Generator]]
) -> Tensor:
    """Which projected samples (k, m) of k instances come next, in shuffled passes.

    Args:
        config: of the run.
        step: of the phase.
        rngs: number of a pass -> what shuffles it, for each instance.
    """
    total, count = config.samples_per_instance, config.step3_batch
    epoch, part = divmod(step, total // count)
    if config.targets:  # instances come and go: a random subset each time
        epoch, part = step, 0
    passes = [torch.randperm(total, generator=rng) for rng in rngs(epoch)]
    return torch.stack(passes)[:, part * count : (part + 1) * count]
