"""The 3DMM UV-map generator: what a run gives once it is trained."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gan3d_bench.generators.latents import sample_z
from gan3d_bench.methods.uv3dmm.figures import (
    displacement_sheet,
    expression_sheet,
    interpolation_sheet,
    light_sheet,
    stops,
    turned_sheet,
)
from gan3d_bench.methods.uv3dmm.scene import TexturedHeads, TurnedStylecodes
from gan3d_bench.methods.uv3dmm.spec import HYPERPLANE
from gan3d_bench.methods.uv3dmm.training import UV3DMMTraining
from gan3d_bench.pictures.grids import normal_colours
from gan3d_bench.pictures.scene_sheets import Sheet
from gan3d_bench.scenes.base import Scene
from gan3d_bench.scenes.preview import Preview


class UV3DMM(UV3DMMTraining):
    """A StyleGAN2 turned into a generator of textured 3D heads."""

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> TexturedHeads:
        """Lift `n` samples of the teacher, truncated as in training; they know their own view."""
        return self.lift(self.styles(sample_z(n, self.generator.z_dim, generator)))

    @torch.no_grad()
    def lift(self, w: Tensor, background: Tensor | None = None) -> TexturedHeads:
        """The heads of stylecodes (B, w_dim).

        Args:
            w: stylecodes.
            background: (B, 3, S, S) pictures that they belong into; None: the teacher's.
        """
        if background is None:
            background = self.generator.synthesis(w).float().clamp(-1, 1)
        return TexturedHeads(
            self.renderer,
            self.coefficients(w),
            self.maps_of(w),
            self.space.num_expression,
            background,
        )

    def reconstruct(self, images: Tensor) -> TexturedHeads:
        """Lift `images` (B, 3, S, S) in [-1, 1] by embedding them in W first.

        Raises:
            UserError: another image size.
        """
        return self.lift(self.embed(images), images.to(self.device))

    def row_scene(self, kind: str, images: Tensor) -> Scene:
        """See `Method.row_scene`; and ``HYPERPLANE``: the teacher's own pictures, turned."""
        if kind == HYPERPLANE:
            return TurnedStylecodes(self.generator, self.rotation, self.embed(images))
        return super().row_scene(kind, images)

    @torch.no_grad()
    def preview(self) -> Preview:
        """Samples: the teacher's pictures, what is drawn of them, maps, and the symmetric view."""
        z = sample_z(self.config.samples, self.generator.z_dim, self.rng("preview", step=0))
        w = self.styles(z)
        heads = self.lift(w)
        assert heads.background is not None
        seen = heads.render(heads.coefficients.view)
        images = {
            "input": heads.background,
            "pasted": seen.over(heads.background),
            "alone": seen.over(1.0),
            "diffuse": heads.maps.diffuse,
        }
        if seen.normal is not None:
            images["normal"] = 2 * normal_colours(seen.normal).to(w) - 1
        if heads.maps.displacement is not None:
            shown = heads.maps.displacement / self.config.maps.largest
            images["displacement"] = shown.expand(-1, 3, -1, -1)
        if self.rotation.direction.any():
            turned = self.rotation.symmetric(w, self.yaw)
            images["symmetric_2d"] = self.generator.synthesis(turned).float()
            pose = self.coefficients(turned)
            drawn = heads.renderer.render(heads.coefficients.seen_as(pose), heads.maps)
            images["symmetric_3d"] = drawn.over(1.0)
        return Preview({name: image.clamp(-1, 1) for name, image in images.items()}, heads)

    @torch.no_grad()
    def figures(
        self,
        count: int,
        generator: torch.Generator,
        images: Tensor | None = None,
        styles: Tensor | None = None,
    ) -> Mapping[str, Sheet]:
        """See `Method.figures`; and ``turned`` (Figure 4), ``interpolation`` (Figure 5),
        ``expression``, ``light`` and ``displacement``.

        An only subject is interpolated with a sample.
        """
        before = generator.get_state()
        sheets = super().figures(count, generator, images, styles)
        generator.set_state(before)

        def sampled() -> Tensor:
            return self.styles(sample_z(count, self.generator.z_dim, generator))

        w = sampled() if images is None else self.embed(images)
        heads = self.lift(w, None if images is None else images.to(self.device))
        between = stops(w if len(w) > 1 else torch.cat((w, sampled()[:1])))
        chain = [self.lift(codes) for codes in between.unbind(1)]
        return {
            **sheets,
            "turned": turned_sheet(heads, TurnedStylecodes(self.generator, self.rotation, w)),
            "interpolation": interpolation_sheet(chain, len(between)),
            "expression": expression_sheet(heads),
            "light": light_sheet(heads),
            "displacement": displacement_sheet(heads),
        }
