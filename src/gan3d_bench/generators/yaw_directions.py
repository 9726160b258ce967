"""Directions of W along which a teacher's faces change their yaw: found, and tried on faces."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.faces.arcface import cosine_similarity
from gan3d_bench.faces.yaw import YawMeter, roll
from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.directions import (
    Directions,
    ganspace,
    sefa,
    yaw_hyperplane,
    yaw_regression,
)
from gan3d_bench.generators.latent_rotation import generate, yaw_changes
from gan3d_bench.generators.latents import sample_z

BATCH = 16
COUNT = 10  # directions of SeFa and of GANSpace
GANSPACE_SAMPLES = 50_000
COMPONENTS = 20  # of w that yaw is regressed on
SHARE = 0.2  # of the samples on either side of the hyperplane
TRIALS = 8  # samples on which a direction's degrees are measured
LEAST = 2 * COMPONENTS  # samples with a face


@dataclass(frozen=True)
class Samples:
    """Stylecodes of N samples and what is measured in their pictures, M of which show a face."""

    w: Tensor
    """(N, w_dim)."""
    yaw: Tensor
    """(N,) degrees on the CPU, NaN without a face."""
    roll: Tensor
    """(M,) degrees."""
    points: Tensor
    """(M, 5, 2) in sides of the image, in the order of `faces.alignment.TEMPLATE`."""

    def statistics(self) -> dict[str, Any]:
        """Mean and standard deviation of the pose, plain values."""
        yaw = self.yaw[~self.yaw.isnan()]
        return {
            "samples": len(self.w),
            "faces": len(yaw),
            "yaw_deg": {**_moments(yaw), "range": plain(torch.stack([yaw.min(), yaw.max()]))},
            "roll_deg": _moments(self.roll),
            "points_sides": _moments(self.points),
        }


@torch.no_grad()
def measure_samples(
    generator: Generator, meter: YawMeter, count: int, psi: float, rng: torch.Generator
) -> Samples:
    """Draw latents, truncate their stylecodes by `psi`, and measure the faces in their pictures."""
    z = sample_z(count, generator.z_dim, rng)
    w = generator.truncate(generator.mapping(z.to(generator.w_mean.device)), psi)
    yaw = torch.full((count,), torch.nan)
    points = []
    for start in range(0, count, BATCH):
        images = generate(generator, w[start : start + BATCH])
        aligned = meter.aligner(images)
        yaw[start : start + BATCH][aligned.found] = meter.estimator(aligned.points)
        points.append((aligned.points + 0.5) / images.shape[-1])
    found = torch.cat(points)
    return Samples(w, yaw, roll(found), found)


@torch.no_grad()
def find_directions(
    generator: Generator, samples: Samples, meter: YawMeter, rng: torch.Generator
) -> Directions:
    """Find a teacher's directions, and by how many degrees of yaw each of them rotates faces.

    The degrees are measured on the first `TRIALS` samples with a face, one standard deviation of
    the samples to either side. Those of SeFa and GANSpace that do most there become steps.

    Raises:
        ValueError: fewer than `LEAST` samples with a face, or no face is left on the trials.
    """
    known = ~samples.yaw.isnan()
    if int(known.sum()) < LEAST:
        raise ValueError(
            f"a face in {int(known.sum())} of {len(known)} samples: expected at least {LEAST}"
        )
    regression = yaw_regression(samples.w, samples.yaw, COMPONENTS)
    found = {
        "hyperplane": yaw_hyperplane(samples.w, samples.yaw, SHARE)[None],
        "sefa": sefa(generator, COUNT),
        "ganspace": ganspace(generator, GANSPACE_SAMPLES, COUNT, rng),
    }
    steps = {"regression": regression.step}
    card: dict[str, Any] = {
        "pose": samples.statistics(),
        "regression": {
            "r2": round(regression.r2, 4),
            "components": COMPONENTS,
            "degrees_per_unit": plain(1 / regression.step.norm()),
        },
    }
    trials = samples.w[known.to(samples.w.device)][:TRIALS]
    for kind, rows in found.items():
        spread = (samples.w @ rows.T).std(0)
        changes = yaw_changes(generator, rows * spread[:, None], trials, meter).to(spread)
        if changes.isnan().all():
            raise ValueError(f"no face is left on either side of any {kind} direction")
        best = int(changes.abs().nan_to_num().argmax())
        degrees = changes / spread
        steps[kind] = rows[best] / degrees[best]
        card[kind] = {
            "turning": best,
            "degrees_per_unit": plain(degrees),
        }
    (degrees,) = card["hyperplane"]["degrees_per_unit"]
    card["hyperplane"] = {"share": SHARE, "degrees_per_unit": degrees}
    return Directions(
        regression, found["hyperplane"][0], found["sefa"], found["ganspace"], steps, card
    )


@dataclass(frozen=True)
class RotatedFaces:
    """F faces moved along one direction to where T yaws are expected."""

    images: Tensor
    """(F, T, 3, S, S) in [-1, 1], on the CPU."""
    yaw: Tensor
    """(F, T) degrees measured, NaN without a face."""
    cosine: Tensor
    """(F, T) of ArcFace's embeddings with that at the expected yaw 0, NaN without a face."""

    def summary(self) -> dict[str, list[float | None]]:
        """At each yaw, over the faces found: mean and standard deviation of the measured yaw, mean
        cosine; and the share of faces found. Plain values."""
        found = ~self.yaw.isnan()
        columns = [self.yaw[known, i] for i, known in enumerate(found.T)]
        return {
            "mean": [plain(yaw.mean()) for yaw in columns],
            "std": [plain(yaw.std()) if len(yaw) > 1 else None for yaw in columns],
            "cosine": plain(self.cosine.nanmean(0)),
            "found": plain(found.float().mean(0)),
        }


@torch.no_grad()
def rotate_faces(
    generator: Generator,
    stylecodes: Callable[[float], Tensor],
    yaws: Sequence[float],
    meter: YawMeter,
    embed: Callable[[Tensor], Tensor],
) -> RotatedFaces:
    """Move faces to expected yaws and measure what comes of it.

    Args:
        generator: the teacher.
        stylecodes: an expected yaw in degrees -> (F, w_dim), the faces' moved there.
        yaws: degrees, 0 among them.
        meter: of yaw.
        embed: aligned faces (N, 3, 112, 112) -> embeddings (N, D).
    """
    images, measured, embeddings = [], [], []
    for yaw in yaws:
        shown = generate(generator, stylecodes(yaw))
        aligned = meter.aligner(shown)
        angles = torch.full((len(shown),), torch.nan)
        angles[aligned.found] = meter.estimator(aligned.points)
        known = embed(aligned.images).cpu()
        identities = known.new_full((len(shown), known.shape[1]), torch.nan)
        identities[aligned.found] = known
        images.append(shown.cpu())
        measured.append(angles)
        embeddings.append(identities)
    front = embeddings[list(yaws).index(0)]
    cosine = torch.stack([cosine_similarity(each, front) for each in embeddings], 1)
    return RotatedFaces(torch.stack(images, 1), torch.stack(measured, 1), cosine)


def _moments(values: Tensor) -> dict[str, Any]:
    return {"mean": plain(values.mean(0)), "std": plain(values.std(0))}


def plain(values: Tensor) -> Any:
    """Numbers for the card, to four digits after the point; None for what is not known."""
    if values.ndim:
        return [plain(value) for value in values]
    number = round(float(values), 4)
    return None if math.isnan(number) else number
