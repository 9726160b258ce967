"""How well inversion finds the stylecodes of heads, of which the teacher knows the own ones.

    python tools/measure_inversion.py OUT.json [--heads 32] [--split val] [--prior 0 0.05 ...]
        [KEY=VALUE ...]

A stylecode may show the picture it was found for and yet be of another person: what it is worth is
seen when it is turned. It is moved as the head's own one moves when the head turns by 25 degrees
to either side, and its pictures are compared with true renderings. Said of each prior weight: PSNR
(dB) of the picture itself and of the turned ones, the distance to the own stylecode in deviations
of w (1.41: another sample's), and its distance from the mean (1: a sample's). Row `own` is of the
heads' own stylecodes, row `mean` of the mean of w for everybody. KEY=VALUE are keys of
`InversionConfig`.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from gan3d_bench.benchmarks.heads import head_stylecodes
from gan3d_bench.config.values import updated
from gan3d_bench.datamodules.heads import head_latents
from gan3d_bench.files.run_folder import write_json
from gan3d_bench.generators.base import Teacher
from gan3d_bench.generators.inversion.config import InversionConfig
from gan3d_bench.generators.inversion.invert import invert
from gan3d_bench.generators.latents import w_statistics
from gan3d_bench.generators.teachers import load_teacher
from gan3d_bench.heads.sampling import LAYOUT, YAW, render_heads, sample_heads
from gan3d_bench.machine import environment
from gan3d_bench.metrics.images import psnr

IMAGE_SIZE, TURN = 64, 25.0
TEACHER = "heads-teacher-64"


class Heads:
    """N heads: as they are and turned, and how the teacher's stylecodes move with them."""

    def __init__(self, teacher: Teacher, latents: Tensor) -> None:
        self.generator = teacher.generator
        scale, bound = YAW
        self.codes = head_stylecodes(self.generator, latents)
        self.images = render_heads(sample_heads(latents), IMAGE_SIZE)["image"]
        self.moves, self.turned = [], []
        for yaw in (-TURN, TURN):
            latents = latents.clone()
            latents[:, LAYOUT["view"].start] = bound / scale * math.atanh(yaw / bound)
            self.moves.append(head_stylecodes(self.generator, latents) - self.codes)
            self.turned.append(render_heads(sample_heads(latents), IMAGE_SIZE)["image"])
        mean, channels = w_statistics(self.generator, torch.Generator().manual_seed(0))
        self.mean, self.deviation = mean, channels.norm()

    def row(self, w: Tensor) -> dict[str, float]:
        """What stylecodes (N, w_dim) for the heads are worth."""
        pictures = [self.generator.synthesis(w)]
        pictures += [self.generator.synthesis(w + move) for move in self.moves]
        same, *turned = (
            psnr(made.clamp(-1, 1), true)
            for made, true in zip(pictures, (self.images, *self.turned), strict=True)
        )
        found = {
            "psnr": same,
            "psnr_turned": torch.stack(turned).mean(0),
            "from_own": (w - self.codes).norm(dim=1) / self.deviation,
            "from_mean": (w - self.mean).norm(dim=1) / self.deviation,
        }
        return {
            key + suffix: round(float(value), 3)
            for key, values in found.items()
            for suffix, value in (
                ("", values.mean()),
                ("_error", values.std() / math.sqrt(len(values))),
            )
        }


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("keys", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--split", default="val", choices=("val", "test"))
    parser.add_argument("--prior", nargs="+", type=float, default=[0.0, 0.05, 0.2, 1.0])
    options = parser.parse_intermixed_args()
    keys = dict(item.split("=", 1) for item in options.keys)
    teacher = load_teacher(TEACHER, IMAGE_SIZE)
    heads = Heads(teacher, head_latents(options.split, range(options.heads)))
    rows = [
        {"row": "own", **heads.row(heads.codes)},
        {"row": "mean", **heads.row(heads.mean.expand_as(heads.codes))},
    ]
    for prior in options.prior:
        config = replace(updated(InversionConfig(), keys), prior=prior)
        with torch.enable_grad():
            found = invert(teacher, heads.images, config, torch.Generator().manual_seed(0))
        rows.append({"row": f"prior {prior:g}", "keys": options.keys, **heads.row(found.w)})
        print(rows[-1], flush=True)
    facts = {"commit": environment.commit(), "machine": environment.machine()}
    data = {"data": f"heads, {options.split}", "heads": options.heads, "teacher": TEACHER}
    write_json(options.out, {**facts, **data, "rows": rows})
    print(rows[:2])


if __name__ == "__main__":
    main()
