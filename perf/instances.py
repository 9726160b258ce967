"""Time of an optimisation step of GAN2Shape with 8 instances at once against one instance.

Trains preset heads-64 for a few steps of each phase, by the same trainer as `gan3d-bench fit`, with
one instance, with 8 of shared weights and with 8 of independent weights, in turns. Prints median
milliseconds of steps 1, 2 and 3 and how many times one instance's they are.

    python -m perf.instances [--threads 2] [--rounds 2] [--steps 8] [--device cuda]
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
import warnings
from collections import defaultdict
from typing import Any

import lightning as L
import torch

from gan3d_bench.config import compose
from gan3d_bench.machine.precision import resolve
from gan3d_bench.methods.phases import PhasedMethod
from gan3d_bench.registry import registry
from gan3d_bench.training.fit import build

INSTANCES = 8
TARGET = 3.0  # times one instance on the CPU (issue 2, Speed)
WARM_UP = 2
CASES = {
    "1 instance": ["instances=1"],
    "shared": [f"instances={INSTANCES}", "weights=shared"],
    "independent": [f"instances={INSTANCES}", "weights=independent"],
}


class StepTimes(L.Callback):
    """Seconds of the steps of each phase, by the end of the phase's name ("step 1").

    Left out are the first steps of a phase, which fill caches, and the last, which ends the phase.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, PhasedMethod)
        phase, step = pl_module.phase, pl_module.phase_step
        self.timed = WARM_UP <= step < phase.steps - 1
        self.name = phase.name.rpartition(", ")[2]
        self.start = now(pl_module.device)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self.timed:
            self.seconds[self.name].append(now(pl_module.device) - self.start)


def now(device: torch.device) -> float:
    """Seconds on a clock, once `device` has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def train(overrides: list[str], steps: int, device: str) -> dict[str, list[float]]:
    """Return step -> seconds of its iterations in a short run."""
    spec = registry("methods").get("gan2shape")
    length = WARM_UP + steps + 1
    first = "{" + ", ".join(f"step{i}: {length}" for i in (1, 2, 3)) + "}"
    short = ["stages=1", "prior.steps=1", "inversion.steps=1", "samples_per_instance=4"]
    short += [f"steps.first={first}"]
    config = compose(spec, "heads-64", None, [*overrides, *short])
    times = StepTimes()
    trainer = L.Trainer(
        accelerator=device,
        devices=1,
        precision=resolve(config.trainer.precision, device).value,  # type: ignore[arg-type]
        max_epochs=-1,
        callbacks=[times],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(build(spec, config))
    return times.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each case, in turns")
    parser.add_argument("--steps", type=int, default=8, help="timed steps of a phase in a run")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning.*")

    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(args.rounds):
        for case, overrides in CASES.items():
            for step, seconds in train(overrides, args.steps, args.device).items():
                times[case, step] += seconds
    for step in ("step 1", "step 2", "step 3"):
        one = statistics.median(times["1 instance", step])
        print(f"{step}: 1 instance {one * 1e3:.0f} ms", end="")
        for case in list(CASES)[1:]:
            ratio = statistics.median(times[case, step]) / one
            verdict = "" if args.device == "cuda" else " ok" if ratio <= TARGET else " TOO SLOW"
            print(f"; {INSTANCES} {case} {ratio * one * 1e3:.0f} ms, ratio {ratio:.2f}", end="")
            print(verdict, end="")
        print("" if args.device == "cuda" else f" (target {TARGET:.0f})", flush=True)


if __name__ == "__main__":
    main()
