"""Warm-up: E, V and L learn on fresh samples of the teacher, lifted by the shape prior. Ours.

The paper brings these networks up over thousands of iterations of joint pre-training. Here, before
the first stage, every step draws new samples of the teacher and takes the prior for their shape and
the sample itself, seen from the front in mean light, for their texture: what step 1 would come to.
Pseudo samples of that are projected as in step 2, which trains E for any subject. As their views
and lights are known, V learns how far a projected sample is turned from the sample it came from,
and L how it is lit. With a new subject in every sample V cannot learn subjects by heart, and since
an image and its mirror image get mirrored views, it learns where zero is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gan3d_bench.generators.stylegan2.latents import sample_z
from gan3d_bench.methods.gan2shape.factors import (
    Factors,
    clamp_border,
    light_from_raw,
    light_to_raw,
    mirror_raw_view,
    view_from_raw,
)
from gan3d_bench.methods.gan2shape.losses import mirror, surface_mask
from gan3d_bench.methods.gan2shape.prior import FLAT_DEPTH
from gan3d_bench.methods.gan2shape.projection import GAN2ShapeSampler
from gan3d_bench.rendering.depth_mesh import depth_normals
from gan3d_bench.rendering.shading import diffuse_shading

# Pitch and vertical shifts have no zero by symmetry; a weak pull to the mean gives them one.
CENTRE_WEIGHT = 0.01
# Texture of dark places is not divided by less than this.
LEAST_SHADING = 0.2


class WarmUp(GAN2ShapeSampler):
    """The losses of the warm-up."""

    def warm_up_terms(self, prior: Tensor, count: int, local: Sequence[int]) -> dict[str, Tensor]:
        """Losses of E, V and L on new samples.

        Args:
            prior: depth (S, S) taken for every sample.
            count: samples of the step over all processes.
            local: which of them are this process's.
        """
        rng = self.rng("warm-up")
        views, lights = self.distributions
        z = sample_z(count, self.generator.config.z_dim, rng)[local]
        raw_view = views.sample_raw(count, rng)[local].to(self.device)
        sampled_light = lights.sample(count, rng)[local].to(self.device)
        with torch.no_grad():
            w = self.generator.mapping(z.to(self.device)).float()
            images = self.generated(w)
            factors = self._lifted(images, prior)
            light = lights.apply(sampled_light, factors.light)
            rendered = self.render(factors, view_from_raw(raw_view), light)
            masks = surface_mask(None, rendered.warp)
        projected, offset = self.project(rendered.image, w, images, [0])
        terms = self.projection_terms(projected, rendered.image, masks, offset, len(w))
        return terms | self._pose_terms(images, projected.detach(), raw_view, light_to_raw(light))

    def _lifted(self, images: Tensor, prior: Tensor) -> Factors:
        """Factors that render `images` from the front in mean light, on the prior."""
        n = len(images)
        # D's depth is centred about 1, so that is how it can follow the prior
        depth = clamp_border((prior - prior.mean() + FLAT_DEPTH)[None, None])
        depth = depth.expand(n, -1, -1, -1)
        normal = depth_normals(depth, self.camera, epsilon=self.normal_epsilon)
        view = view_from_raw(torch.zeros(n, 6, device=self.device))
        light = light_from_raw(self.light_mean.expand(n, -1))
        ambient, diffuse = (x[:, None, None, None] for x in (light.ambient, light.diffuse))
        shading = ambient + diffuse * diffuse_shading(normal, light.direction)
        albedo = (images + 1) / shading.clamp_min(LEAST_SHADING) - 1
        return Factors(depth, albedo, normal, view, light)

    def _pose_terms(
        self, images: Tensor, projected: Tensor, turned: Tensor, light: Tensor
    ) -> dict[str, Tensor]:
        """Losses of V and L; `turned` (B, 6) and `light` (B, 4) raw, of the projected samples."""
        pairs = torch.stack((images, projected), 1)
        both = torch.stack((pairs, mirror(pairs)), 2)  # (B, pair, mirrored, 3, S, S)
        raw = self.raw_view(both.flatten(0, 2), [0]).view(-1, 2, 2, 6)
        straight, mirrored = raw[:, :, 0], mirror_raw_view(raw[:, :, 1])
        return {
            "turn": (
                (straight[:, 1] - straight[:, 0] - turned).square().mean()
                + (mirrored[:, 1] - mirrored[:, 0] - turned).square().mean()
            ),
            "view_mirrored": (straight - mirrored).square().mean(),
            "view_centre": CENTRE_WEIGHT * (straight - self.view_mean).square().mean(),
            "light": (self.raw_light(projected, [0]) - light).square().mean(),
        }
