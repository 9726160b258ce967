"""LiftedGAN (Shi et al., CVPR 2021): what a run gives once it is trained."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gan3d_bench.generators.latents import sample_z
from gan3d_bench.methods.liftedgan.figures import (
    interpolation_sheet,
    manipulation_sheet,
    style_sheet,
)
from gan3d_bench.methods.liftedgan.image_formation import render
from gan3d_bench.methods.liftedgan.losses import perturbed_view
from gan3d_bench.methods.liftedgan.model import LiftedGANModel
from gan3d_bench.methods.liftedgan.scene import lift, scene_from_factors
from gan3d_bench.pictures.scene_sheets import FACES, Sheet, faces, portraits, scene_sheets
from gan3d_bench.scenes.depth_map import DepthMapScene
from gan3d_bench.scenes.preview import Preview


class LiftedGAN(LiftedGANModel):
    """A generator of textured 3D faces, distilled from a frozen 2D generator."""

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> DepthMapScene:
        """Lift `n` samples of the teacher, truncated as in training; they know their own view."""
        z = sample_z(n, self.generator.z_dim, generator)
        return self.lift(self.styles(z))

    @torch.no_grad()
    def lift(self, w: Tensor) -> DepthMapScene:
        """The scene of stylecodes (B, w_dim), with the views and lights they show as input."""
        return lift(self.lifter, w)

    def reconstruct(self, images: Tensor) -> DepthMapScene:
        """Lift `images` (B, 3, S, S) in [-1, 1] by embedding them in W first (paper, Figure 10).

        Raises:
            UserError: another image size.
        """
        return self.lift(self.embed(images))

    @torch.no_grad()
    def preview(self) -> Preview:
        """Samples, their neutral pictures and factors, and what M makes of turned subjects."""
        w = self.styles(self._preview_z())
        light, view = self.lifter.decompose(w)
        canonical = self.lifter.canonical(w, light)
        geometry = self.geometry
        uniform = torch.linspace(0, 1, len(w), device=self.device)[:, None].expand(-1, 3)
        turned = perturbed_view(uniform, 0.0, self.config.perturbation.yaw)
        moved = self.lifter.manipulate(w, light, turned)
        near, far = geometry.near, geometry.far
        images = {
            "input": self.generator.synthesis(w),
            "reconstruction": render(canonical, light, view, geometry).rgb,
            "neutral": canonical.neutral,
            "albedo": canonical.albedo,
            "depth": (2 * (far - canonical.depth) / (far - near) - 1).expand(-1, 3, -1, -1),
            "normal": canonical.normal
            * canonical.normal.new_tensor([1.0, -1.0, -1.0])[:, None, None],
            "turned_3d": render(canonical, light, turned, geometry).rgb,
            "turned_2d": self.generator.synthesis(moved),
        }
        if canonical.blend is not None:
            images["map"] = (2 * canonical.blend - 1).expand(-1, 3, -1, -1)
        return Preview(
            {name: image.float().clamp(-1, 1) for name, image in images.items()},
            scene_from_factors(canonical, light, view, geometry),
        )

    @torch.no_grad()
    def figures(
        self,
        count: int,
        generator: torch.Generator,
        images: Tensor | None = None,
        styles: Tensor | None = None,
    ) -> Mapping[str, Sheet]:
        """See `Method.figures`; and ``manipulation``, ``interpolation`` and ``style``.

        An only subject is interpolated with a sample; without `styles`, samples give theirs. Style
        is transferred to the first subject.
        """

        def sampled(n: int) -> Tensor:
            return self.styles(sample_z(n, self.generator.z_dim, generator))

        w = sampled(count) if images is None else self.embed(images)
        scene = self.lift(w)
        sheets = scene_sheets(scene)
        others = sampled(count)
        if images is None:
            more = [portraits(self.lift(sampled(count))) for _ in range(FACES - 1)]
            sheets["faces"] = faces([portraits(scene), *more])
        chain = w if len(w) > 1 else torch.cat((w, others[:1]))
        given = others if styles is None else self.embed(styles)
        return sheets | {
            "manipulation": manipulation_sheet(self.lifter, self.generator, w),
            "interpolation": interpolation_sheet(self.lifter, chain),
            "style": style_sheet(self.lifter, self.generator, w[:1], given, styles),
        }

    def _preview_z(self) -> Tensor:
        return sample_z(self.config.samples, self.generator.z_dim, self.rng("preview", step=0))
