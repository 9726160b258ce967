"""Seconds that the encoder takes for one picture, with the official architecture at 512 pixels.

Nothing is trained: time does not depend on the weights. W_tri and W+ in turns, batch 1: codes by
five refinements, and the planes of the last; then the same with EG3D's own part of it alone (the
pictures that refinements look at), which no encoder can do without. Beside them what PTI takes: the
median of `--steps` steps of projection and of tuning, times the 500 and 350 that the table
`inversion` takes of them. Prints median seconds, peak memory and parameters as JSON.

    python -m perf.wtri [--architecture ffhq512] [--threads 1] [--device cuda] [--rounds 3]
        [--steps 2]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from gan3d_bench.generators.base import Teacher
from gan3d_bench.generators.eg3d import RELEASED, EG3DConfig, EG3DGenerator
from gan3d_bench.generators.eg3d.camera_bound import CameraBound
from gan3d_bench.generators.inversion.invert import invert
from gan3d_bench.methods.wtri.codes import CodeSpace
from gan3d_bench.methods.wtri.config import WPLUS, WTRI, EG3DInversionConfig, EncoderConfig
from gan3d_bench.methods.wtri.inverter import Encoder, Inverter
from perf.liftedgan import peak_gib

ARCHITECTURES = {**RELEASED, "small": EG3DConfig()}
REFINEMENTS = 5


def seconds(function: Callable[[], object], device: torch.device) -> float:
    """How long a call takes."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def inverter(kind: str, generator: EG3DGenerator, device: torch.device) -> Inverter:
    """An untrained encoder of the released size."""
    space = CodeSpace(kind, generator.num_ws)
    config = EncoderConfig(image_size=min(256, generator.image_size))
    encoder = Encoder(space, generator.w_dim, config).to(device).eval()
    return Inverter(encoder, generator, space, config.image_size)


def optimised(generator: EG3DGenerator, cameras: Tensor, target: Tensor, steps: int) -> dict:
    """Seconds of PTI's two stages for one picture, told from a few steps of each."""
    config = EG3DInversionConfig()
    # the first step of each stage warms up
    few = replace(config, steps=1 + steps, pivotal=replace(config.pivotal, steps=1 + steps))
    moments: dict[str, list[float]] = {}

    def progress(stage: str, done: int) -> None:
        if target.is_cuda:
            torch.cuda.synchronize()
        moments.setdefault(stage, []).append(time.perf_counter())

    teacher = Teacher("eg3d", CameraBound(generator.requires_grad_(False), cameras))
    with torch.enable_grad():
        invert(teacher, target, few, torch.Generator().manual_seed(0), progress)
    whole = {"projection": config.steps, "pivotal tuning": config.pivotal.steps}
    found = {}
    for stage, count in whole.items():
        step = statistics.median(b - a for a, b in pairwise(moments[stage]))
        found[stage] = {"a step": round(step, 3), f"{count} steps": round(step * count)}
    return found


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architecture", choices=ARCHITECTURES, default="ffhq512")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="of PTI's stages; 0: none")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    device = torch.device(given.device)
    generator = EG3DGenerator(ARCHITECTURES[given.architecture]).to(device).eval()
    cameras = generator.config.orbit.frontal().to(device)
    own = {kind: inverter(kind, generator, device) for kind in (WTRI, WPLUS)}
    target = torch.rand(1, 3, *[own[WTRI].image_size] * 2, device=device) * 2 - 1

    def inverted(made: Inverter) -> None:
        start = generator.w_mean.expand(made.space.count, -1)
        *_, (codes, _) = made.steps(target, cameras, start, REFINEMENTS)
        made.space.planes(generator.synthesis, codes)

    def pictures() -> None:
        made = own[WPLUS]
        codes = generator.w_mean.expand(1, made.space.count, -1)
        for _ in range(1 + REFINEMENTS):
            made.picture(codes, cameras)

    calls: dict[str, Callable[[], object]] = {
        "W_tri": lambda: inverted(own[WTRI]),
        "W+": lambda: inverted(own[WPLUS]),
        "EG3D's pictures alone": pictures,
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(given.rounds + 1):  # the first warms up
        for name, call in calls.items():
            spent = seconds(call, device)
            if number:
                times[name].append(spent)
    found = {
        "architecture": given.architecture,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": given.threads,
        "seconds": {name: round(statistics.median(row), 3) for name, row in times.items()},
        "parameters": {
            kind: sum(p.numel() for p in made.encoder.parameters()) for kind, made in own.items()
        },
        "peak_GiB": round(peak_gib(device), 2),
    }
    if given.steps:
        side = generator.image_size
        whole = torch.rand(1, 3, side, side, device=device) * 2 - 1
        found["PTI"] = optimised(generator, cameras, whole, given.steps)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
