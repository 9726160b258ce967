"""Two-pass volume rendering: coarse samples along rays, then more where they found something.

Source: training/volumetric_rendering/ (renderer.py, ray_marcher.py, ray_sampler.py, math_utils.py)
of NVlabs/eg3d. Parity: vector ``eg3d_render``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gan3d_bench.errors import UserError

Field = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Points (N, P, 3) -> colour features (N, P, F) in [0, 1] and raw density (N, P)."""

LEAST_SAMPLES = 4  # of which importance sampling has one bin
MOST_SAMPLES = 4096
LIMIT = 1e4  # scene units
POINTS_AT_ONCE = 2**18
"""Points of the field that are looked at together: about 0.4 GB of 32 channels."""


@dataclass(frozen=True)
class VolumeConfig:
    """How rays are sampled. Defaults are those of the released FFHQ models.

    Attributes:
        ray_range: distances from the camera, scene units, between which rays are sampled; None for
            where they cross the cube.
        box_warp: side of the cube that the tri-planes cover, scene units.
        coarse_samples: of a ray, at least 4.
        fine_samples: of a ray, where the coarse ones found something; 0 for none.
        white_back: empty space is white instead of black.
        disparity: coarse samples are even in 1 / distance.
    """

    ray_range: tuple[float, float] | None = (2.25, 3.3)
    box_warp: float = 1.0
    coarse_samples: int = 48
    fine_samples: int = 48
    white_back: bool = False
    disparity: bool = False

    def __post_init__(self) -> None:
        if self.ray_range is not None and not 0 < self.ray_range[0] < self.ray_range[1] < LIMIT:
            raise UserError(f"ray_range={self.ray_range}: expected 0 < start < end < {LIMIT:g}")
        if not 0 < self.box_warp < LIMIT:
            raise UserError(f"box_warp={self.box_warp}: expected a number above 0, below {LIMIT:g}")
        for key, least in (("coarse_samples", LEAST_SAMPLES), ("fine_samples", 0)):
            if not least <= getattr(self, key) <= MOST_SAMPLES:
                raise UserError(f"{key}={getattr(self, key)}: expected {least} to {MOST_SAMPLES}")


class Rays(NamedTuple):
    """Attributes: origins and unit directions, (N, M, 3), world axes."""

    origins: Tensor
    directions: Tensor


class Jitter(NamedTuple):
    """Where samples lie in their bins, all in [0, 1).

    Attributes:
        coarse: (N, M, coarse samples), of each in its own bin.
        fine: (N, M, fine samples), of each in the distribution that the coarse pass found.
    """

    coarse: Tensor
    fine: Tensor

    @classmethod
    def draw(cls, batch: int, rays: int, config: VolumeConfig, rng: torch.Generator) -> Jitter:
        """Draw that of `batch` pictures of `rays` rays each, on the device of `rng`."""
        samples = (config.coarse_samples, config.fine_samples)
        shapes = [(batch, rays, count) for count in samples]
        return cls(*(torch.rand(shape, generator=rng, device=rng.device) for shape in shapes))


class Rendered(NamedTuple):
    """What rays see.

    Attributes:
        features: (N, M, F) in [-1, 1]; of what is not opaque mixed with black or white.
        distance: (N, M) mean distance along the ray, scene units; where nothing is seen, that of
            the farthest sample of the batch.
        opacity: (N, M) in [0, 1].
    """

    features: Tensor
    distance: Tensor
    opacity: Tensor


def camera_rays(labels: Tensor, size: int) -> Rays:
    """Rays through the centres of size x size pixels, row by row: M = size^2.

    Args:
        labels: (N, 25) cameras; skewed and off-centre ones, too.
        size: R.
    """
    pose = labels[:, :16].unflatten(1, (4, 4))
    fx, skew, cx, fy, cy = (labels[:, 16 + i, None] for i in (0, 1, 2, 4, 5))
    line = (torch.arange(size, dtype=labels.dtype, device=labels.device) + 0.5) / size
    v, u = (x.reshape(1, -1) for x in torch.meshgrid(line, line, indexing="ij"))
    x = (u - cx + cy * skew / fy - skew * v / fy) / fx
    y = ((v - cy) / fy).expand_as(x)
    seen = torch.stack((x, y, torch.ones_like(x)), -1)
    directions = F.normalize(seen @ pose[:, :3, :3].transpose(1, 2), dim=-1)
    return Rays(pose[:, None, :3, 3].expand_as(directions), directions)


def depth_of(distance: Tensor, labels: Tensor, rays: Rays) -> Tensor:
    """Distances along rays (N, M) -> z in camera space (N, M), scene units."""
    forward = labels[:, :16].unflatten(1, (4, 4))[:, :3, 2]
    return distance * (rays.directions @ forward[..., None]).squeeze(-1)


def render_rays(
    field: Field,
    rays: Rays,
    config: VolumeConfig,
    rng: torch.Generator | Jitter | None = None,
    points_at_once: int = POINTS_AT_ONCE,
) -> Rendered:
    """Render rays through a field, some at a time; the result does not depend on how many.

    With gradients what a part computed in between is computed again for its gradient, if there is
    more than one part: memory stays bounded then, too. No gradient flows through where samples lie.

    Args:
        field: what there is.
        rays: N x M of them.
        config: where they are sampled.
        rng: jitters the samples within their bins, as in training (and in the released code at
            inference); or where they lie, as `Jitter.draw` gives it; None: in the middle.
        points_at_once: bound of the points that are looked at together.
    """
    start, end = ray_limits(rays, config)
    batch, count = start.shape
    if isinstance(rng, torch.Generator):
        rng = Jitter.draw(batch, count, config, rng)
    if rng is None:
        jitter = start.new_full((1, 1, 1), 0.5).expand(batch, count, config.coarse_samples)
        middle = torch.arange(config.fine_samples, device=start.device) + 0.5
        level = (middle.to(start.dtype) / max(config.fine_samples, 1)).expand(batch, count, -1)
    else:
        jitter, level = (x.to(start) for x in rng)
    samples = config.coarse_samples + config.fine_samples
    step = max(1, points_at_once // (batch * samples))

    def part(*given: Tensor) -> tuple[Tensor, ...]:
        return _render(field, config, *given)

    again = torch.is_grad_enabled() and step < count
    parts = []
    for first in range(0, count, step):
        given = [x[:, first : first + step] for x in (*rays, start, end, jitter, level)]
        done = (
            checkpoint(part, *given, use_reentrant=False, preserve_rng_state=False)
            if again
            else part(*given)
        )
        parts.append(done)
    features, distance, opacity, low, high = zip(*parts, strict=True)
    limits = torch.stack(low).min(), torch.stack(high).max()
    return Rendered(
        torch.cat(features, 1), torch.cat(distance, 1).clamp(*limits), torch.cat(opacity, 1)
    )


def _render(
    field: Field,
    config: VolumeConfig,
    origins: Tensor,
    directions: Tensor,
    start: Tensor,
    end: Tensor,
    jitter: Tensor,
    level: Tensor,
) -> tuple[Tensor, ...]:
    """Features, distances, opacities of rays; nearest and farthest sample."""

    def look(depths: Tensor) -> tuple[Tensor, Tensor]:
        points = origins[:, :, None] + depths[..., None] * directions[:, :, None]
        colours, densities = field(points.flatten(1, 2))
        return colours.unflatten(1, depths.shape[1:]), densities.view(depths.shape)

    depths = coarse_depths(start, end, jitter, config.disparity)
    colours, densities = look(depths)
    if not config.fine_samples:
        marched = march(densities, depths)
        features = mixed(marched.weights, colours)
    else:
        with torch.no_grad():
            fine = fine_depths(depths, ray_weights(densities, depths), level)
        more_colours, more_densities = look(fine)
        depths, order = torch.cat((depths, fine), -1).sort(-1)
        densities = torch.cat((densities, more_densities), -1).gather(-1, order)
        marched = march(densities, depths)
        # weights go back to the order of the samples: a number each, where a colour has many
        weights = torch.zeros_like(densities).scatter(-1, order, marched.weights)
        first, second = weights.split((config.coarse_samples, config.fine_samples), -1)
        features = mixed(first, colours) + mixed(second, more_colours)
    if config.white_back:
        features = features + (1 - marched.opacity[..., None])
    limits = depths.min(), depths.max()
    return features * 2 - 1, marched.distance, marched.opacity, *limits


def ray_limits(rays: Rays, config: VolumeConfig) -> tuple[Tensor, Tensor]:
    """Distances (N, M) at which rays are sampled first and last.

    Without a range they are where the ray enters and leaves the cube. A ray that misses it gets the
    smallest and the LARGEST ENTRY of those that do not, as released; if all miss it, 0 and 0, where
    nothing is seen.
    """
    if config.ray_range is not None:
        first, last = (rays.origins.new_tensor(x) for x in config.ray_range)
        shape = rays.origins.shape[:2]
        return first.expand(shape), last.expand(shape)
    inverse = 1 / rays.directions
    half = inverse.sign() * (config.box_warp / 2)
    start = ((-half - rays.origins) * inverse).amax(-1)
    end = ((half - rays.origins) * inverse).amin(-1)
    hit = end > start
    if not hit.any():
        return torch.zeros_like(start), torch.zeros_like(end)
    entries = start[hit]
    return torch.where(hit, start, entries.min()), torch.where(hit, end, entries.max())


def coarse_depths(start: Tensor, end: Tensor, jitter: Tensor, disparity: bool = False) -> Tensor:
    """Stratified distances (N, M, S), increasing; the last one may lie beyond `end`, as released.

    Args:
        start, end: (N, M).
        jitter: (N, M, S) in [0, 1), where in its bin each sample lies.
        disparity: even in 1 / distance.
    """
    samples = jitter.shape[-1]
    step = torch.linspace(0, 1, samples, dtype=start.dtype, device=start.device)
    share = step + jitter / (samples - 1)
    start, end = start[..., None], end[..., None]
    if disparity:
        return 1 / ((1 - share) / start + share / end)
    return start + share * (end - start)


def ray_weights(densities: Tensor, depths: Tensor) -> Tensor:
    """How much each interval between samples adds to what a ray sees.

    Args:
        densities: (..., S) raw.
        depths: (..., S), increasing.

    Returns:
        (..., S - 1), not negative, of a sum of at most 1.
    """
    density = F.softplus((densities[..., :-1] + densities[..., 1:]) / 2 - 1)
    alpha = 1 - torch.exp(-density * depths.diff(dim=-1))
    # in the released form: the rounding of 1e-10 counts where many opaque intervals follow
    kept = torch.cumprod(1 - alpha + 1e-10, -1)
    return alpha * torch.cat((torch.ones_like(kept[..., :1]), kept[..., :-1]), -1)


class Marched(NamedTuple):
    """What samples along rays come to.

    Attributes:
        weights: (N, M, S), how much each sample adds to what its ray sees.
        distance: (N, M), infinite where nothing is seen.
        opacity: (N, M), the sum of the weights.
    """

    weights: Tensor
    distance: Tensor
    opacity: Tensor


def march(densities: Tensor, depths: Tensor) -> Marched:
    """Composite samples from front to back; an interval's density, distance and colour are the
    means of those of its two ends.

    Args:
        densities: (N, M, S) raw.
        depths: (N, M, S), increasing.
    """
    weights = ray_weights(densities, depths)
    opacity = weights.sum(-1)
    total = (weights * (depths[..., :-1] + depths[..., 1:]) / 2).sum(-1)
    seen = opacity > 0
    distance = torch.where(seen, total / torch.where(seen, opacity, 1), torch.inf)
    # every sample is the end of two intervals, the first and the last one of one
    return Marched((F.pad(weights, (1, 0)) + F.pad(weights, (0, 1))) / 2, distance, opacity)


def mixed(weights: Tensor, colours: Tensor) -> Tensor:
    """Mix the colours (N, M, S, F) of samples by their weights (N, M, S): (N, M, F)."""
    return (weights[..., None, :] @ colours).squeeze(-2)


def fine_depths(depths: Tensor, weights: Tensor, level: Tensor) -> Tensor:
    """Distances drawn where the coarse pass found something, in the order of `level`.

    As released, which is half a bin off: the weight of the interval between samples i and i + 1 is
    spent between the middles of intervals i - 1 and i, and the last bin is never used.

    Args:
        depths: (N, M, S) of the coarse pass.
        weights: (N, M, S - 1), as of `ray_weights`.
        level: (N, M, F) in [0, 1), where in the distribution each sample lies.

    Returns:
        (N, M, F).
    """
    # the larger of each two neighbours, then their mean: as wide as an interval on either side
    larger = torch.maximum(F.pad(weights, (1, 0)), F.pad(weights, (0, 1)))
    smooth = (larger[..., :-1] + larger[..., 1:]) / 2 + 0.01
    share = smooth[..., 1:-1] + 1e-5
    reached = F.pad((share / share.sum(-1, keepdim=True)).cumsum(-1), (1, 0))
    middles = ((depths[..., :-1] + depths[..., 1:]) / 2)[..., : reached.shape[-1]]
    above = torch.searchsorted(reached, level.contiguous(), right=True)
    below = (above - 1).clamp(min=0)
    above = above.clamp(max=reached.shape[-1] - 1)
    low, high = reached.gather(-1, below), reached.gather(-1, above)
    width = torch.where(high - low < 1e-5, 1, high - low)
    first, last = middles.gather(-1, below), middles.gather(-1, above)
    return first + (level - low) / width * (last - first)
