"""Warm-up: E, V and L learn from the teacher alone, before the first stage. Not in the paper.

The paper brings these networks up over thousands of iterations of joint pre-training. Here:

1. E learns how two samples of the teacher differ in w, which takes no pass back through it.
2. E learns to project pseudo samples as in step 2, of new samples of the teacher in every step. The
   prior stands for their shape, and the sample itself, as if seen from the front in mean light, for
   their texture: what step 1 would come to.
3. The offsets that E gives to many such pseudo samples, regressed onto the views and lights they
   were asked for, are the directions of w that turn and light any subject.
4. V and L learn on pairs of samples that lie apart along these directions how much one is turned
   and how it is lit, relative to the other. With new subjects in every step they cannot learn
   subjects by heart, and seeing samples of the teacher only, they cannot tell views by the defects
   of pseudo samples. An image and its mirror image get mirrored views, which tells where zero is.

Where samples are dear, steps draw from a pool of `warmup.pool`, each made when it is first drawn.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from gan3d_bench.geometry.depth_prior import FLAT_DEPTH
from gan3d_bench.methods.gan2shape.config import GAN2ShapeConfig
from gan3d_bench.methods.gan2shape.factors import (
    Factors,
    clamp_border,
    light_from_raw,
    light_to_raw,
    mirror_raw_pose,
    view_from_raw,
)
from gan3d_bench.methods.gan2shape.model import CHUNK
from gan3d_bench.methods.gan2shape.objective import Objective, Terms
from gan3d_bench.methods.gan2shape.photogeometry import mirror, surface_mask
from gan3d_bench.methods.gan2shape.projection import Projector, PseudoSamples
from gan3d_bench.rendering.shading import diffuse_shading

# What has no zero by symmetry (pitch, vertical shifts, weights of the light) is pulled to the mean.
CENTRE_WEIGHT = 0.01
# Texture of dark places is not divided by less than this.
LEAST_SHADING = 0.2
# Samples that directions are regressed on, and how many at a time.
DIRECTION_SAMPLES, DIRECTION_BATCH = 2048, 32
RIDGE = 1e-6


class Rng(Protocol):
    """Random generators by key, as `PhasedMethod.rng` gives them."""

    def __call__(self, key: str = "", step: int | None = None) -> torch.Generator: ...


class SamplePool:
    """Images kept in half precision, each made when it is first asked for.

    Args:
        count: images.
        shape: of one.
    """

    def __init__(self, count: int, shape: Sequence[int]) -> None:
        self.images = torch.zeros(count, *shape, dtype=torch.float16)
        self.made = torch.zeros(count, dtype=torch.bool)

    def take(self, index: Tensor, make: Callable[[Tensor], Tensor]) -> Tensor:
        """Images (n, ...) of indices (n,); `make` gives those of indices that are new."""
        new = index[~self.made[index]].unique()
        if len(new):
            self.images[new] = make(new).to("cpu", torch.float16)
            self.made[new] = True
        return self.images[index].float()


class WarmUp:
    """Losses of the warm-up, and the directions of w found between them.

    All networks that it trains have one slot. Losses are of `count` samples, of which this process
    has `local`; every process draws the same ones.

    Args:
        config: of the run.
        projector: with the networks and the teacher it projects by.
        objective: whose losses of step 2 E learns by.
        rng: random generator of a key and a step, by default the current one.
    """

    def __init__(
        self, config: GAN2ShapeConfig, projector: Projector, objective: Objective, rng: Rng
    ) -> None:
        self.config = config.warmup
        self.image_shape = (3, config.image_size, config.image_size)
        self.projector = projector
        self.networks = projector.networks
        self.teacher = projector.teacher
        self.objective = objective
        self.rng = rng
        self._turned_pool: SamplePool | None = None

    # -- losses ---------------------------------------------------------------------------------

    def encoder_terms(self, count: int, local: Sequence[int]) -> Terms:
        """Loss of E on `count` pairs of samples: the error of the offset between the two, relative
        to the variance of w."""
        both = [*local, *(count + i for i in local)]
        w, images, variance = self._draw(2 * count, both, self.rng("warm-up"))
        first, second = w.chunk(2)
        code, centre = self.networks.encoder(images, [0]).chunk(2)
        error = (self.teacher.offset(code, centre) - (first - second)).square().mean()
        return {"encoder": error / variance}

    def lifted_terms(self, prior: Tensor, count: int, local: Sequence[int]) -> Terms:
        """Losses of E on pseudo samples of `count` new samples with the depth `prior` (S, S)."""
        w, images, _, pseudo = self._draw_lifted(prior, count, local, self.rng("warm-up"))
        projected, offset = self.projector.project(pseudo.images, w, images, [0])
        return self.objective.step2(projected, pseudo.images, pseudo.masks, offset, len(w))

    def pose_terms(self, directions: Tensor, count: int, local: Sequence[int]) -> Terms:
        """Losses of V and L on `count` pairs of samples, apart along `directions` (w_dim, 10)."""
        pose, pairs = self._draw_pairs(directions, count, local, self.rng("warm-up"))
        both = torch.stack((pairs, mirror(pairs)), 2)  # (B, pair, mirrored, 3, S, S)
        images = both.flatten(0, 2)
        raw = torch.cat(
            (self.networks.raw_view(images, [0]), self.networks.raw_light(images, [0])), 1
        )
        raw = raw.view(-1, 2, 2, 10)
        straight, mirrored = raw[:, :, 0], mirror_raw_pose(raw[:, :, 1])
        return {
            "pose": sum_of_squares(straight[:, 1] - straight[:, 0] - pose)
            + sum_of_squares(mirrored[:, 1] - mirrored[:, 0] - pose),
            "pose_mirrored": sum_of_squares(straight - mirrored),
            "pose_centre": CENTRE_WEIGHT * sum_of_squares(straight - self._mean_pose),
        }

    # -- directions -----------------------------------------------------------------------------

    @torch.no_grad()
    def find_directions(self, prior: Tensor) -> Tensor:
        """Regress E's offsets for pseudo samples on the poses these were asked for.

        Args:
            prior: (S, S) depth of the pseudo samples.

        Returns:
            (w_dim, 10): how w moves with the raw views and lights.
        """
        self._turned_pool = None  # its samples were moved along other directions
        rng = self.rng("directions")
        batch = range(DIRECTION_BATCH)
        offsets, poses = [], []
        for _ in range(DIRECTION_SAMPLES // DIRECTION_BATCH):
            _, images, pose, pseudo = self._draw_lifted(prior, len(batch), batch, rng)
            offsets.append(self.projector.find_offset(pseudo.images, images, [0]))
            poses.append(pose)
        return regress(torch.cat(poses), torch.cat(offsets))

    # -- pseudo samples of new subjects ---------------------------------------------------------

    def sample_poses(self, count: int, rng: torch.Generator) -> Tensor:
        """Raw views and lights (count, 10) of pseudo samples, relative to the mean ones."""
        views, lights = self.projector.distributions
        device = self.networks.light_mean.device
        raw = views.sample_raw(count, rng).to(device)
        mean = light_from_raw(self.networks.light_mean.expand(count, -1))
        light = lights.apply(lights.sample(count, rng).to(device), mean)
        return torch.cat((raw, light_to_raw(light)), 1) - self._mean_pose

    def lift(self, prior: Tensor, images: Tensor, pose: Tensor) -> PseudoSamples:
        """Pseudo samples of images, lifted by a prior.

        Args:
            prior: (S, S) depth of every image.
            images: (B, 3, S, S) in [-1, 1], taken as seen from the front in mean light.
            pose: (B, 10) raw views and lights to show them at, relative to the mean ones.
        """
        n, renderer = len(images), self.projector.renderer
        # D's depth is centred about 1, so that is how it can follow the prior
        depth = clamp_border((prior - prior.mean() + FLAT_DEPTH)[None, None])
        depth = depth.expand(n, -1, -1, -1)
        normal = renderer.normals(depth)
        mean = light_from_raw(self.networks.light_mean.expand(n, -1))
        ambient, diffuse = (x[:, None, None, None] for x in (mean.ambient, mean.diffuse))
        shading = ambient + diffuse * diffuse_shading(normal, mean.direction)
        albedo = (images + 1) / shading.clamp_min(LEAST_SHADING) - 1
        factors = Factors(depth, albedo, normal, view_from_raw(0 * pose[:, :6]), mean)
        view = view_from_raw(pose[:, :6])
        light = light_from_raw(pose[:, 6:] + self.networks.light_mean)
        rendered = renderer.render(factors, view, light)
        return PseudoSamples(rendered.image, surface_mask(None, rendered.warp))

    @property
    def _mean_pose(self) -> Tensor:
        """Mean raw view and light (10,)."""
        return torch.cat((self.networks.view_mean, self.networks.light_mean))

    # -- samples of the teacher -----------------------------------------------------------------

    @torch.no_grad()
    def _draw_lifted(
        self, prior: Tensor, count: int, local: Sequence[int], rng: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor, PseudoSamples]:
        """New samples: w, images, poses relative to theirs, and pseudo samples at these poses."""
        w, images, _ = self._draw(count, local, rng)
        pose = self.sample_poses(count, rng)[list(local)]
        return w, images, pose, self.lift(prior, images, pose)

    @torch.no_grad()
    def _draw(
        self, count: int, local: Sequence[int], rng: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of `count` samples those of `local`: w, images; and the variance of w over all."""
        pool = self.config.pool
        if not pool:
            w = self._sample_w(count, rng)
            own = w[list(local)]
            return own, self.teacher.generated(own), w.var(0).mean()
        index = torch.randint(pool, (count,), generator=rng)
        w = self._pool_w[index.to(self._pool_w.device)]
        images = self._pool.take(index[list(local)], lambda new: self._made(self._pool_w, new))
        return w[list(local)], images.to(w.device), w.var(0).mean()

    @torch.no_grad()
    def _draw_pairs(
        self, directions: Tensor, count: int, local: Sequence[int], rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Relative poses (k, 10), and pairs of images (k, 2, 3, S, S) of samples so far apart."""
        pool = self.config.pool
        if not pool:
            w = self._sample_w(count, rng)[list(local)]
            pose = self.sample_poses(count, rng)[list(local)]
            images = self.teacher.generated(torch.cat((w, w + pose @ directions.T)))
            return pose, torch.stack(images.chunk(2), 1)
        index = torch.randint(pool, (count,), generator=rng)[list(local)]
        poses = self.sample_poses(pool, self.rng("pool poses", step=0))
        turned = self._pool_w + poses @ directions.T
        if self._turned_pool is None:
            self._turned_pool = SamplePool(pool, self.image_shape)
        pairs = (
            self._pool.take(index, lambda new: self._made(self._pool_w, new)),
            self._turned_pool.take(index, lambda new: self._made(turned, new)),
        )
        return poses[index.to(poses.device)], torch.stack(pairs, 1).to(poses.device)

    def _sample_w(self, count: int, rng: torch.Generator) -> Tensor:
        return self.teacher.sample_w(count, rng, self.config.truncation)

    def _made(self, w: Tensor, index: Tensor) -> Tensor:
        parts = w[index.to(w.device)].split(CHUNK)
        return torch.cat([self.teacher.generated(part) for part in parts])

    @functools.cached_property
    def _pool_w(self) -> Tensor:
        return self._sample_w(self.config.pool, self.rng("pool", step=0))

    @functools.cached_property
    def _pool(self) -> SamplePool:
        return SamplePool(self.config.pool, self.image_shape)


def sum_of_squares(error: Tensor) -> Tensor:
    """Squared error, summed over the last dimension and averaged over the others."""
    return error.square().sum(-1).mean()


def regress(x: Tensor, y: Tensor) -> Tensor:
    """Ridge regression of y (N, m) on x (N, n) with an intercept: (m, n).

    In double precision and with a little ridge, so that rounding decides nothing where columns of x
    do not vary, or vary together as ambient and diffuse light do.
    """
    known, wanted = (values.double().cpu().numpy() for values in (x, y))
    alpha = RIDGE * float(known.var(0).mean()) * len(known)
    return torch.from_numpy(Ridge(alpha=alpha).fit(known, wanted).coef_).to(x)
