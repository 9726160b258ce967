"""Time of GAN2Shape's perceptual terms of step 3, with activations of fixed images kept or not.

The frozen discriminator compares 8 targets and 24 projected samples with their direct and mirrored
reconstructions, forward and backward, as in a step of preset heads-64. "Anew" runs it on the fixed
images too, once for either copy, as the loss alone does; "kept" takes their stored activations.

    python -m perf.fixed_targets [--threads 1] [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from gan3d_bench.generators.teachers import load_teacher
from gan3d_bench.losses.perceptual import build_perceptual
from gan3d_bench.methods.gan2shape.target_distances import TargetDistances

INSTANCES, SAMPLES, SIZE = 8, 3, 64
TARGET = 0.8  # of the time anew: a third of the passes falls away, their distances do not


def cpu_seconds(function: Callable[[], Tensor], images: Tensor) -> float:
    """CPU seconds of a forward and a backward pass to `images`."""
    start = time.process_time()
    torch.autograd.grad(function().sum(), images)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--rounds", type=int, default=5, help="timed passes of each, in turns")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    discriminator = load_teacher("heads-teacher-64", SIZE).discriminator
    assert discriminator is not None
    loss = build_perceptual("discriminator", discriminator.requires_grad_(False))
    rng = torch.Generator().manual_seed(0)
    fixed = torch.rand(INSTANCES, 1 + SAMPLES, 3, SIZE, SIZE, generator=rng) * 2 - 1
    images = torch.rand(2, *fixed.shape, generator=rng).mul(2).sub(1).requires_grad_()
    slots = list(range(INSTANCES))
    distances = TargetDistances(loss, lambda slot: fixed[slot], INSTANCES)
    parts = [slice(0, 1), slice(1, 1 + SAMPLES)]
    masks = [torch.ones(INSTANCES * (part.stop - part.start), 1, SIZE, SIZE) for part in parts]

    def anew() -> Tensor:
        terms = [
            loss(copy[:, part].flatten(0, 1), fixed[:, part].flatten(0, 1), mask).mean()
            for copy in images
            for part, mask in zip(parts, masks, strict=True)
        ]
        return torch.stack(terms)

    def kept() -> Tensor:
        rows = [torch.arange(part.start, part.stop).expand(INSTANCES, -1) for part in parts]
        known = [distances(slots, row) for row in rows]
        terms = [
            distance(copy[:, part].flatten(0, 1), mask).mean()
            for copy in images
            for part, mask, distance in zip(parts, masks, known, strict=True)
        ]
        return torch.stack(terms)

    torch.testing.assert_close(kept(), anew())
    times = [(cpu_seconds(anew, images), cpu_seconds(kept, images)) for _ in range(args.rounds)]
    first, second = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(b / a for a, b in times)
    verdict = "ok" if ratio <= TARGET else "TOO SLOW"
    print(f"perceptual terms of a step, CPU time: anew {first * 1e3:.0f} ms,", end=" ")
    print(f"kept {second * 1e3:.0f} ms, ratio {ratio:.2f} {verdict} (target {TARGET})")


if __name__ == "__main__":
    main()
