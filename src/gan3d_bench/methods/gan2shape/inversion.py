"""GAN inversion of given images: a stylecode for each (4.1), by the projector of StyleGAN2."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gan3d_bench.generators.inversion.config import ProjectionConfig
from gan3d_bench.generators.inversion.projection import noise_scale, projection_terms
from gan3d_bench.generators.inversion.refinement import Principal, refine
from gan3d_bench.generators.latents import w_statistics
from gan3d_bench.losses.perceptual import Distance
from gan3d_bench.methods.gan2shape.teacher import FrozenTeacher
from gan3d_bench.rendering.images import from_uint8, resize


class InversionTargets(NamedTuple):
    """Images to find.

    Attributes:
        images: (k, 3, C, C) in [-1, 1].
        distance: perceptual distance (k,) of images from them.
    """

    images: Tensor
    distance: Distance


class Inversion:
    """Searches w of whole originals, each as if alone.

    Args:
        config: how.
        teacher: makes images of w.
    """

    def __init__(self, config: ProjectionConfig, teacher: FrozenTeacher) -> None:
        self.config = config
        self.teacher = teacher

    @torch.no_grad()
    def start(self, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Where the search starts, the mean of w (w_dim,), and the norm of its deviation ()."""
        mean, deviation = w_statistics(self.teacher.generator, rng)
        return mean, deviation.norm()

    @torch.no_grad()
    def targets(self, originals: Tensor) -> InversionTargets:
        """What is compared with originals (k, 3, T, T) uint8.

        Raises:
            UserError: the asset of the perceptual loss is missing.
        """
        images = self._shown(originals)
        return InversionTargets(
            images, self.teacher.perceptual(self.config.perceptual).against(images)
        )

    @torch.no_grad()
    def refined(self, w: Tensor, originals: Tensor) -> Tensor:
        """Stylecodes (k, w_dim) found for originals (k, 3, T, T) uint8, made more probable ones."""
        config, generator = self.config.refinement, self.teacher.generator
        if not config.steps:
            return w
        space = Principal.of(generator, config.directions)
        return refine(generator, w, self._shown(originals), config, space)

    def _shown(self, originals: Tensor) -> Tensor:
        """Originals at the size at which they are compared, in [-1, 1]."""
        size = min(self.teacher.generator.image_size, self.config.compare_size)
        return resize(from_uint8(originals), size)

    def terms(
        self, w: Tensor, noise: Tensor, deviation: Tensor, step: int, targets: InversionTargets
    ) -> dict[str, Tensor]:
        """Losses of a step, summed over images.

        Args:
            w: (k, w_dim).
            noise: (k, w_dim) normal noise, scaled here by the step and the deviation of w.
            deviation: of w, a scalar.
            step: of the search.
            targets: k.
        """
        moved = w + noise_scale(self.config, step) * deviation * noise
        images = self.teacher.generator.synthesis(moved)
        return projection_terms(images, targets.images, targets.distance, self.config.pixel)
