"""What test processes do: commands with a kill, a signal or a rank of their own.

Processes come from a fork server that has imported the suite once, so that each starts in a
moment. The module is imported by name there; the tests put this folder on the path.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PRELOAD = ["gan3d_bench.training.fit", "gan3d_bench.tracking.media", "children"]


def start_function(function: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start ``function(*arguments)``; the function's module must lie in a folder on the path."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=function, args=arguments)
    process.start()
    return process


def torchrun_environment(rank: int, port: int) -> dict[str, str]:
    """What torchrun tells process `rank` of two."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "test",
    }


def start(
    arguments: Sequence[object],
    folder: Path,
    *,
    path: Sequence[Path],
    environment: dict[str, str] | None = None,
    prepare: Callable[..., None] | None = None,
    options: tuple[Any, ...] = (),
    name: str = "output",
) -> BaseProcess:
    """Start one command in `folder`; what it prints goes to ``<folder>/<name>``.

    `prepare` is called with `options` in the new process, before the command.
    """
    texts, places = [str(argument) for argument in arguments], [str(place) for place in path]
    return start_function(_run, texts, folder, places, environment or {}, prepare, options, name)


def _run(
    arguments: list[str],
    folder: Path,
    path: list[str],
    environment: dict[str, str],
    prepare: Callable[..., None] | None,
    options: tuple[Any, ...],
    name: str,
) -> None:
    output = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(folder)
    os.environ.pop("GAN3D_BENCH_RUNS", None)
    os.environ.update(environment, OMP_NUM_THREADS="1")
    sys.path[:0] = path

    import torch
    from lightning.pytorch.utilities.rank_zero import rank_zero_only

    from gan3d_bench.cli import run
    from gan3d_bench.tracking import media

    media.turntable = partial(media.turntable, steps=5)  # nobody looks at these films
    # tests that run in the background of a shell inherit an ignored SIGINT
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    # Lightning reads the rank when it is imported, which the fork server did without one.
    rank_zero_only.rank = int(environment.get("RANK", "0"))
    if prepare is not None:
        prepare(*options)
    code = run(arguments)
    sys.stdout.flush()
    sys.exit(code)


def die_before_step(step: int) -> None:
    """SIGKILL when training is about to take step `step`, checkpoint or not."""
    from gan3d_bench.methods.phases import PhasedMethod

    original = PhasedMethod.training_step

    def training_step(self: Any, batch: Any, batch_idx: int) -> None:
        if self.step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        original(self, batch, batch_idx)

    PhasedMethod.training_step = training_step  # type: ignore[method-assign]


def die_inside_step(step: int) -> None:
    """SIGKILL between the backward pass and the optimiser's step of step `step`."""
    from gan3d_bench.methods.phases import PhasedMethod

    original = PhasedMethod._average_gradients

    def average(self: Any, *arguments: Any) -> bool:
        if self.step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *arguments)

    PhasedMethod._average_gradients = average  # type: ignore[method-assign]


def die_while_saving(count: int) -> None:
    """SIGKILL with half of checkpoint number `count` written."""
    import torch

    from gan3d_bench.files import checkpoints

    original, calls = torch.save, [0]

    def save(content: Any, file: Any) -> None:
        calls[0] += 1
        if calls[0] == count:
            file.write(b"half of it")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        original(content, file)

    checkpoints.torch.save = save  # type: ignore[attr-defined]


def die_after_saving(count: int) -> None:
    """SIGKILL right after checkpoint number `count` took its name."""
    from gan3d_bench.files import checkpoints

    original, calls = os.replace, [0]

    def replace(source: Any, target: Any) -> None:
        original(source, target)
        calls[0] += str(target).endswith(".ckpt")
        if calls[0] == count:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoints.os.replace = replace  # type: ignore[attr-defined]


def signal_at_step(step: int, number: int) -> None:
    """Get signal `number` in the middle of step `step`."""
    from gan3d_bench.methods.phases import PhasedMethod

    original = PhasedMethod._average_gradients

    def average(self: Any, *arguments: Any) -> bool:
        if self.step == step:
            os.kill(os.getpid(), number)
        return original(self, *arguments)

    PhasedMethod._average_gradients = average  # type: ignore[method-assign]


def lose_at_step(step: int, value: float = float("nan")) -> None:
    """Have the first loss term of step `step` become `value`, and its batch known."""
    from gan3d_bench.methods.phases import PhasedMethod

    original = PhasedMethod.descend

    def descend(self: Any, terms: Any, name: str | None = None) -> Any:
        if self.step == step:
            self.batch = {"step": step, "nested": [next(self.parameters()).data[:1]]}
            terms = {key: term * value for key, term in terms.items()}
        return original(self, terms, name)

    PhasedMethod.descend = descend  # type: ignore[method-assign]


def lose_gradient_at_step(step: int) -> None:
    """Have an infinite gradient at step `step`, of finite losses."""
    from gan3d_bench.methods.phases import PhasedMethod

    original = PhasedMethod.manual_backward

    def backward(self: Any, loss: Any, *arguments: Any, **options: Any) -> None:
        original(self, loss, *arguments, **options)
        if self.step == step:
            next(p for p in self.parameters() if p.grad is not None).grad[0] = float("inf")

    PhasedMethod.manual_backward = backward  # type: ignore[method-assign]


def interrupt_at_step(step: int, moment: str) -> None:
    """Get two SIGINT, as of Ctrl-C pressed twice, in step `step` or while the data is prepared."""
    from gan3d_bench.methods.phases import PhasedMethod

    original = PhasedMethod._average_gradients

    def average(self: Any, *arguments: Any) -> bool:
        if self.step == step:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
        return original(self, *arguments)

    def prepare_data(self: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    if moment == "step":
        PhasedMethod._average_gradients = average  # type: ignore[method-assign]
    else:
        PhasedMethod.prepare_data = prepare_data  # type: ignore[method-assign]


def die_in_last_preview() -> None:
    """SIGKILL when the last pictures are half written."""
    from gan3d_bench.tracking import media

    def write_video(frames: Any, path: Path, **options: Any) -> None:
        with media.atomic_write(path) as temporary:
            temporary.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)

    media.write_video = write_video  # type: ignore[assignment]
