"""The W_tri encoder: what a run gives once it is trained."""

from __future__ import annotations

import torch
from torch import Tensor

from gan3d_bench.errors import UserError, named
from gan3d_bench.generators.eg3d.cameras import require_cameras
from gan3d_bench.generators.eg3d.scene import TriplaneScene
from gan3d_bench.generators.latents import w_statistics
from gan3d_bench.losses.perceptual import build_perceptual
from gan3d_bench.methods.wtri.optimised import Compare, project, tune
from gan3d_bench.methods.wtri.spec import PIVOTAL, PROJECTION
from gan3d_bench.methods.wtri.training import WTriTraining
from gan3d_bench.scenes.base import Scene
from gan3d_bench.scenes.joined import JoinedScenes
from gan3d_bench.scenes.preview import Preview

W_SAMPLES = 10_000  # of the mean that projection starts from


class WTri(WTriTraining):
    """Inverts EG3D in the space W_tri, or in W+, by an encoder in a few steps."""

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> TriplaneScene:
        """Lift `images` (B, 3, S, S) in [-1, 1]; the camera's network tells how they were taken.

        Raises:
            UserError: another image size.
        """
        images = self._checked(images)
        cameras = self.camera.cameras(self.inverter().seen(images))
        return self.reconstruct_from(images, cameras)

    @torch.no_grad()
    def reconstruct_from(self, images: Tensor, cameras: Tensor) -> TriplaneScene:
        """Lift `images` (B, 3, S, S) in [-1, 1] that were taken by `cameras` (B, 25).

        Raises:
            UserError: another image size; cameras that are none.
        """
        images = self._checked(images)
        require_cameras(cameras, len(images))
        cameras = cameras.to(images)
        codes = self.invert(images, cameras)[-1]
        planes = self.space.planes(self.generator.synthesis, codes)
        view = self.orbit.view(cameras)
        return TriplaneScene(self.generator, planes, codes[:, -1], view)

    def row_scene(self, kind: str, images: Tensor) -> Scene:
        """See `Method.row_scene`; and what optimisation finds, by the same cameras."""
        if kind not in (PROJECTION, PIVOTAL):
            return super().row_scene(kind, images)
        images = self._checked(images)
        cameras = self.camera.cameras(self.inverter().seen(images)).detach()
        view = self.orbit.view(cameras)
        with torch.enable_grad():
            codes = self._projected(images, cameras)
            if kind == PROJECTION:
                return TriplaneScene.of_stylecodes(self.generator, codes, view)
            config, compare = self.config.pivotal, self._compared
            parts = [slice(i, i + 1) for i in range(len(images))]
            tuned = [
                tune(self.generator, codes[i], images[i], cameras[i], config, compare(images[i]))
                for i in parts
            ]
        found = zip(tuned, parts, strict=True)
        return JoinedScenes([TriplaneScene.of_stylecodes(g, codes[i], view[i]) for g, i in found])

    def _projected(self, images: Tensor, cameras: Tensor) -> Tensor:
        """Stylecodes (B, num_ws, w_dim) in W+ of pictures that were taken by cameras."""
        generator, rng = self.generator, self.rng("projection", 0)
        frontal = self.orbit.frontal()
        start = w_statistics(generator, self.rng("w of projection", 0), W_SAMPLES, frontal)
        compare = self._compared(images)
        return project(generator, images, cameras, start, self.config.projection, compare, rng)

    def _compared(self, images: Tensor) -> Compare:
        """Perceptual distance from pictures, by the network that the encoder is trained with."""
        config = self.config
        with named("perceptual"):
            return build_perceptual(config.perceptual, image_size=config.image_size).against(images)

    @torch.no_grad()
    def invert(self, images: Tensor, cameras: Tensor) -> list[Tensor]:
        """Codes (B, count, w_dim) of `images` after each refinement; see `reconstruct_from`."""
        inverter = self.inverter()
        found = inverter.steps(inverter.seen(images), cameras, self.start, self.config.refinements)
        return [codes for codes, _ in found]

    def _checked(self, images: Tensor) -> Tensor:
        size = self.config.image_size
        if images.dim() != 4 or tuple(images.shape[1:]) != (3, size, size):
            raise UserError(
                f"images of shape {tuple(images.shape)}: this run takes (B, 3, {size}, {size})"
            )
        return images.to(self.device)

    @torch.no_grad()
    def preview(self) -> Preview:
        """The first val pictures, the average from their cameras, and each refinement of them.

        The scene is that of their true cameras.
        """
        count = min(self.config.samples, self.config.data.val)
        images, cameras = (x.to(self.device) for x in self.data.shown(count))
        inverter = self.inverter()
        start = self.start.expand(len(images), -1, -1)
        shown = {"input": images, "average": inverter.picture(start, cameras)}
        codes = self.invert(images, cameras)
        for step in {1, len(codes)}:
            shown[f"refined_{step}"] = inverter.picture(codes[step - 1], cameras)
        scene = self.reconstruct_from(images, cameras)
        return Preview({name: x.clamp(-1, 1) for name, x in shown.items()}, scene)
