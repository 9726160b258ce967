"""Distil the five networks of a joint GAN2Shape run into narrower ones, as a start that ships.

    python tools/distil_start.py RUN OUT [--width 8] [--samples 2000] [--steps 1500]

No truth is used: V and L learn the wide ones' views and lights of samples of the teacher and of
samples moved along the run's directions, E the wide one's codes of samples and of pseudo samples,
D the wide one's depth of samples. A is each instance's own: the narrow one learns to repeat its
input. What is lost is measured on samples held out, and is of the variance between subjects: of the
whole variance of a depth map a network that gives everybody the mean face misses 1 %.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor, nn

from gan3d_bench.config import override, to_dict
from gan3d_bench.files.run_folder import Run
from gan3d_bench.generators.latents import numbered_z
from gan3d_bench.machine.precision import resolve
from gan3d_bench.methods.gan2shape.checkpoint import save_networks
from gan3d_bench.methods.gan2shape.distillation import DistillationError
from gan3d_bench.methods.gan2shape.factors import depth_from_raw
from gan3d_bench.methods.gan2shape.method import GAN2Shape
from gan3d_bench.training.fit import build, load_method

BATCH, PART, LEARNING_RATE = 16, 16, 1e-3
HELD_OUT = 10  # one person in so many
Net = Callable[[Tensor], Tensor]


def autocast() -> torch.autocast:
    """bfloat16 where the processor has instructions for it; emulated it is slower than float32."""
    fast = resolve("auto", "cpu").value == "bf16-mixed"
    return torch.autocast("cpu", torch.bfloat16, enabled=fast)


@torch.no_grad()
def samples(method: GAN2Shape, count: int) -> dict[str, Tensor]:
    """Images (count, 3, S, S) of three kinds: samples, these moved, pseudo samples of them."""
    rng = torch.Generator().manual_seed(0)
    prior = method.images.prior(0)
    generator = method.teacher.generator
    kinds: dict[str, list[Tensor]] = {"sample": [], "moved": [], "pseudo": []}
    z = numbered_z("train", range(count), generator.z_dim)
    psi = method.config.warmup.truncation
    for part in track(z.split(PART), "samples"):
        w = generator.truncate(generator.mapping(part), psi)
        pose = method.warm_up.sample_poses(len(w), rng)
        with autocast():
            images = method.teacher.generated(torch.cat((w, w + pose @ method.directions.T)))
        first, second = images.chunk(2)
        pseudo = method.warm_up.lift(prior, first, pose)
        for kind, found in zip(kinds, (first, second, pseudo.images), strict=True):
            kinds[kind].append(found.half())
    return {kind: torch.cat(parts) for kind, parts in kinds.items()}


def distil(
    name: str, student: nn.Module, net: Net, inputs: Tensor, targets: Tensor, *,
    steps: int, people: int,
) -> dict[str, float]:  # fmt: skip
    """Fit `net`, of `student`, to targets; return what it misses of those held out.

    Inputs are kinds of pictures of the same `people`, one kind after the other. See
    `DistillationError`.
    """
    rng = torch.Generator().manual_seed(0)
    held_out = torch.arange(len(inputs)) % people >= people - people // HELD_OUT
    taught = (~held_out).nonzero()[:, 0]
    error = DistillationError(targets)
    optimizer = torch.optim.Adam(student.parameters(), LEARNING_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in track(range(steps), name):
        index = taught[torch.randint(len(taught), (BATCH,), generator=rng)]
        with autocast():
            found = net(inputs[index].float())
        loss = error.loss(found.float(), targets[index].float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    lost = error.lost(outputs(inputs[held_out], net), targets[held_out])
    return {**lost, "spread_of_teacher": round(error.spread, 4)}


def answering(network: nn.Module, answer: Net) -> Net:
    """A network of one instance, with what becomes of its outputs."""
    return lambda x: answer(network(x, [0]).float())


def unchanged(output: Tensor) -> Tensor:
    return output


@torch.no_grad()
def outputs(inputs: Tensor, net: Net) -> Tensor:
    return torch.cat([net(part.float()).float() for part in inputs.split(PART)])


def main() -> None:
    parser = argparse.ArgumentParser(description="Distil a start into narrower networks.")
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--only", help="go on with this network of OUT: depth_net, view_net ...")
    options = parser.parse_args()
    started = time.time()
    run = Run.open(options.run)
    wide: GAN2Shape = load_method(run)  # type: ignore[assignment]
    width = [f"width.{key}={options.width}" for key in ("shape", "pose", "encoder")]
    start = f"start={options.out}" if options.only else 'start=""'
    config = override(run.config, [*width, "instances=1", start])
    narrow: GAN2Shape = build(run.spec, replace(config))  # type: ignore[assignment]

    images = samples(wide, options.samples)
    seen = torch.cat((images["sample"], images["moved"]))
    coded = torch.cat((images["sample"], images["pseudo"]))
    plan = {
        "view_net": (seen, unchanged),
        "light_net": (seen, unchanged),
        "encoder": (coded, unchanged),
        "depth_net": (seen, depth_from_raw),  # its mean means nothing
        "albedo_net": (seen, unchanged),
    }
    errors: dict[str, dict[str, float]] = {}
    if options.only:
        errors = json.loads((options.out / "card.json").read_text())["distilled"].get("lost", {})
        narrow.networks.reset()
        plan = {options.only: plan[options.only]}
    for name, (inputs, answer) in plan.items():
        student, teacher = (getattr(x.networks, name) for x in (narrow, wide))
        repeats = name == "albedo_net"
        targets = inputs.float() if repeats else outputs(inputs, answering(teacher, answer))
        errors[name] = distil(
            name, student, answering(student, answer), inputs, targets,
            steps=options.steps, people=options.samples,
        )  # fmt: skip
        print(name, errors[name], f"{time.time() - started:.0f} s", flush=True)
    save_networks(narrow.networks, options.out)
    card = {
        "name": options.out.name,
        "what": "D, A, V, L and E of GAN2Shape for faces of MobileStyleGAN-FFHQ at 128 pixels",
        "training": "no labels: a joint run of the config below, distilled into narrow networks",
        "command": f"gan3d-bench fit --method gan2shape --preset {run.config.preset}",
        "distilled": {
            "width": options.width,
            "samples": options.samples,
            "steps": options.steps,
            "lost": errors,
            "hours": round((time.time() - started) / 3600, 2),
        },
        "packages": run.environment["packages"],
        "machine": run.environment["machine"],
        "config": to_dict(run.config),
    }
    (options.out / "card.json").write_text(json.dumps(card, indent=1) + "\n")


if __name__ == "__main__":
    main()
