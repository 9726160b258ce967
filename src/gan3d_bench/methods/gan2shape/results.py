"""What a run says about images: their factors, scenes of them, and previews."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.methods.base import require_images
from gan3d_bench.methods.gan2shape.config import GAN2ShapeConfig
from gan3d_bench.methods.gan2shape.factors import DEPTH_RANGE, Factors, join_factors
from gan3d_bench.methods.gan2shape.fitted import FittedFactors
from gan3d_bench.methods.gan2shape.groups import Groups
from gan3d_bench.methods.gan2shape.instances import FittedImages
from gan3d_bench.methods.gan2shape.latents import Latents
from gan3d_bench.methods.gan2shape.projection import Projector, Subjects
from gan3d_bench.methods.gan2shape.scene import ProjectedScene
from gan3d_bench.methods.gan2shape.subject_mask import subject_mask
from gan3d_bench.scenes.depth_map import DepthMapScene
from gan3d_bench.scenes.preview import Preview

PREVIEW_INSTANCES = 8
PREVIEW_SAMPLES = 4


class Results:
    """Reads a run's networks and buffers as they are; changes nothing.

    `group`, where it is asked for, is the group whose networks these are.

    Args:
        config: of the run.
        images: the run's.
        latents: their stylecodes.
        fitted: factors of the instances whose training has ended.
        projector: with the networks and the teacher.
    """

    def __init__(
        self,
        config: GAN2ShapeConfig,
        images: FittedImages,
        latents: Latents,
        fitted: FittedFactors,
        projector: Projector,
    ) -> None:
        self.config = config
        self.images = images
        self.latents = latents
        self.fitted = fitted
        self.projector = projector
        self.networks = projector.networks
        self.renderer = projector.renderer
        self.groups = Groups(config.instances, config.group_size)

    @property
    def takes_any(self) -> bool:
        """Whether the networks take images that the run was not fitted to."""
        return self.config.weights == "shared" and len(self.groups) == 1

    def depth_scene(self, images: Tensor, group: range) -> DepthMapScene:
        """The scene of images (B, 3, S, S) in [-1, 1], by their four factors.

        Raises:
            UserError: wrong image size, or an image that the run was not fitted to and whose
                networks are instance-specific.
        """
        require_images(images, self.config.image_size)
        found = [self.images.find(image) for image in images]
        parts = [self._factors_of(x[None], i, group) for x, i in zip(images, found, strict=True)]
        return self._scene(join_factors(parts), found)

    @torch.no_grad()
    def gan_scene(self, instances: Sequence[int]) -> ProjectedScene:
        """The scene, by the GAN, of instances whose networks these are (4.2)."""
        slots, w = self.groups.slots(instances), self.latents.w[list(instances)]
        reference = self.projector.teacher.generated(w)
        return ProjectedScene(
            self._current_factors(instances),
            lambda pseudo: self.projector.project(pseudo, w, reference, slots)[0],
            self.renderer.camera,
        )

    @torch.no_grad()
    def preview(self, group: range, rng: Callable[[int], torch.Generator]) -> Preview:
        """Inputs, inversions, factors, pseudo and projected samples of the first of a group.

        Args:
            group: to show.
            rng: of an instance's pseudo samples.
        """
        shown = list(group)[:PREVIEW_INSTANCES]
        factors, w = self._current_factors(shown), self.latents.w[shown]
        generated = self.projector.teacher.generated(w)
        near, far = DEPTH_RANGE
        # a viewer expects normals with y up and z towards the camera
        upright = factors.normal.new_tensor([1.0, -1.0, -1.0])[:, None, None]
        count = min(PREVIEW_SAMPLES, self.config.batch)
        subjects = Subjects(factors, None, generated)
        pseudo = self.projector.pseudo_samples(subjects, [rng(i) for i in shown], count).images
        projected, _ = self.projector.project(pseudo, w, generated, self.groups.slots(shown))
        # of each instance a row of pseudo samples and, below it, their projections
        rows = torch.stack([x.unflatten(0, (-1, count)) for x in (pseudo, projected)], 1)
        images = {
            "input": self.images.targets[shown],
            "inversion": generated,
            "reconstruction": self.renderer.render(factors).image,
            "albedo": factors.albedo,
            "depth": (2 * (far - factors.depth) / (far - near) - 1).expand(-1, 3, -1, -1),
            "normal": factors.normal * upright,
            "pseudo_and_projected": rows.flatten(0, 2),
        }
        return Preview(images, self._scene(factors, shown))

    @torch.no_grad()
    def _factors_of(self, image: Tensor, instance: int | None, group: range) -> Factors:
        """Factors of an image (1, 3, S, S), which shows `instance` if that is not None."""
        if instance is not None and self.fitted.known[instance]:
            return self.fitted.factors([instance], self.renderer)
        if instance is not None and instance in group:
            return self.networks.factors(image, self.groups.slots([instance]))
        if self.takes_any:
            return self.networks.factors(image, [0])
        first, last = self.config.first, self.config.first + self.config.instances - 1
        raise UserError(
            f"an image that this run was not fitted to: its networks are instance-specific "
            f"(instances {first} to {last} of {self.config.data} {self.config.split})"
        )

    @torch.no_grad()
    def _current_factors(self, instances: Sequence[int]) -> Factors:
        """Factors by the networks as they are now."""
        images = self.images.targets[list(instances)]
        return self.networks.factors(images, self.groups.slots(instances))

    def _scene(self, factors: Factors, instances: Sequence[int | None]) -> DepthMapScene:
        """A scene of the subjects alone, where the run knows the masks of all of them."""
        known = [i for i in instances if i is not None]
        mask = None
        if len(self.images.masks) and len(known) == len(instances):
            mask = subject_mask(self.images.masks[known], factors, self.renderer.camera)
        return DepthMapScene(
            factors.depth,
            factors.albedo,
            factors.light,
            factors.view,
            depth_range=DEPTH_RANGE,
            mask=mask,
        )
