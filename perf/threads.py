"""Time of a training step with two threads, on an idle machine and beside a busy process a core.

The step is one of GAN2Shape's inversion (preset heads-64, 8 heads, float32), by the trainer of
`gan3d-bench fit`. Compares OpenMP's own way of waiting with the one that the command line sets
(`gan3d_bench.machine.process_settings.SPIN`), and with others by `--spin`. Settings and loads take
turns; the busy processes are this script's own. Prints medians, and how many times an idle step one
beside other work takes.

    python -m perf.threads [--threads 2] [--rounds 3] [--steps 8] [--spin 0 1000 30000]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gan3d_bench.machine.process_settings import ALLOCATOR, SPIN

TARGET = 3.0  # times an idle step
WARM_UP = 3
# ends with the process that started it, whatever becomes of that one
BUSY = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"


def measure(threads: int) -> None:
    """Train; for each line with a number on standard input print the seconds of so many steps."""
    import lightning as L
    import torch

    from gan3d_bench.config import compose
    from gan3d_bench.registry import registry
    from gan3d_bench.training.fit import build

    class StepsOnRequest(L.Callback):
        def __init__(self) -> None:
            self.left = WARM_UP
            self.seconds: list[float] = []

        def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
            if not self.left:
                print(json.dumps(self.seconds), flush=True)
                self.left, self.seconds = int(sys.stdin.readline() or 0), []
            trainer.should_stop = not self.left
            self.began = time.perf_counter()

        def on_train_batch_end(self, *_: Any) -> None:
            self.seconds.append(time.perf_counter() - self.began)
            self.left -= 1

    torch.set_num_threads(threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning.*")
    spec = registry("methods").get("gan2shape")
    config = compose(spec, "heads-64", None, ["inversion.steps=1000000"])
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        callbacks=[StepsOnRequest()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(build(spec, config))


class Child:
    """A training process with its own settings, which waits between requests."""

    def __init__(self, threads: int, settings: dict[str, str]) -> None:
        names = {*ALLOCATOR, *SPIN, "OMP_NUM_THREADS"}
        variables = {name: value for name, value in os.environ.items() if name not in names}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "perf.threads", "--measure", "--threads", str(threads)],
            env={**variables, **ALLOCATOR, **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.answer()  # it has warmed up

    def answer(self) -> list[float]:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def steps(self, count: int) -> list[float]:
        """Return the seconds of the next steps."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return self.answer()


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep `count` processes busy."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of the training")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each setting and load")
    parser.add_argument("--steps", type=int, default=8, help="timed steps of a turn")
    parser.add_argument("--spin", type=int, nargs="*", default=[], help="more GOMP_SPINCOUNTs")
    parser.add_argument("--out", type=Path, help="JSON file to store the figures in")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        return measure(args.threads)

    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    print(
        f"{args.threads} threads, {cores} cores, load {load:.1f} at the start",
        flush=True,
    )
    settings = {"OpenMP's own": {}, f"command line's ({SPIN['GOMP_SPINCOUNT']})": SPIN}
    settings |= {f"spin {n}": {**SPIN, "GOMP_SPINCOUNT": str(n)} for n in args.spin}
    times: dict[tuple[str, int], list[float]] = defaultdict(list)
    children: dict[str, Child] = {}
    try:
        for name, variables in settings.items():
            children[name] = Child(args.threads, variables)
        for _ in range(args.rounds):
            for count in (0, cores):
                with busy(count):
                    for name, child in children.items():
                        times[name, count] += child.steps(args.steps)
    finally:
        for child in children.values():
            child.process.kill()
            child.process.wait()
    figures: dict[str, dict[str, float]] = {}
    for name in settings:
        idle, loaded = (statistics.median(times[name, n]) * 1e3 for n in (0, cores))
        print(
            f"{name:24} idle {idle:6.0f} ms, beside {cores} busy processes {loaded:6.0f} ms, "
            f"ratio {loaded / idle:.2f}"
        )
        figures[name] = {"idle_ms": idle, "loaded_ms": loaded, "ratio": loaded / idle}
    if args.out:
        from gan3d_bench.machine import environment

        facts = {"commit": environment.commit(), "machine": environment.machine()}
        facts |= {"threads": args.threads, "steps": args.rounds * args.steps, "seed": 0}
        args.out.write_text(json.dumps({**facts, "load_before": load, **figures}, indent=2) + "\n")
    print(f"target of the command line's ratio: at most {TARGET:.0f}")


if __name__ == "__main__":
    main()
