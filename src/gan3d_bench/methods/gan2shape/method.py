"""GAN2Shape (Pan et al., ICLR 2021): what a run gives once it is trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.methods.gan2shape.factors import DEPTH_RANGE, Factors, join_factors
from gan3d_bench.methods.gan2shape.scene import ProjectedScene
from gan3d_bench.methods.gan2shape.steps import GAN2ShapeTraining
from gan3d_bench.methods.gan2shape.subject_mask import subject_mask
from gan3d_bench.scenes.base import Scene
from gan3d_bench.scenes.depth_map import DepthMapScene
from gan3d_bench.scenes.preview import Preview

# An image is an instance when they differ by less than 8-bit rounding on average.
SAME_IMAGE = 2 / 255
PREVIEW_INSTANCES = 8
PREVIEW_SAMPLES = 4


class GAN2Shape(GAN2ShapeTraining):
    """Shape, albedo, view and light of images, found through a 2D GAN.

    Instance-specific: a run reconstructs the images it was fitted to. With shared weights and one
    group its networks also take other images.
    """

    def reconstruct(self, images: Tensor) -> DepthMapScene:
        """Lift `images` (B, 3, S, S) in [-1, 1] to a depth-map scene.

        Raises:
            UserError: wrong image size, or an image that the run was not fitted to and whose
                networks are instance-specific.
        """
        size = self.config.image_size
        if images.dim() != 4 or tuple(images.shape[1:]) != (3, size, size):
            raise UserError(
                f"images of shape {tuple(images.shape)}: this run takes (B, 3, {size}, {size})"
            )
        images = images.to(self.device, torch.float32)
        found = [self._find(image) for image in images]
        parts = [self._factors_of(x[None], i) for x, i in zip(images, found, strict=True)]
        return self._scene(join_factors(parts), found)

    def row_scene(self, kind: str, images: Tensor) -> Scene:
        """The scene of a kind: by `reconstruct`, or "gan" by `gan_scene` of the images' instances.

        Raises:
            UserError: as these two; for "gan", an image that the run was not fitted to.
        """
        if kind != "gan":
            return super().row_scene(kind, images)
        found = [self._find(image) for image in images.to(self.device, torch.float32)]
        known = [i for i in found if i is not None]
        if len(known) < len(found):
            raise UserError("an image that this run was not fitted to has no stylecode in it")
        return self.gan_scene(known)

    def gan_scene(self, instances: Sequence[int]) -> ProjectedScene:
        """The scene of instances (positions in the run) that turns and relights by the GAN.

        Raises:
            UserError: their encoder is gone: only the last group's networks are kept.
        """
        instances = list(instances)
        group = self.groups[int(self.group_index)]
        if not set(instances) <= set(group):
            raise UserError(
                f"the run keeps the encoder of instances {group[0]} to {group[-1]} only, "
                f"asked for {instances}"
            )
        slots, w = self.slots(instances), self.latents.w[instances]
        with torch.no_grad():
            reference = self.generated(w)
        factors = self._current_factors(instances)
        return ProjectedScene(
            factors, lambda pseudo: self.project(pseudo, w, reference, slots)[0], self.camera
        )

    def items(self) -> list[int] | None:
        """Test heads or samples the run was fitted to; None when its networks take any image."""
        config = self.config
        if config.data in ("heads", "teacher") and config.split == "test" and not config.joint:
            return list(range(config.first, config.first + config.instances))
        return None if self._takes_any else []

    @torch.no_grad()
    def preview(self) -> Preview:
        """Inputs, inversions, factors, pseudo and projected samples of the current group."""
        group = list(self.groups[int(self.group_index)])[:PREVIEW_INSTANCES]
        if not self.loaded:
            return Preview()
        factors = self._current_factors(group)
        shown = self.render(factors)
        near, far = DEPTH_RANGE
        images = {
            "input": self.targets[group],
            "inversion": self.generated(self.latents.w[group]),
            "reconstruction": shown.image,
            "albedo": factors.albedo,
            "depth": (2 * (far - factors.depth) / (far - near) - 1).expand(-1, 3, -1, -1),
            "normal": factors.normal * factors.normal.new_tensor([1.0, -1.0, -1.0])[:, None, None],
        }
        images |= self._sample_rows(group)
        return Preview(images, self._scene(factors, group))

    # -- helpers --------------------------------------------------------------------------------

    @property
    def _takes_any(self) -> bool:
        return self.config.weights == "shared" and len(self.groups) == 1

    def _find(self, image: Tensor) -> int | None:
        """Position of the instance that shows `image` (3, S, S), if any."""
        distance = (self.targets - image).abs().flatten(1).mean(1)
        best = int(distance.argmin())
        return best if self.loaded and distance[best] < SAME_IMAGE else None

    @torch.no_grad()
    def _factors_of(self, image: Tensor, instance: int | None) -> Factors:
        if instance is not None and self.fitted[instance]:
            return self.fitted_factors([instance])
        group = self.groups[int(self.group_index)]
        if instance is not None and instance in group:
            return self.factors(image, self.slots([instance]))
        if self._takes_any:
            return self.factors(image, [0])
        first, last = self.config.first, self.config.first + self.config.instances - 1
        raise UserError(
            f"an image that this run was not fitted to: its networks are instance-specific "
            f"(instances {first} to {last} of {self.config.data} {self.config.split})"
        )

    def _current_factors(self, instances: list[int]) -> Factors:
        """Factors by the networks as they are now."""
        with torch.no_grad():
            return self.factors(self.targets[instances], self.slots(instances))

    def _scene(self, factors: Factors, instances: Sequence[int | None]) -> DepthMapScene:
        """A scene of the subjects alone, where the run knows the masks of all of them."""
        known = [i for i in instances if i is not None]
        mask = None
        if len(self.masks) and len(known) == len(instances):
            mask = subject_mask(self.masks[known], factors, self.camera)
        return DepthMapScene(
            factors.depth,
            factors.albedo,
            factors.light,
            factors.view,
            depth_range=DEPTH_RANGE,
            mask=mask,
        )

    def _sample_rows(self, group: list[int]) -> dict[str, Tensor]:
        """Pseudo samples of each instance and, below them, their projections."""
        count = min(PREVIEW_SAMPLES, self.config.batch)
        rngs = [self.rng(f"preview/{self.config.first + i}", step=0) for i in group]
        pseudo = self.render_samples(self._current_factors(group), None, rngs, count).images
        w = self.latents.w[group]
        projected, _ = self.project(pseudo, w, self.generated(w), self.slots(group))
        rows = torch.stack([x.unflatten(0, (-1, count)) for x in (pseudo, projected)], 1)
        return {"pseudo_and_projected": rows.flatten(0, 2)}
