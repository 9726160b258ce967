"""The W_tri encoder: what a run gives once it is trained."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.generators.base import Teacher
from gan3d_bench.generators.eg3d.camera_bound import CameraBound
from gan3d_bench.generators.eg3d.cameras import require_cameras
from gan3d_bench.generators.eg3d.scene import TriplaneScene
from gan3d_bench.generators.inversion.config import InversionConfig
from gan3d_bench.generators.inversion.invert import Inversion, invert
from gan3d_bench.methods.base import require_images
from gan3d_bench.methods.wtri.spec import LINEAR, PIVOTAL, PROJECTION
from gan3d_bench.methods.wtri.training import WTriTraining
from gan3d_bench.scenes.base import Scene
from gan3d_bench.scenes.joined import JoinedScenes
from gan3d_bench.scenes.preview import Preview


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
        inverter = self.inverter()
        seen = inverter.seen(images)
        *_, (codes, made) = inverter.steps(seen, cameras, self.start, self.config.refinements)
        planes = inverter.final_planes(seen, codes, made)
        view = self.orbit.view(cameras)
        return TriplaneScene(self.generator, planes, codes[:, -1], view)

    def row_scene(self, kind: str, images: Tensor) -> Scene:
        """See `Method.row_scene`; and what regression and optimisation find, same cameras.

        Raises:
            UserError: regression of a run without a warm-up; another image size.
        """
        if kind not in (LINEAR, PROJECTION, PIVOTAL):
            return super().row_scene(kind, images)
        images = self._checked(images)
        with torch.no_grad():
            seen = self.inverter().seen(images)
            cameras = self.camera.cameras(seen)
        view, config = self.orbit.view(cameras), self.config.inversion
        if kind == LINEAR:
            if self.linear is None:
                raise UserError("warmup.steps=0: linear regression is of runs with a warm-up")
            return TriplaneScene.of_stylecodes(self.generator, self.linear(seen), view)
        if kind == PROJECTION:
            alone = replace(config, batch=len(images), pivotal=replace(config.pivotal, steps=0))
            codes = self._optimised(images, cameras, alone).w
            return TriplaneScene.of_stylecodes(self.generator, codes, view)
        scenes = []
        for i in range(len(images)):
            found = self._optimised(images[i : i + 1], cameras[i : i + 1], config, first=i)
            (tuned,) = found.generators
            assert isinstance(tuned, CameraBound)
            scenes.append(TriplaneScene.of_stylecodes(tuned.generator, found.w, view[i]))
        return JoinedScenes(scenes)

    @torch.enable_grad()
    def _optimised(
        self, images: Tensor, cameras: Tensor, config: InversionConfig, first: int = 0
    ) -> Inversion:
        """Invert pictures (B, 3, S, S) that cameras (B, 25) took, by optimisation."""
        teacher = Teacher(self.config.teacher, CameraBound(self.generator, cameras))
        return invert(teacher, images, config, self.rng("inversion", 0), first=first)

    @torch.no_grad()
    def invert(self, images: Tensor, cameras: Tensor) -> list[Tensor]:
        """Codes (B, count, w_dim) of `images` after each refinement; see `reconstruct_from`."""
        inverter = self.inverter()
        found = inverter.steps(inverter.seen(images), cameras, self.start, self.config.refinements)
        return [codes for codes, _ in found]

    def _checked(self, images: Tensor) -> Tensor:
        require_images(images, self.config.image_size)
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
