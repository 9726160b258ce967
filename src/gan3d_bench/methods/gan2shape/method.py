"""GAN2Shape (Pan et al., ICLR 2021): the run, put together of its parts.

A run holds the images it is fitted to, their stylecodes and its result, trains its networks in
phases (`schedule.py`) by the losses of `objective.py`, and gives scenes.

Instances of a step are shared out over processes. Every process holds all weights, projected
samples and stylecodes: gradients are averaged by `descend`, projected samples exchanged once
collected. Random numbers of an instance are keyed by its global index, so its training does not
depend on who computes it or on what else is in the run (with independent weights).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.generators.names import teacher_hash
from gan3d_bench.methods.gan2shape.config import GAN2ShapeConfig
from gan3d_bench.methods.gan2shape.data import load_instances
from gan3d_bench.methods.gan2shape.factors import depth_from_raw
from gan3d_bench.methods.gan2shape.fitted import FittedFactors
from gan3d_bench.methods.gan2shape.groups import Groups, active_part, own_share
from gan3d_bench.methods.gan2shape.instances import FittedImages
from gan3d_bench.methods.gan2shape.inversion import Inversion
from gan3d_bench.methods.gan2shape.latents import Latents
from gan3d_bench.methods.gan2shape.model import GAN2ShapeNetworks
from gan3d_bench.methods.gan2shape.objective import FixedGeometry, Objective
from gan3d_bench.methods.gan2shape.photogeometry import Renderer
from gan3d_bench.methods.gan2shape.projection import (
    ProjectedSamples,
    Projector,
    Subjects,
    next_samples,
)
from gan3d_bench.methods.gan2shape.results import Results
from gan3d_bench.methods.gan2shape.scene import ProjectedScene
from gan3d_bench.methods.gan2shape.schedule import GroupSteps, group_phases
from gan3d_bench.methods.gan2shape.target_distances import TargetDistances, first_rows
from gan3d_bench.methods.gan2shape.teacher import FrozenTeacher
from gan3d_bench.methods.gan2shape.warmup import WarmUp
from gan3d_bench.methods.phases import Phase, PhasedMethod, Terms
from gan3d_bench.scenes.base import Scene
from gan3d_bench.scenes.depth_map import DepthMapScene
from gan3d_bench.scenes.preview import Preview


class GAN2Shape(PhasedMethod):
    """Shape, albedo, view and light of images, found through a 2D GAN.

    Instance-specific: a run reconstructs the images it was fitted to. With shared weights and one
    group its networks also take other images.

    Raises:
        UserError: the teacher or the perceptual network is missing or does not fit the config.
    """

    config: GAN2ShapeConfig
    w_deviation: Tensor
    directions: Tensor  # (w_dim, 10) offsets of w for raw views and lights, of the warm-up
    group_index: Tensor

    def __init__(self, config: GAN2ShapeConfig) -> None:
        super().__init__(config)
        teacher = FrozenTeacher(config)
        self.frozen["teacher"] = teacher
        self.renderer = Renderer.from_config(config)
        self.networks = GAN2ShapeNetworks(config, teacher.code_size, self.renderer)
        self.projector = Projector(config, self.networks, teacher)
        self.objective = Objective(
            config.losses, self.renderer, teacher.perceptual, teacher.projection_discriminator
        )
        self.warm_up = WarmUp(config, self.projector, self.objective, self.rng)
        self.inversion = Inversion(config.inversion, teacher)
        self.groups = Groups(config.instances, config.group_size)
        self.images = FittedImages(config, teacher.generator.image_size)
        self.latents = Latents(config.instances, teacher.generator.w_dim)
        self.projected = ProjectedSamples(
            config.group_size, config.samples_per_instance, config.image_size
        )
        self.fitted = FittedFactors(config.instances, config.image_size)
        self.results = Results(config, self.images, self.latents, self.fitted, self.projector)
        self.register_buffer("w_deviation", torch.zeros(()))
        self.register_buffer("directions", torch.zeros(teacher.generator.w_dim, 10))
        self.register_buffer("group_index", torch.zeros((), dtype=torch.int64))
        self._cache: dict[tuple[int, str], Any] = {}

    @property
    def teacher(self) -> FrozenTeacher:
        """What the run learns from; no part of its weights."""
        return self.frozen["teacher"]  # type: ignore[return-value]

    # -- loading --------------------------------------------------------------------------------

    def on_fit_start(self) -> None:
        """Load instances and statistics, unless a checkpoint has brought them.

        Raises:
            UserError: something the config names is missing or damaged.
        """
        for name in {self.config.perceptual, self.config.inversion.perceptual} - {""}:
            self.teacher.perceptual(name)
        if self.images.loaded:
            return
        instances = load_instances(self.config, self.teacher.generator)
        if instances.latents is not None:
            self.latents.w.data.copy_(instances.latents)
        self.networks.load_means()
        self.networks.start  # noqa: B018  (read now, so that a wrong `start` is found now)
        self.images.fill(instances)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self._cache.clear()

    def extra_metadata(self) -> Mapping[str, Any]:
        """The teacher, with its hash, and the perceptual network."""
        return {
            "teacher": self.config.teacher,
            "teacher_sha256": teacher_hash(self.config.teacher),
            "perceptual": self.config.perceptual,
            "data": f"{self.config.data} {self.config.split}".strip(),
        }

    # -- training -------------------------------------------------------------------------------

    def phases(self) -> Sequence[Phase]:
        """Those of each group, which begin with the start's weights."""
        phases: list[Phase] = []
        for index, group in enumerate(self.groups):
            prefix = self.groups.prefix(index)
            own = group_phases(self.config, group, prefix, self._group_steps(group))
            own = [phase for phase in own if phase.steps > 0]
            if own:
                own[0] = replace(own[0], begin=partial(self._begin_group, index, own[0].begin))
            phases += own
        return phases

    def _group_steps(self, group: range) -> GroupSteps:
        warm_up = self.warm_up

        def prior() -> Tensor:
            return self._cached("prior", lambda: self.images.prior(group[0]))

        def find_directions() -> None:
            self.directions.copy_(warm_up.find_directions(prior()))

        return GroupSteps(
            begin_inversion=self._begin_inversion,
            end_inversion=self._end_inversion,
            invert=self._invert,
            fit_prior=partial(self._fit_prior, group),
            warm_up_encoder=partial(self._warm_up, group, warm_up.encoder_terms),
            warm_up_lifted=partial(
                self._warm_up, group, lambda *batch: warm_up.lifted_terms(prior(), *batch)
            ),
            warm_up_pose=partial(
                self._warm_up, group, lambda *batch: warm_up.pose_terms(self.directions, *batch)
            ),
            find_directions=find_directions,
            step1=lambda stage: partial(self._step1, group, stage),
            step2=partial(self._step2, group),
            step3=lambda stage: partial(self._step3, group, stage),
            collect=partial(self._collect, group),
            store=partial(self._store, group),
        )

    def _begin_group(self, index: int, begin: Callable[[], None] | None) -> None:
        self.group_index.fill_(index)
        self.networks.reset()
        if begin is not None:
            begin()

    def _cached(self, key: str, compute: Callable[[], Any]) -> Any:
        """A value that does not change within the current phase, computed once."""
        place = (self.phase_index, key)
        if place not in self._cache:
            self._cache = {k: v for k, v in self._cache.items() if k[0] == self.phase_index}
            self._cache[place] = compute()
        return self._cache[place]

    def _instance_rng(self, key: str, instance: int, step: int | None = None) -> torch.Generator:
        """Random generator of one instance and step (of the phase), whatever its group.

        The same on every process, and the same in a run of this instance alone.
        """
        prefix = self.groups.prefix(int(self.group_index))
        phase = "" if self.finished else self.phase.name.removeprefix(prefix)
        key = f"{key}/{phase}/{self.config.first + instance}"
        return self.rng(key, self.phase_step if step is None else step)

    def _active(self, group: range) -> list[int]:
        """Instances of this step: all of the group, or the next `targets` of a shuffled pass."""
        key = f"targets/{self.phase_index}"
        return active_part(
            group, self.config.targets, self.phase_step, lambda epoch: self.rng(key, step=epoch)
        )

    def _update(self, active: Sequence[int], compute: Callable[[list[int]], Terms]) -> Terms:
        """Descend the instances' mean loss (shared weights) or the sum of their losses."""
        local = own_share(active)
        shared = self.config.weights == "shared"
        self.gradient_weight = len(local) / len(active) if shared else 1.0
        if not local:
            return self._idle()
        self.batch = {"instances": local}
        factor = 1 if shared else len(local)
        terms = compute(local)
        self.descend({key: value * factor for key, value in terms.items()})
        return {key: value.detach() for key, value in terms.items()}

    def _idle(self) -> Terms:
        """With more processes than instances: take part in the averaging of gradients only."""
        self.descend({"idle": torch.zeros((), device=self.device, requires_grad=True)})
        return {}

    # -- inversion, prior, warm-up --------------------------------------------------------------

    def _begin_inversion(self, part: range) -> None:
        mean, deviation = self.inversion.start(self.rng("w statistics", step=0))
        self.w_deviation.copy_(deviation)
        self.latents.w.data[list(part)] = mean

    def _invert(self, part: range, _: Any) -> Terms:
        local = own_share(part)
        self.gradient_weight = 1.0  # each image has a stylecode of its own
        if not local:
            return self._idle()
        self.batch = {"instances": local}
        targets = self._cached(
            "inversion", lambda: self.inversion.targets(self.images.originals[local])
        )
        rngs = [self.rng(f"inversion/{self.config.first + i}", self.phase_step) for i in local]
        w = self.latents.w[local]
        noise = torch.stack([torch.randn(w.shape[1], generator=rng) for rng in rngs]).to(w)
        step = self.phase_step
        return self.descend(self.inversion.terms(w, noise, self.w_deviation, step, targets))

    def _end_inversion(self, part: range) -> None:
        local = list(part)  # of all processes: each has all stylecodes, and gets the same
        w = self.latents.w.data
        w[local] = self.inversion.refined(w[local], self.images.originals[local])

    def _fit_prior(self, group: range, _: Any) -> Terms:
        priors = self._cached("priors", lambda: torch.stack([self.images.prior(i) for i in group]))

        def compute(local: list[int]) -> Terms:
            slots = self.groups.slots(local)
            raw = self.networks.depth_net(self.images.targets[local], slots).float()
            return {"prior": (depth_from_raw(raw)[:, 0] - priors[slots]).square().mean()}

        first_only = self.config.compat.prior_first_image
        return self._update(self._active(group[:1] if first_only else group), compute)

    def _warm_up(self, group: range, terms: Callable[[int, Sequence[int]], Terms], _: Any) -> Terms:
        """A step on samples of the teacher, `batch` for each instance of the group."""
        count = self.config.batch * len(group)
        local = own_share(range(count))
        if not local:
            return self._idle()
        self.gradient_weight = len(local) / count
        return self.descend(terms(count, local))

    # -- steps 1 to 3 ---------------------------------------------------------------------------

    def _step1(self, group: range, stage: int, _: Any) -> Terms:
        """Fit A to the target with everything else fixed."""
        flip = self.config.mirrored("step1", stage)

        def fixed() -> FixedGeometry:
            factors = self.networks.fixed_factors(
                self.images.targets[list(group)], self.groups.slots(group)
            )
            return self.objective.fixed_geometry(factors, flip=flip)

        geometry = self._cached("geometry", fixed)

        def compute(local: list[int]) -> Terms:
            slots, target = self.groups.slots(local), self.images.targets[local]
            albedo = self.networks.albedo(target, slots)
            distances = self._target_distances(group, projected=False)
            return self.objective.step1(
                albedo,
                geometry,
                slots,
                target,
                self.images.target_masks(local),
                distances(slots, first_rows(slots)),
            )

        return self._update(self._active(group), compute)

    def _step2(self, group: range, _: Any) -> Terms:
        """Train E to project pseudo samples (eq. 2)."""

        def compute(local: list[int]) -> Terms:
            slots = self.groups.slots(local)
            own = self._subjects(group).of(slots)
            rngs = [self._instance_rng("pseudo", i) for i in local]
            pseudo = self.projector.pseudo_samples(own, rngs, self.config.batch)
            projected, offset = self.projector.project(
                pseudo.images, self.latents.w[local], own.generated, slots
            )
            return self.objective.step2(projected, *pseudo, offset, len(local))

        return self._update(self._active(group), compute)

    def _subjects(self, group: range) -> Subjects:
        """What pseudo samples of a group are made from, in step 2."""
        index = list(group)
        masks = self.images.masks[index] if self.config.use_mask else None
        return self._cached(
            "subjects",
            lambda: self.projector.subjects(
                self.images.targets[index], self.latents.w[index], self.groups.slots(group), masks
            ),
        )

    def _collect(self, group: range) -> None:
        """Project fresh pseudo samples of all instances and keep them."""
        slots = self.groups.slots(group)
        self.projected.clear()
        self.projector.collect(
            self.projected,
            self._subjects(group),
            self.latents.w[list(group)],
            own_share(slots),
            lambda slot, first: self._instance_rng(f"collect/{first}", group[slot]),
        )
        self.projected.exchange(slots)

    def _target_distances(self, group: range, *, projected: bool) -> TargetDistances:
        """From each instance's target and, where asked for, its projected samples after it."""
        targets = self.images.targets[list(group)]
        samples = self.projected.images if projected else None
        return self._cached(
            "distances", lambda: TargetDistances.of(self.teacher.perceptual(), targets, samples)
        )

    def _step3(self, group: range, stage: int, _: Any) -> Terms:
        """Train D, A, V and L to reconstruct the target and its projected samples (eq. 3)."""
        flip = self.config.mirrored("step3", stage)

        def compute(local: list[int]) -> Terms:
            networks, slots, k = self.networks, self.groups.slots(local), len(local)
            target = self.images.targets[local]
            rows = next_samples(
                self.config,
                self.phase_step,
                lambda epoch: [self._instance_rng("order", i, epoch) for i in local],
            )
            kept = self.projected.take(slots, rows)
            distances = self._target_distances(group, projected=True)
            projected, masks = (x.unflatten(0, (k, -1)) for x in kept)
            images = torch.cat((target[:, None], projected), 1).flatten(0, 1)
            view, light = networks.raw_view(images, slots), networks.raw_light(images, slots)
            return self.objective.step3(
                networks.depth(target, slots),
                networks.albedo(target, slots),
                view.unflatten(0, (k, -1)),
                light.unflatten(0, (k, -1)),
                target,
                self.images.target_masks(local),
                projected,
                masks,
                from_target=distances(slots, first_rows(slots)),
                from_projected=distances(slots, rows + 1),
                flip=flip,
            )

        return self._update(self._active(group), compute)

    def _store(self, group: range) -> None:
        """Keep the group's factors as the run's result."""
        images = self.images.targets[list(group)]
        self.fitted.store(group, self.networks, images, self.groups.slots(group))

    # -- results --------------------------------------------------------------------------------

    def reconstruct(self, images: Tensor) -> DepthMapScene:
        """Lift `images` (B, 3, S, S) in [-1, 1] to a depth-map scene.

        Raises:
            UserError: wrong image size, or an image that the run was not fitted to and whose
                networks are instance-specific.
        """
        return self.results.depth_scene(images.to(self.device, torch.float32), self._group)

    def row_scene(self, kind: str, images: Tensor) -> Scene:
        """The scene of a kind: by `reconstruct`, or "gan" by `gan_scene` of the images' instances.

        Raises:
            UserError: as these two; for "gan", an image that the run was not fitted to.
        """
        if kind != "gan":
            return super().row_scene(kind, images)
        return self.gan_scene(self.images.require(images.to(self.device, torch.float32)))

    def gan_scene(self, instances: Sequence[int]) -> ProjectedScene:
        """The scene of instances (positions in the run) that turns and relights by the GAN.

        Raises:
            UserError: their encoder is gone: only the last group's networks are kept.
        """
        instances, group = list(instances), self._group
        if not set(instances) <= set(group):
            raise UserError(
                f"the run keeps the encoder of instances {group[0]} to {group[-1]} only, "
                f"asked for {instances}"
            )
        return self.results.gan_scene(instances)

    def items(self) -> list[int] | None:
        """Test images the run was fitted to; None when its networks take any image."""
        config = self.config
        if (
            config.data in ("heads", "teacher", "synface")
            and config.split == "test"
            and not config.joint
        ):
            return list(range(config.first, config.first + config.instances))
        return None if self.results.takes_any else []

    def row_items(self, kind: str) -> list[int] | None:
        """See `Method.row_items`: of kind "gan" those of the last group, whose encoder is kept."""
        items = self.items()
        if kind != "gan" or not items:
            return items
        return [items[instance] for instance in self._group]

    def preview(self) -> Preview:
        """Inputs, inversions, factors, pseudo and projected samples of the current group."""
        if not self.images.loaded:
            return Preview()
        return self.results.preview(
            self._group, lambda i: self.rng(f"preview/{self.config.first + i}", step=0)
        )

    def framed(self, pictures: Tensor) -> Tensor:
        """See `Method.framed`: the centre crop that `crop` asks for."""
        return self.teacher.framed(pictures)

    @property
    def _group(self) -> range:
        """The group whose networks these are."""
        return self.groups[int(self.group_index)]
