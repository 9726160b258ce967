"""The objective of LiftedGAN: every term, with the gradient paths of the released code.

============== ==================================================== ===============================
term           what                                                 gradient reaches
============== ==================================================== ===============================
reconstruction R(A, S, T, V, L) against G(w)                        D_S, D_T, D_V, D_L, M
flip           the same with depth and albedo mirrored              D_S, D_T, D_V, D_L, M
perturb_b      R at V~', L~' against G(w'), held                    D_S, D_T, D_V, D_L, M
perturb_a      G(w') against R at V', L', held                      M
cycle          V~' against V', L~' against L'                       D_V, D_L, M
prior          w' against the distribution of w                     M
identity       the picture of perturb_b against the neutral one     D_S, D_T, D_V, D_L, M
albedo         nuclear norm of fine albedo detail of the batch      D_S, D_L, M
smooth         second differences of depth (ours; 0 in the paper)   D_S, D_L, M
keep           M(w, L, V) against w, L and V held (ours; 0 there)   M
light          light far from its middle strength (ours; 0 there)   D_L
============== ==================================================== ===============================

with ``w' = M(w, L', V')`` and ``(L~', V~') = (D_L, D_V)(w')``; V' and L' are constants. The
released code takes two backward passes; one pass over one graph gives the same gradients, since the
pictures that each side of Eq. 4 holds fixed are cut out of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gan3d_bench.losses.smoothness import second_order_smoothness
from gan3d_bench.methods.liftedgan.config import LossConfig
from gan3d_bench.methods.liftedgan.image_formation import (
    CanonicalFactors,
    Lifter,
    RenderedImages,
    render,
)
from gan3d_bench.methods.liftedgan.losses import (
    ImageFeatures,
    ImageLoss,
    Share,
    StyleStatistics,
    albedo_residuals,
    cycle_consistency,
    identity_distance,
    light_prior,
    nuclear_norm,
    stylecode_prior,
)

Embed = Callable[[Tensor], Tensor]
"""Whole images (B, 3, S, S) in [-1, 1] -> unit embeddings (B, D) of a frozen network."""


@dataclass(frozen=True)
class Batch:
    """What a step is drawn from: a global batch, the same on every process.

    Attributes:
        w: (B, w_dim) truncated stylecodes.
        light: (B, 4) raw lights L' to perturb to.
        view: (B, 6) raw views V' to perturb to.
        identity: (B,) bool, turned little enough for the identity term.
        kept: (K, w_dim) further stylecodes, of the keep term.
    """

    w: Tensor
    light: Tensor
    view: Tensor
    identity: Tensor
    kept: Tensor


@dataclass(frozen=True)
class BatchTotals:
    """What the terms of a share need to know of all shares of the batch.

    Attributes:
        rows: (B, P) rows of the albedo matrix.
        mask: sum of the masks of the reconstruction, a scalar.
    """

    rows: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Reconstruction:
    """A share's canonical subjects and their pictures, with the mask that both cover."""

    w: Tensor
    light: Tensor
    canonical: CanonicalFactors
    picture: RenderedImages
    mirrored: RenderedImages | None
    mask: Tensor


class Objective:
    """Computes the weighted terms of a batch.

    Args:
        lifter: the networks.
        weights: of the terms; those of weight 0 are not computed.
        image_loss: d.
        statistics: of stylecodes.
        embed: f of Eq. 6; None without the identity term.
        pooling: of the albedo matrix, pixels.
        gather: rows and mask sum of a share -> those of the whole batch; None when a share is all
            of it.
    """

    def __init__(
        self,
        lifter: Lifter,
        weights: LossConfig,
        image_loss: ImageLoss,
        statistics: StyleStatistics,
        embed: Embed | None,
        pooling: int,
        gather: Callable[[Tensor, Tensor], BatchTotals] | None = None,
    ) -> None:
        self.lifter = lifter
        self.weights = weights
        self.image_loss = image_loss
        self.statistics = statistics
        self.embed = embed
        self.pooling = pooling
        self.gather = gather or BatchTotals

    def terms(
        self, batch: Batch, share: Share, whole: BatchTotals | None = None
    ) -> dict[str, Tensor]:
        """Weighted terms of a share of a batch, scalars by name.

        `whole` is gathered from all processes' shares unless given.
        """
        weights = self.weights
        made = self.reconstruct(batch, share)
        rows = albedo_residuals(made.canonical, self.lifter.geometry, self.pooling)
        if whole is None:
            whole = self.gather(rows.detach(), made.mask.sum())
        terms = self._reconstruction(made, share, whole)
        if weights.albedo:
            terms["albedo"] = weights.albedo * nuclear_norm(rows, whole.rows, share)
        if weights.smooth:
            extent = self.lifter.geometry.far - self.lifter.geometry.near
            bend = second_order_smoothness(made.canonical.depth) / extent
            terms["smooth"] = weights.smooth * bend
        if weights.keep:
            terms["keep"] = weights.keep * self._kept(batch.kept, share)
        if weights.light:
            terms["light"] = weights.light * light_prior(made.light)
        if weights.perturbs or (weights.identity and self.embed):
            terms |= self._perturbation(made, batch, share)
        return terms

    @torch.no_grad()
    def totals(self, batch: Batch, share: Share) -> BatchTotals:
        """`BatchTotals` of the share alone, for shares that are worked on one after the other."""
        made = self.reconstruct(batch, share)
        rows = albedo_residuals(made.canonical, self.lifter.geometry, self.pooling)
        return BatchTotals(rows, made.mask.sum())

    def reconstruct(self, batch: Batch, share: Share) -> Reconstruction:
        """Lift the stylecodes of a share and render them at their own views and lights."""
        lifter = self.lifter
        w = batch.w[share.rows]
        light, view = lifter.decompose(w)
        canonical = lifter.canonical(w, light)
        picture = render(canonical, light, view, lifter.geometry)
        mask, mirrored = picture.mask, None
        if self.weights.flip:
            flipped = canonical.mirrored(lifter.geometry)
            mirrored = render(flipped, light, view, lifter.geometry)
            mask = mask * mirrored.mask
        return Reconstruction(w, light, canonical, picture, mirrored, mask)

    def _reconstruction(
        self, made: Reconstruction, share: Share, whole: BatchTotals
    ) -> dict[str, Tensor]:
        weight, loss = self.weights.reconstruction, self.image_loss
        with torch.no_grad():
            target = loss.describe(self.lifter.generate(made.w)[0].float().clamp(-1, 1))
        total = whole.mask * share.fraction
        found = loss(loss.describe(made.picture.rgb), target, made.mask, total)
        terms = {"reconstruction": weight * found}
        if made.mirrored is not None:
            found = loss(loss.describe(made.mirrored.rgb), target, made.mask, total)
            terms["flip"] = weight * self.weights.flip * found
        return terms

    def _kept(self, w: Tensor, share: Share) -> Tensor:
        """How far M moves stylecodes (K, w_dim) that it is given their own light and view with.

        Mean squared, in units of their variance; of a share's part of them.
        """
        part = w[share.part_of(len(w))]
        with torch.no_grad():
            light, view = self.lifter.decompose(part)
        moved = self.lifter.manipulate(part, light, view)
        squared = (moved - part).square().sum() * 2 * self.statistics.precision
        return squared / w.numel() / share.fraction

    def _perturbation(self, made: Reconstruction, batch: Batch, share: Share) -> dict[str, Tensor]:
        weights, lifter, loss = self.weights, self.lifter, self.image_loss
        light, view = batch.light[share.rows], batch.view[share.rows]
        moved = lifter.manipulate(made.w, light, view)
        light_again, view_again = lifter.decompose(moved)
        picture = render(made.canonical, light_again, view_again, lifter.geometry)
        terms = {}
        if weights.perturbation:
            generated = loss.describe(lifter.generate(moved)[0].float())
            shown = self._held(made.canonical, light, view)
            found = loss(loss.describe(picture.rgb), generated.detach())
            terms["perturb_b"] = weights.perturbation * found
            terms["perturb_a"] = weights.perturbation * loss(generated, shown)
        if weights.cycle:
            again = (light_again, view_again, light, view)
            terms["cycle"] = weights.cycle * cycle_consistency(*again, weights.cycle_light)
        if weights.prior:
            terms["prior"] = weights.prior * stylecode_prior(moved, self.statistics)
        if weights.identity and self.embed is not None:
            pair = (self.embed(made.canonical.neutral), self.embed(picture.rgb))
            found = identity_distance(*pair, batch.identity, share)
            terms["identity"] = weights.identity * found
        return terms

    @torch.no_grad()
    def _held(self, canonical: CanonicalFactors, light: Tensor, view: Tensor) -> ImageFeatures:
        """Pictures at the views and lights asked for, held fixed."""
        shown = render(canonical, light, view, self.lifter.geometry)
        return self.image_loss.describe(shown.rgb)
