"""The phases of training: pairs, F3D, the yaw direction and F_yaw, the UV generator."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Adam

from gan3d_bench.adversarial.optimizers import (
    discriminator_rate,
    generator_rate,
    lazy_adam,
)
from gan3d_bench.adversarial.step import Samples
from gan3d_bench.distributed.processes import rank_and_size
from gan3d_bench.errors import UserError
from gan3d_bench.generators.latents import sample_z
from gan3d_bench.generators.names import teacher_hash
from gan3d_bench.methods.phases import Phase, Trainable
from gan3d_bench.methods.uv3dmm.coefficients import Coefficients
from gan3d_bench.methods.uv3dmm.model import UV3DMMModel
from gan3d_bench.methods.uv3dmm.objective import reconstruction, roughness
from gan3d_bench.methods.uv3dmm.pairs import Pairs
from gan3d_bench.methods.uv3dmm.textured_face import UVMaps, Visibility, texel_weights
from gan3d_bench.methods.uv3dmm.training_views import KeptPictures, Pictures, View
from gan3d_bench.metrics.vertices import vertex_error
from gan3d_bench.rendering.mesh import MeshRendering
from gan3d_bench.schedules import cosine
from gan3d_bench.terminal import say

WARM_UP_END = 0.1  # factor on the warm-up's rate at its end


@dataclass(frozen=True)
class DrawnSamples(Samples):
    """What the discriminator judges, and where it comes from.

    Attributes:
        rendering: the faces alone.
        maps: that they wear.
    """

    rendering: MeshRendering = field(kw_only=True)
    maps: UVMaps = field(kw_only=True)


class UV3DMMTraining(UV3DMMModel):
    """How the networks are trained, phase by phase."""

    def phases(self) -> Sequence[Phase]:
        """See `PhasedMethod.phases`."""
        config = self.config
        coefficients, yaw, adversarial = config.coefficients, config.yaw, config.adversarial
        maps = config.maps
        kept = self.pairs.shards if maps.keep_pictures else 0
        fall = math.log(coefficients.lr_end / coefficients.lr)
        r1_interval = adversarial.r1_interval if adversarial.gamma > 0 else 0
        d_lr, d_betas = lazy_adam(adversarial.discriminator_lr, r1_interval)
        g_lr, g_betas = lazy_adam(adversarial.generator_lr, 0)
        trained = {
            "generator": Trainable(
                ("uv_generator",),
                partial(Adam, lr=g_lr, betas=g_betas),
                partial(generator_rate, adversarial),
            )
        }
        if self.discriminator is not None:
            trained["discriminator"] = Trainable(
                ("discriminator",),
                partial(Adam, lr=d_lr, betas=d_betas),
                partial(discriminator_rate, adversarial),
            )
        warmed = {
            "generator": Trainable(
                ("uv_generator",),
                partial(Adam, lr=maps.warmup_lr, betas=(0.9, 0.99)),
                lambda step: cosine(step, maps.warmup, WARM_UP_END),
            )
        }
        return [
            Phase("pairs", self.pairs.shards, {}, self._pairs_step, end=self._end_pairs),
            Phase(
                "coefficients",
                coefficients.steps,
                {
                    "coefficients": Trainable(
                        ("style_to_coefficients",),
                        partial(Adam, lr=coefficients.lr),
                        lambda step: math.exp(fall * step / max(1, coefficients.steps - 1)),
                    )
                },
                self._coefficients_step,
                begin=self._begin_coefficients,
                end=self._report_coefficients,
                batches=self._pair_batches,
            ),
            Phase(
                "yaw",
                yaw.steps,
                {"yaw": Trainable(("rotation",), partial(Adam, lr=yaw.lr))},
                self._yaw_step,
                begin=self._find_direction,
                end=self._report_yaw,
            ),
            Phase("pictures", kept, {}, self._pictures_step),
            Phase("warm-up", maps.warmup, warmed, self._warm_up_step),
            Phase("maps", adversarial.steps, trained, self._maps_step),
        ]

    # -- pairs ----------------------------------------------------------------------------------

    @cached_property
    def pairs(self) -> Pairs:
        """Stylecodes and coefficients; fitted as phase 1 comes to them."""
        teacher = f"{self.config.teacher} {teacher_hash(self.config.teacher)}"
        return Pairs(self.config, self.generator, self.styles, teacher, self._space.model)

    def _pairs_step(self, _: None) -> Mapping[str, Tensor]:
        return self.pairs.make_shard(self.phase_step)

    def _end_pairs(self) -> None:
        """Wait for the other processes' shards, and say what came of them all."""
        if rank_and_size()[1] > 1:
            dist.barrier()
        say(f"pairs: {self.pairs.summary}")

    # -- F3D ------------------------------------------------------------------------------------

    def _begin_coefficients(self) -> None:
        """Look at what the coefficients are like."""
        w, packed = self.pairs.train
        network = self.style_to_coefficients
        if self.config.coefficients.standardise:
            network.mean.copy_(packed.mean(0))
            network.deviation.copy_(packed.std(0).clamp(min=1e-6))
            network.w_mean.copy_(w.mean(0))
            network.w_deviation.copy_((w - w.mean(0)).square().mean().sqrt())

    def _pair_batches(self, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of pairs, each epoch in an order of its own; every process its share."""
        w, packed = self.pairs.train
        batch, step = min(self.config.coefficients.batch, len(w)), start
        self._require_share(batch, "coefficients.batch")
        a_round = len(w) // batch
        while True:
            order = torch.randperm(len(w), generator=self.rng("epoch", -1 - step // a_round))
            for index in range(step % a_round, a_round):
                mine = self.share(order[index * batch : (index + 1) * batch])
                self.gradient_weight = len(mine) / batch
                yield w[mine].to(self.device), packed[mine].to(self.device)
                step += 1

    def _coefficients_step(self, pair: tuple[Tensor, Tensor]) -> Mapping[str, Tensor]:
        w, packed = pair
        network = self.style_to_coefficients
        error = network.standardised(w) - (packed - network.mean) / network.deviation
        return self.descend({"coefficients": error.abs().mean()})

    def _report_coefficients(self) -> None:
        """Log how far F3D is off on the pairs that it has not seen."""
        w, packed = self.pairs.held_out
        found = torch.cat([self.style_to_coefficients(x.to(self.device)) for x in w.split(256)])
        truth = packed.to(self.device)
        own, fitted = Coefficients.unpack(found), Coefficients.unpack(truth)
        row = {f"val/{key}": x for key, x in self.vertex_errors(own, fitted).items()}
        row["val/coefficients"] = (found - truth).abs().mean().item()
        row["val/yaw"] = (own.yaw - fitted.yaw).abs().rad2deg().mean().item()
        self._log_row(row)

    def vertex_errors(self, own: Coefficients, truth: Coefficients) -> dict[str, float]:
        """Mean distances of vertices in percent of the head's height, sizes taken away.

        Of the own shapes, of the mean shape and of the next person's in their place.
        """
        space = self.space.faces
        there, here = space.vertices(truth.shape), space.vertices(own.shape)
        shapes = {"": here, "_mean_shape": space.mean[None], "_another": here.roll(1, 0)}
        return {
            f"vertices{name}": vertex_error(shape, there).mean().item()
            for name, shape in shapes.items()
        }

    # -- F_yaw ----------------------------------------------------------------------------------

    def _find_direction(self) -> None:
        config = self.config.yaw
        w = self.styles(sample_z(config.samples, self.generator.z_dim, self.rng("yaw", step=0)))
        self.rotation.find_direction(w, self.yaw, config.share, config.cost)

    def _yaw_step(self, _: None) -> Mapping[str, Tensor]:
        config = self.config.yaw
        self._require_share(config.batch, "yaw.batch")
        rng = self.rng("yaw-batch")
        z = sample_z(config.batch, self.generator.z_dim, rng)
        uniform = torch.rand(config.batch, generator=rng)
        z, uniform = self.share((z, uniform))
        self.gradient_weight = len(z) / config.batch
        low, high = self.rotation.range
        with torch.no_grad():
            w = self.styles(z)
        alpha = low + (high - low) * uniform.to(self.device)
        return self.descend(self.rotation.terms(w, alpha, self.yaw, config.penalty))

    def _report_yaw(self) -> None:
        """Log how far the yaw of symmetric stylecodes is from minus the original's, by F3D."""
        w, _ = self.pairs.held_out
        w = w.to(self.device)
        reached = self.yaw(self.rotation.symmetric(w, self.yaw))
        error = (reached + self.yaw(w)).abs().rad2deg().mean()
        self._log_row({"val/symmetric_yaw": error.item()})

    # -- UV generator ---------------------------------------------------------------------------

    def _warm_up_step(self, _: None) -> Mapping[str, Tensor]:
        self.gradient_weight = None
        views, draw = self._step_views()
        scalars = self.descend(self._terms(views, draw("g")), "generator")
        self._average()
        return scalars

    def _maps_step(self, _: None) -> Mapping[str, Tensor]:
        if self.discriminator is None:
            return self._warm_up_step(_)
        self.gradient_weight = None
        views, draw = self._step_views()
        scalars = self.adversarial.run(
            self,
            self.discriminator,
            reals=lambda: [Samples(view.target, weight=view.weight) for view in views],
            fakes=draw,
            terms=partial(self._terms, views),
        )
        self._average()
        return scalars

    @cached_property
    def kept(self) -> KeptPictures:
        """Pictures of the pairs, once F3D and F_yaw are trained."""
        config, maps = self.config, self.config.maps
        made_by = f"{config.image_size} {bool(config.losses.symmetric)} {maps.least_yaw}"
        networks: list[nn.Module] = [self.style_to_coefficients, self.rotation]
        return KeptPictures(self.pairs, self.pictures, made_by, networks)

    def _pictures_step(self, _: None) -> Mapping[str, Tensor]:
        self.kept.make_shard()
        return {}

    def _step_views(self) -> tuple[list[View], Callable[[str], list[DrawnSamples]]]:
        """The views of a step, and what draws them with the UV generator's maps."""
        with torch.no_grad():
            seen = self._step_pictures()
            views = self.views(seen)
        return views, partial(self._fakes, seen, views)

    def _step_pictures(self) -> Pictures:
        """This process's pictures of a step."""
        batch, rng = self.config.batch, self.rng("maps")
        if batch % rank_and_size()[1]:
            raise UserError(f"batch={batch}: expected a multiple of {rank_and_size()[1]} processes")
        if self.config.maps.stylecodes == "new":
            w = self.styles(self.share(sample_z(batch, self.generator.z_dim, rng)))
        else:
            stylecodes, _ = self.pairs.train
            chosen = self.share(torch.randint(len(stylecodes), (batch,), generator=rng))
            if self.config.maps.keep_pictures:
                return self.kept.read(self.pairs.train_numbers[chosen], self.device)
            w = stylecodes[chosen].to(self.device)
        right = torch.rand(batch, generator=self.rng("side")) < 0.5
        return self.pictures(w, self.share(right).to(self.device))

    def _average(self) -> None:
        if self.average is not None:
            self.average.update_parameters(self.uv_generator)

    @torch.no_grad()
    def pictures(self, w: Tensor, right: Tensor) -> Pictures:
        """What the teacher shows of stylecodes (B, w_dim) in the two views.

        Args:
            w: stylecodes.
            right: (B,) bool, the side of second views of faces that look ahead (`least_yaw`).
        """
        synthesis = self.generator.synthesis
        first = synthesis(w).float().clamp(-1, 1)
        if not self.config.losses.symmetric:
            return Pictures(w, w, (first,))
        yaw = self.yaw(w)
        least = math.radians(self.config.maps.least_yaw)
        aside = torch.where(right, least, -least).clamp(*self.rotation.range)
        symmetric = self.rotation(w, torch.where(yaw.abs() < least, aside, -yaw))
        return Pictures(w, symmetric, (first, synthesis(symmetric).float().clamp(-1, 1)))

    @torch.no_grad()
    def views(self, seen: Pictures) -> list[View]:
        """The views that train the maps.

        The symmetric one is left out where it has no weight. It shows the same shape and
        expression with the rotation, translation and light that F3D reads from the symmetric
        stylecode.
        """
        own = self.coefficients(seen.w)
        first, *others = seen.targets
        views = [View(first, own, 1.0)]
        for target in others:
            turned = self.coefficients(seen.symmetric)
            if self.config.maps.symmetric_from == "w":
                turned = own.seen_as(turned)
            views.append(View(target, turned, self.config.losses.symmetric))
        return views

    def _fakes(self, seen: Pictures, views: Sequence[View], _: str) -> list[DrawnSamples]:
        """Renderings of each view, pasted into the teacher's picture as in the paper's results."""
        maps = [self.uv_generator(seen.w)] * len(views)
        if len(views) > 1 and self.config.maps.symmetric_from == "w_sym":
            maps[1] = self.uv_generator(seen.symmetric)
        return [self._draw(view, seen) for view, seen in zip(views, maps, strict=True)]

    def _draw(self, view: View, maps: UVMaps) -> DrawnSamples:
        rendering = self.renderer.render(view.coefficients, maps)
        return DrawnSamples(
            rendering.over(view.target), weight=view.weight, rendering=rendering, maps=maps
        )

    def _terms(self, views: Sequence[View], drawn: Sequence[DrawnSamples]) -> dict[str, Tensor]:
        """The terms of the generator's step beside the discriminator's."""
        losses = self.config.losses
        seen = self.texels(drawn)
        parts = [
            view.weight
            * reconstruction(
                view.target,
                each.rendering.rgb,
                visibility.pixels(weight),
                self.perceptual,
                losses.perceptual,
            )
            for view, each, (visibility, weight) in zip(views, drawn, seen, strict=True)
        ]
        terms = {"reconstruction": losses.reconstruction * torch.stack(parts).sum()}
        maps = drawn[0].maps
        if losses.smooth and maps.displacement is not None:
            terms["smooth"] = losses.smooth * roughness(
                maps.displacement / self.config.maps.largest
            )
        if losses.fill:
            shown = torch.stack([weight for _, weight in seen]).amax(0) > 0
            terms["fill"] = losses.fill * roughness(maps.diffuse, ~shown)
        return terms

    def texels(self, drawn: Sequence[DrawnSamples]) -> list[tuple[Visibility, Tensor]]:
        """Where the pixels of each view lie in the maps, and what the texels (B, 1, h, w) weigh."""
        size = self.uv_generator.map_size
        seen = [self.renderer.visibility(each.rendering, size) for each in drawn]
        reached = [each.reached() for each in seen]
        if len(seen) == 1:
            return [(seen[0], reached[0].float())]
        weights = texel_weights(reached[0], reached[1], self.config.maps.shared)
        return list(zip(seen, weights, strict=True))

    # -- parts ----------------------------------------------------------------------------------

    def _require_share(self, batch: int, name: str) -> None:
        if batch < rank_and_size()[1]:
            raise UserError(f"{name}={batch}: expected at least one a process")

    def _log_row(self, row: Mapping[str, float]) -> None:
        for logger in self.loggers:
            logger.log_metrics(dict(row), step=self.step)
