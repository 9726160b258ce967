"""Distil the five networks of a joint GAN2Shape run into narrower ones, as a start that ships.

    python tools/distil_start.py RUN OUT [--width 8] [--samples 2000] [--steps 1500]

No truth is used: V and L learn the wide ones' views and lights of samples of the teacher and of
samples moved along the run's directions, E the wide one's codes of samples and of pseudo samples,
D the wide one's depth of samples. A is each instance's own: the narrow one learns to repeat its
input.
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
from gan3d_bench.methods.gan2shape.checkpoint import save_networks
from gan3d_bench.methods.gan2shape.method import GAN2Shape
from gan3d_bench.training.fit import build, load_method

BATCH, PART, LEARNING_RATE = 16, 16, 1e-3
Net = Callable[[Tensor], Tensor]


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
        with torch.autocast("cpu", torch.bfloat16):
            images = method.teacher.generated(torch.cat((w, w + pose @ method.directions.T)))
        first, second = images.chunk(2)
        pseudo = method.warm_up.lift(prior, first, pose)
        for kind, found in zip(kinds, (first, second, pseudo.images), strict=True):
            kinds[kind].append(found.half())
    return {kind: torch.cat(parts) for kind, parts in kinds.items()}


def distil(
    name: str, student: nn.Module, inputs: Tensor, targets: Tensor, net: Net, steps: int
) -> float:
    """Fit `net` to targets by squared error in units of their variance; return what is left."""
    rng = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(student.parameters(), LEARNING_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    first = targets[:BATCH].float()
    scale = first.var()
    slope = 0.0
    if first.ndim == 4:
        slope = torch.cat([first.diff(dim=axis).flatten() for axis in (2, 3)]).square().mean()
    recent = torch.ones(50)
    for step in track(range(steps), name):
        index = torch.randint(len(inputs), (BATCH,), generator=rng)
        with torch.autocast("cpu", torch.bfloat16):
            found = net(inputs[index].float())
        error = found.float() - targets[index].float()
        loss = error.square().mean() / scale
        if slope:
            # maps: slopes count too, or the surface comes out rough
            steps_between = torch.cat([error.diff(dim=axis).flatten() for axis in (2, 3)])
            loss = loss + steps_between.square().mean() / slope
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        recent[step % 50] = loss.detach()
    return round(float(recent.mean()), 4)


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
    config = override(
        run.config, [*width, "instances=1", f"start={options.out if options.only else ''}"]
    )
    narrow: GAN2Shape = build(run.spec, replace(config))  # type: ignore[assignment]

    images = samples(wide, options.samples)
    seen = torch.cat((images["sample"], images["moved"]))
    coded = torch.cat((images["sample"], images["pseudo"]))
    plan = {
        "view_net": (seen, lambda x: wide.networks.view_net(x, [0])),
        "light_net": (seen, lambda x: wide.networks.light_net(x, [0])),
        "encoder": (coded, lambda x: wide.networks.encoder(x, [0])),
        "depth_net": (seen, lambda x: wide.networks.depth_net(x, [0])),
        "albedo_net": (seen, lambda x: x),
    }
    errors = {}
    if options.only:
        errors = json.loads((options.out / "card.json").read_text())["distilled"][
            "error_to_variance"
        ]
        narrow.networks.reset()
        plan = {options.only: plan[options.only]}
    for name, (inputs, net) in plan.items():
        student = getattr(narrow.networks, name)
        errors[name] = distil(
            name, student, inputs, outputs(inputs, net),
            lambda x, student=student: student(x, [0]), options.steps,
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
            "error_to_variance": errors,
            "hours": round((time.time() - started) / 3600, 2),
        },
        "packages": run.environment["packages"],
        "machine": run.environment["machine"],
        "config": to_dict(run.config),
    }
    (options.out / "card.json").write_text(json.dumps(card, indent=1) + "\n")


if __name__ == "__main__":
    main()
