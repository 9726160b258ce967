"""The losses of steps 1, 2 and 3 (eq. 2 and 3), as functions of what the networks give.

Batches are instance-major: m samples of the first of k instances, then m of the second. Every term
is the mean over the instances of the term that the instance would have alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from gan3d_bench.losses.perceptual import FeatureExtractor, PerceptualLoss
from gan3d_bench.losses.photometric import masked_l1
from gan3d_bench.methods.gan2shape.config import LossConfig
from gan3d_bench.methods.gan2shape.factors import Factors, light_from_raw, view_from_raw
from gan3d_bench.methods.gan2shape.latents import offset_penalty
from gan3d_bench.methods.gan2shape.losses import discriminator_distance, image_loss, smoothness
from gan3d_bench.methods.gan2shape.photogeometry import Renderer, mirror, mirror_normal
from gan3d_bench.rendering.depth_mesh import sample_texture
from gan3d_bench.rendering.shading import lit_texture

Terms = dict[str, Tensor]
Distance = Callable[[Tensor, Tensor], Tensor]
"""Images (B, 3, S, S) and masks (B, 1, S, S) -> perceptual distances (B,) from fixed images."""


class FixedGeometry(NamedTuple):
    """What step 1 renders with, per slot and copy (direct, and mirrored with symmetry)."""

    ambient: Tensor  # (K, 1)
    diffuse: Tensor  # (K, 1)
    shading: Tensor  # (K, F, 1, S, S) diffuse shading
    grid: Tensor  # (K, F, S, S, 2) where the views sample the texture
    valid: Tensor  # (K, 1, S, S) where all copies are seen


class Objective:
    """The terms that each step descends, weighted.

    Args:
        weights: of the losses.
        renderer: the photo-geometric model.
        perceptual: gives the perceptual loss of step 2; called at its first loss only, since some
            need an asset.
        discriminator: whose features compare projected with pseudo samples; None: `perceptual`.
    """

    def __init__(
        self,
        weights: LossConfig,
        renderer: Renderer,
        perceptual: Callable[[], PerceptualLoss],
        discriminator: FeatureExtractor | None = None,
    ) -> None:
        self.weights = weights
        self.renderer = renderer
        self.perceptual = perceptual
        self.discriminator = discriminator

    # -- step 1 ---------------------------------------------------------------------------------

    @torch.no_grad()
    def fixed_geometry(self, factors: Factors, *, flip: bool) -> FixedGeometry:
        """What does not change while only A trains.

        Args:
            factors: of K slots; their albedo does not matter.
            flip: with the mirrored copies.
        """
        copies = [(factors.depth, factors.normal)]
        if flip:
            copies.append((mirror(factors.depth), mirror_normal(factors.normal)))
        rendered = [
            self.renderer.render(replace(factors, depth=depth, normal=normal))
            for depth, normal in copies
        ]
        return FixedGeometry(
            factors.light.ambient[:, None],
            factors.light.diffuse[:, None],
            torch.stack([r.diffuse for r in rendered], 1),
            torch.stack([r.warp.grid for r in rendered], 1),
            torch.stack([r.mask for r in rendered]).prod(0),
        )

    def step1(
        self,
        albedo: Tensor,
        geometry: FixedGeometry,
        slots: Sequence[int],
        target: Tensor,
        mask: Tensor,
        from_target: Distance,
    ) -> Terms:
        """Fit A to the target with everything else fixed. Smoothness has no gradient here.

        Args:
            albedo: (k, 3, S, S) of the targets.
            geometry: of all slots.
            slots: the k instances' slots.
            target: (k, 3, S, S) in [-1, 1].
            mask: (k or 1, 1, S, S), where the target counts.
            from_target: perceptual distance from `target`.
        """
        chosen = list(slots)
        terms: Terms = {}
        for copy in range(geometry.grid.shape[1]):
            own = albedo if copy == 0 else mirror(albedo)
            ambient, diffuse = (
                x[chosen][..., None, None] for x in (geometry.ambient, geometry.diffuse)
            )
            texture = lit_texture(own, ambient + diffuse * geometry.shading[chosen, copy])
            image = sample_texture(texture, geometry.grid[chosen, copy]).clamp(-1, 1)
            valid = geometry.valid[chosen] * mask
            terms |= self._image_terms(
                "target", copy, image, target, valid, from_target, len(chosen)
            )
        return terms

    # -- step 2 ---------------------------------------------------------------------------------

    def step2(
        self, projected: Tensor, pseudo: Tensor, masks: Tensor, offset: Tensor, instances: int
    ) -> Terms:
        """Train E to project pseudo samples (eq. 2).

        Args:
            projected, pseudo: (k * m, 3, S, S) in [-1, 1].
            masks: (k * m, 1, S, S), where the pseudo samples count.
            offset: (k * m, w_dim) of the projected samples.
            instances: number k.
        """
        if self.discriminator is None:
            distance = self.perceptual()(projected, pseudo, masks)
        else:
            distance = discriminator_distance(
                projected, pseudo, masks, self.discriminator, instances
            )
        return {
            "projection_l1": masked_l1(projected, pseudo, masks, instances).mean(),
            "projection_features": distance.mean(),
            "offset": self.weights.offset * offset_penalty(offset),
        }

    # -- step 3 ---------------------------------------------------------------------------------

    def step3(
        self,
        depth: Tensor,
        albedo: Tensor,
        view: Tensor,
        light: Tensor,
        target: Tensor,
        target_mask: Tensor,
        projected: Tensor,
        projected_masks: Tensor,
        *,
        from_target: Distance,
        from_projected: Distance,
        flip: bool,
    ) -> Terms:
        """Train D, A, V and L to reconstruct the target and its projected samples (eq. 3).

        Args:
            depth, albedo: (k, 1, S, S) and (k, 3, S, S) of the targets.
            view, light: (k, 1 + m, 6) and (k, 1 + m, 4), raw with their means added, of the targets
                and of their projected samples.
            target: (k, 3, S, S) in [-1, 1].
            target_mask: (k or 1, 1, S, S), where it counts.
            projected: (k, m, 3, S, S) in [-1, 1].
            projected_masks: (k, m, 1, S, S), where they count.
            from_target, from_projected: perceptual distances from `target` and `projected`.
            flip: mirrored copies of depth and albedo must reconstruct the images too.
        """
        k, n = view.shape[:2]
        normal = self.renderer.normals(depth)
        copies = [(depth, albedo, normal)]
        if flip:
            copies.append((mirror(depth), mirror(albedo), mirror_normal(normal)))
        f = len(copies)
        shape, colour, facing = (
            torch.stack(maps, 1)[:, :, None].expand(-1, -1, n, -1, -1, -1).flatten(0, 2)
            for maps in zip(*copies, strict=True)
        )
        views, lights = (x[:, None].expand(-1, f, -1, -1).flatten(0, 2) for x in (view, light))
        r = self.renderer.render(
            Factors(shape, colour, facing, view_from_raw(views), light_from_raw(lights))
        )
        image, mask, diffuse = (x.unflatten(0, (k, f, n)) for x in (r.image, r.mask, r.diffuse))
        terms: Terms = {}
        valid = mask[:, :, 0].prod(1) * target_mask
        for copy in range(f):
            terms |= self._image_terms(
                "target", copy, image[:, copy, 0], target, valid, from_target, k
            )
            terms |= self._image_terms(
                "projected",
                copy,
                image[:, copy, 1:].flatten(0, 1),
                projected.flatten(0, 1),
                (mask[:, copy, 1:] * projected_masks).flatten(0, 1),
                from_projected,
                k,
            )
        smooth = smoothness(
            torch.stack([c[0] for c in copies], 1).flatten(0, 1), diffuse[:, :, 0].flatten(0, 1)
        )
        terms["smooth"] = self.weights.smooth * smooth
        return terms

    def _image_terms(
        self,
        name: str,
        copy: int,
        image: Tensor,
        target: Tensor,
        mask: Tensor,
        distance: Distance,
        instances: int,
    ) -> Terms:
        """L1 and perceptual terms of the direct (0) or the mirrored (1) copy."""
        l1, perceptual = image_loss(
            image, target, mask, distance, self.weights.perceptual, instances
        )
        weight, suffix = (self.weights.mirrored, "_mirrored") if copy else (1.0, "")
        return {
            f"{name}_l1{suffix}": weight * l1,
            f"{name}_perceptual{suffix}": weight * perceptual,
        }
