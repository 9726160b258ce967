"""GAN inversion: images to stylecodes, and to generators tuned around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Adam

from gan3d_bench.errors import NonFiniteLossError, UserError
from gan3d_bench.generators.base import Generator, Teacher
from gan3d_bench.generators.inversion.config import InversionConfig
from gan3d_bench.generators.inversion.pivotal import tune
from gan3d_bench.generators.inversion.projection import (
    code_terms,
    learning_rate_factor,
    noise_regulariser,
    noise_scale,
    normalise,
    projection_terms,
    squared_error,
)
from gan3d_bench.generators.inversion.refinement import Principal, refine
from gan3d_bench.generators.latents import w_statistics
from gan3d_bench.generators.stylegan2.generator import Synthesis
from gan3d_bench.losses.perceptual import PerceptualLoss, build_perceptual
from gan3d_bench.rendering.images import resize

Progress = Callable[[str, int], None]
"""Told what is being done and how many steps are done of `steps_in_all`."""


@dataclass(frozen=True)
class Inversion:
    """B inverted images.

    Attributes:
        w: (B, w_dim), or (B, num_ws, w_dim) in W+.
        images: (B, 3, S, S) what the generators make of `w`, not clamped; S is their size.
        distance: (B,) perceptual distance from the given images.
        error: (B,) mean squared error in [-1, 1], at the size at which images were compared.
        perceptual: name of that distance.
        noise: noise maps (B, 1, s, s) fitted with `w`, if any.
        generators: one tuned generator an image, none without pivotal tuning.
        projection: the same before pivotal tuning; None without.
    """

    w: Tensor
    images: Tensor
    distance: Tensor
    error: Tensor
    perceptual: str
    noise: Sequence[Tensor] = ()
    generators: Sequence[Generator] = ()
    projection: Inversion | None = None


def steps_in_all(config: InversionConfig, images: int) -> int:
    """Return what `Progress` counts up to for a number of images."""
    return images * (config.steps + config.refinement.steps + config.pivotal.steps)


def perceptual_name(teacher: Teacher, config: InversionConfig) -> str:
    """Return the name of a config's distance: by default the discriminator's, else LPIPS."""
    default = "discriminator" if teacher.discriminator is not None else "lpips-vgg"
    return config.perceptual or default


def invert(
    teacher: Teacher,
    images: Tensor,
    config: InversionConfig,
    rng: torch.Generator,
    progress: Progress = lambda what, done: None,
    *,
    start: Tensor | None = None,
    first: int = 0,
) -> Inversion:
    """Find stylecodes whose images look like the given ones.

    The result of an image depends on `rng` and its index, not on the images beside it.

    Args:
        teacher: the generator, left as it is, and its discriminator for some distances.
        images: (B, 3, S, S) in [-1, 1], framed like the generator's training images; of a
            generator with fewer rows (B, 3, R, S) in its proportions. Compared at the least width
            of S, the generator's size and `config.compare_size`.
        config: how.
        rng: on the CPU; draws the statistics of w, then keys every image's own noise.
        progress: told what is being done and how many steps are done, of `steps_in_all`.
        start: stylecodes to start from, (w_dim,), (B, w_dim) or in W+ (B, num_ws, w_dim); None
            starts from the mean of w.
        first: index of the first image.

    Raises:
        UserError: the generator takes labels or has no noise maps to fit, the distance's asset is
            missing, it needs a discriminator or larger images, or `images` has the wrong shape.
        NonFiniteLossError: a term of the loss became NaN or infinite.
    """
    generator, size = teacher.generator, images.shape[-1]
    if generator.label_dim:
        raise UserError(
            f"teacher={teacher.name!r}: takes labels of {generator.label_dim} numbers; inversion "
            "expected a generator without"
        )
    rows = size * generator.image_rows // generator.image_size
    if not len(images) or images.shape[1:] != (3, rows, size):
        expected = "(B, 3, S, S)" if rows == size else f"(B, 3, {rows}, {size})"
        raise UserError(f"images: {tuple(images.shape)}, expected {expected}")
    if config.noise_maps and not isinstance(generator.synthesis, Synthesis):
        raise UserError(
            f"noise_maps=true: the noise of teacher={teacher.name!r} is fixed; expected false"
        )
    if config.refinement.steps and (config.space != "w" or config.noise_maps):
        raise UserError(
            f"refinement.steps={config.refinement.steps}: expected 0 with space={config.space} "
            f"noise_maps={str(config.noise_maps).lower()}; it searches W alone"
        )
    device = generator.w_mean.device
    compared = min(size, generator.image_size, config.compare_size)
    name = perceptual_name(teacher, config)
    shorter = compared * min(rows, size) // size
    loss = build_perceptual(name, teacher.discriminator, shorter)  # type: ignore[arg-type]
    if isinstance(loss, nn.Module):
        loss.to(device)
    mean, channels = w_statistics(generator, rng)
    deviation = channels.norm()
    key = int(torch.randint(2**62, (), generator=rng))
    refinement = config.refinement
    space = Principal.of(generator, refinement.directions) if refinement.steps else None
    codes = _start(generator, mean if start is None else start.to(mean), len(images), config.space)
    parts = []
    for begin in range(0, len(images), config.batch):
        part = slice(begin, begin + config.batch)
        targets = images[part].to(device).float()
        rngs = [_image_rng(key, first + begin + i) for i in range(len(targets))]
        done = steps_in_all(config, begin)
        batch = _Batch(
            generator, loss, config, mean, deviation, space, progress, targets, rngs, done
        )
        parts.append(batch.run(codes[part]))
    return joined(parts)


def _start(generator: Generator, code: Tensor, batch: int, space: str) -> Tensor:
    """Stylecodes (batch, w_dim), or (batch, num_ws, w_dim) in W+."""
    if code.ndim == 1:
        code = code.expand(batch, -1)
    if space == "w+" and code.ndim == 2:
        code = code[:, None].expand(-1, generator.num_ws, -1)
    expected = (batch, generator.num_ws, generator.w_dim)
    if space == "w":
        expected = (batch, generator.w_dim)
    if code.shape != expected:
        raise UserError(f"start: {tuple(code.shape)}, expected {expected} in space {space}")
    return code.contiguous()


def _image_rng(key: int, index: int) -> torch.Generator:
    """An image's own random numbers; neighbouring seeds are spread to be unrelated."""
    return torch.Generator().manual_seed((key + (index + 1) * 0x9E3779B97F4A7C15) % 2**63)


@dataclass
class _Batch:
    """Images inverted at once: targets (B, 3, S, S), a random generator for each, steps done."""

    generator: Generator
    loss: PerceptualLoss
    config: InversionConfig
    mean: Tensor
    deviation: Tensor
    space: Principal | None
    progress: Progress
    targets: Tensor
    rngs: list[torch.Generator]
    done: int

    def __post_init__(self) -> None:
        size = min(self.generator.image_size, self.targets.shape[-1])
        self.targets = resize(self.targets, size)
        self.small = resize(self.targets, min(self.config.compare_size, size))
        self.distance = self.loss.against(self.small)

    def run(self, start: Tensor) -> Inversion:
        w, maps = self._project(start)
        if self.space is not None:
            w = self._refine(w, self.space)
        found = self._result(w, maps, [])
        if not self.config.pivotal.steps:
            return found
        tuned = [self._tune(w, maps, i) for i in range(len(w))]
        return self._result(w, maps, tuned, found)

    def _project(self, start: Tensor) -> tuple[Tensor, list[Tensor]]:
        config, n = self.config, len(start)
        w = start.clone().requires_grad_()
        maps = self._noise_maps() if config.noise_maps else []
        variables = [w, *maps]
        optimiser = Adam(variables, lr=config.lr)
        for step in range(config.steps):
            optimiser.param_groups[0]["lr"] = config.lr * learning_rate_factor(config, step)
            noise = torch.stack([torch.randn(w.shape[1:], generator=rng) for rng in self.rngs])
            noisy = w + noise_scale(config, step) * self.deviation * noise.to(w)
            images = _synthesise(self.generator, noisy, maps)
            terms = projection_terms(images, self.small, self.distance, config.pixel)
            terms |= code_terms(w, self.mean, self.deviation, config.prior, config.spread)
            if maps:
                terms["noise"] = config.noise_regulariser * noise_regulariser(maps).sum()
            _require_finite("projection", step, terms)
            loss = torch.stack(list(terms.values())).sum()
            gradients = torch.autograd.grad(loss, variables)
            for variable, gradient in zip(variables, gradients, strict=True):
                variable.grad = gradient
            optimiser.step()
            normalise(maps)
            self.done += n
            self.progress("projection", self.done)
        return w.detach(), [level.detach() for level in maps]

    def _refine(self, w: Tensor, space: Principal) -> Tensor:
        def progress() -> None:
            self.done += 1
            self.progress("refinement", self.done)

        return refine(self.generator, w, self.small, self.config.refinement, space, progress)

    def _noise_maps(self) -> list[Tensor]:
        synthesis = self.generator.synthesis
        assert isinstance(synthesis, Synthesis)
        maps = [
            torch.stack([torch.randn(1, side, side, generator=rng) for rng in self.rngs])
            for side in synthesis.noise_sizes
        ]
        return [level.to(self.targets).requires_grad_() for level in maps]

    def _tune(self, w: Tensor, maps: list[Tensor], index: int) -> Generator:
        own = [level[index : index + 1] for level in maps]
        before = self.done

        def progress(steps: int) -> None:
            self.done = before + steps
            self.progress("pivotal tuning", self.done)

        return tune(
            self.generator,
            w[index : index + 1],
            self.targets[index : index + 1],
            self.config.pivotal,
            self.loss,
            self.config.compare_size,
            self.rngs[index],
            lambda generator, code: _synthesise(generator, code, own),
            progress,
        )

    @torch.no_grad()
    def _result(
        self,
        w: Tensor,
        maps: list[Tensor],
        tuned: list[Generator],
        projection: Inversion | None = None,
    ) -> Inversion:
        if tuned:
            images = torch.cat(
                [
                    _synthesise(g, w[i : i + 1], [level[i : i + 1] for level in maps])
                    for i, g in enumerate(tuned)
                ]
            )
        else:
            images = _synthesise(self.generator, w, maps)
        small = resize(images, self.small.shape[-1]).float()
        distance, error = self.distance(small), squared_error(small, self.small)
        steps = self.config.pivotal.steps if tuned else self.config.steps
        what = "pivotal tuning" if tuned else "projection"
        _require_finite(what, steps, {"perceptual": distance, "pixel": error})
        return Inversion(
            w,
            images,
            distance,
            error,
            self.loss.name,
            maps,
            tuned,
            projection,
        )


def _require_finite(what: str, step: int, terms: Mapping[str, Tensor]) -> None:
    for name, value in terms.items():
        if not value.isfinite().all():
            values = {name: value.detach().sum().item() for name, value in terms.items()}
            raise NonFiniteLossError(
                f"{what}: term '{name}' is no finite number after step {step}; expected smaller "
                "learning rates and weights",
                what,
                step,
                values,
            )


def _synthesise(generator: Generator, w: Tensor, maps: Sequence[Tensor]) -> Tensor:
    return generator.synthesis(w, maps) if maps else generator.synthesis(w)


def joined(parts: Sequence[Inversion]) -> Inversion:
    """Return several batches as one."""
    projections = [part.projection for part in parts if part.projection is not None]
    return Inversion(
        torch.cat([part.w for part in parts]),
        torch.cat([part.images for part in parts]),
        torch.cat([part.distance for part in parts]),
        torch.cat([part.error for part in parts]),
        parts[0].perceptual,
        [torch.cat(levels) for levels in zip(*(part.noise for part in parts), strict=True)],
        [generator for part in parts for generator in part.generators],
        joined(projections) if projections else None,
    )
