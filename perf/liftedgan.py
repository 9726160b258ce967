"""Time of a training step of LiftedGAN against the frozen networks' part of it alone.

Steps of the preset (the objective, its backward pass and Adam, without logging) in turns with the
floor: the same forward and backward passes of the teacher and of the perceptual network, without
rendering and without the trained networks. Prints median milliseconds, their ratio, images a second
and where the time of a step goes.

    python -m perf.liftedgan [--preset heads-64] [--threads 2] [--device cuda] [KEY=VALUE ...]
"""

from __future__ import annotations

import argparse
import resource
import statistics
from collections import defaultdict
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from gan3d_bench.config import compose
from gan3d_bench.machine.precision import resolve
from gan3d_bench.methods.liftedgan.losses import Share
from gan3d_bench.methods.liftedgan.method import LiftedGAN
from gan3d_bench.registry import registry
from gan3d_bench.training.fit import build, with_precision
from perf.instances import now

KINDS = {
    "convolutions": ("conv",),
    "matrix products": ("mm", "linear", "bmm"),
    "gather, scatter, index": ("index", "gather", "scatter", "nonzero"),
}


def step(method: LiftedGAN, optimizer: torch.optim.Optimizer, number: int) -> None:
    """One training step on global batch `number`."""
    with autocast(method):
        batch = method._training_batch(next(method._batches(number)))
        terms = method._objective().terms(batch, Share.whole(method.config.batch))
        loss = torch.stack([value.float() for value in terms.values()]).sum()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def floor(method: LiftedGAN, number: int) -> None:
    """The teacher's three passes and the perceptual network's six, two and four of them trained
    through."""
    drawn = next(method._batches(number))
    loss = method.image_loss
    with autocast(method):
        with torch.no_grad():
            w = method.styles(drawn["z"])
            loss.describe(method.generator.synthesis(w))
        w = w.detach().requires_grad_(True)
        neutral, moved = (method.generator.image_and_features(w)[0] for _ in range(2))
        seen = [neutral, neutral, neutral, moved]  # two reconstructions, (b) and (a)
        described = [loss.describe(images) for images in seen]
        with torch.no_grad():
            loss.describe(neutral)
        total = torch.stack([loss(x, described[-1].detach()) for x in described]).sum()
    total.backward()


def autocast(method: LiftedGAN) -> torch.autocast:
    """What the trainer's precision asks for."""
    mixed = method.config.trainer.precision == "bf16-mixed"
    return torch.autocast(method.device.type, torch.bfloat16, enabled=mixed)


def median_ms(run: Callable[[int], None], device: torch.device, steps: int) -> float:
    """Median time of a call in milliseconds."""
    times = []
    for number in range(steps):
        start = now(device)
        run(number)
        times.append(1e3 * (now(device) - start))
    return statistics.median(times)


def shares(run: Callable[[int], None], device: torch.device) -> dict[str, float]:
    """Part of the time of one call by kind of operation."""
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        run(0)
    spent: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        time = event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total
        names = (kind for kind, parts in KINDS.items() if any(part in event.key for part in parts))
        spent[next(names, "elementwise and the rest")] += time
    total = sum(spent.values())
    return {kind: time / total for kind, time in sorted(spent.items(), key=lambda x: -x[1])}


def peak_gib(device: torch.device) -> float:
    """The most memory that this process has had so far: a GPU's, or resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--preset", default="heads-64")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    spec = registry("methods").get("liftedgan")
    config = compose(spec, options.preset, None, options.overrides)
    precision = resolve(config.trainer.precision, options.device).value
    method = build(spec, with_precision(config, precision))
    assert isinstance(method, LiftedGAN)
    method.to(options.device)
    method.lifter.requires_grad_(True)
    method._measure_styles()
    optimizer = torch.optim.Adam(method.lifter.parameters(), lr=1e-6)
    device, batch = torch.device(options.device), method.config.batch

    def trained(number: int) -> None:
        step(method, optimizer, number)

    def alone(number: int) -> None:
        floor(method, number)

    for run in (trained, alone):
        median_ms(run, device, 3)  # caches, allocator, algorithms
    rounds = [
        [median_ms(run, device, max(1, options.steps // 5)) for run in (trained, alone)]
        for _ in range(5)
    ]
    own, reference = (statistics.median(times) for times in zip(*rounds, strict=True))
    print(f"{options.preset}, batch {batch}, {method.config.trainer.precision}, {device}")
    print(f"step      {own:8.1f} ms, {1e3 * batch / own:.1f} images/s, {1e3 / own:.2f} steps/s")
    print(f"floor     {reference:8.1f} ms (teacher and perceptual network alone)")
    print(f"ratio     {own / reference:8.2f}")
    for kind, part in shares(trained, device).items():
        print(f"  {part:6.1%} {kind}")


if __name__ == "__main__":
    main()
