"""What happens around training steps: checkpoints, previews, progress."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.loggers import Logger

from gan3d_bench.distributed.processes import rank_and_size
from gan3d_bench.errors import NonFiniteLossError, UserError
from gan3d_bench.files.checkpoints import KEY, card
from gan3d_bench.methods.phases import PhasedMethod
from gan3d_bench.progress import StepProgress
from gan3d_bench.scenes.preview import Preview
from gan3d_bench.terminal import say


class Checkpointing(L.Callback):
    """Saves ``last.ckpt`` every few minutes, at the end of each phase, and when told to stop.

    Weights that are NaN or infinite are not saved: a `NonFiniteLossError` keeps the file as it was.
    SIGINT and SIGTERM let the step end, save, and stop; `signal` then says which it was. All
    processes decide together, whichever of them got the signal.
    """

    def __init__(self, path: Path, minutes: float) -> None:
        self.path = path
        self.seconds = 60 * minutes
        self.signal = 0
        self._handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._saved_at = time.monotonic()
        self._phase = _phased(pl_module).phase_index
        if threading.current_thread() is threading.main_thread():  # others may not handle signals
            self._handlers = {
                number: signal.signal(number, self._on_signal)
                for number in (signal.SIGINT, signal.SIGTERM)
            }

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object
    ) -> None:
        method = _phased(pl_module)
        due = trainer.is_global_zero and time.monotonic() - self._saved_at >= self.seconds
        due, self.signal = self._agree(trainer, due)
        if due or self.signal or method.phase_index != self._phase:
            _require_finite(method)
            trainer.save_checkpoint(self.path)
            self._saved_at = time.monotonic()
            self._phase = method.phase_index
        if self.signal:
            trainer.should_stop = True

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[KEY] = card(_phased(pl_module).config)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self.on_train_end(trainer, pl_module)
        method = _phased(pl_module)
        # A picture that has gone bad, say: nothing of the step has been done. Saving takes all
        # processes, and the others know nothing of it.
        if isinstance(exception, UserError) and method.step and rank_and_size()[1] == 1:
            with suppress(NonFiniteLossError, UserError):  # the first mistake is what is said
                _require_finite(method)
                trainer.save_checkpoint(self.path)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt  # the second Ctrl-C does not wait for the step
        self.signal = number

    def _agree(self, trainer: L.Trainer, due: bool) -> tuple[bool, int]:
        if rank_and_size()[1] == 1:
            return due, self.signal
        votes = torch.tensor([int(due), self.signal], device=trainer.strategy.root_device)
        dist.all_reduce(votes, op=dist.ReduceOp.MAX)
        return bool(votes[0]), int(votes[1])


class Previews(L.Callback):
    """Hands the method's preview to `show`.

    Args:
        show: called with the preview, the number of steps done, and whether training has ended.
        every: steps between two previews besides the ends of phases; 0: the ends of phases only;
            -1: the end of training only.
    """

    def __init__(self, show: Callable[[Preview, int, bool], None], every: int) -> None:
        self.show = show
        self.every = every

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._phase = _phased(pl_module).phase_index

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object
    ) -> None:
        method = _phased(pl_module)
        due = method.finished
        if self.every >= 0:
            due |= method.phase_index != self._phase
        if self.every > 0:
            due |= method.step % self.every == 0
        self._phase = method.phase_index
        if due and trainer.is_global_zero:
            with evaluation_mode(method):
                self.show(method.preview(), method.step, method.finished)


@contextmanager
def evaluation_mode(method: L.LightningModule) -> Iterator[None]:
    """Evaluation mode without gradients; leaves modes and random state as they were."""
    modes = {module: module.training for module in method.modules()}
    devices = [method.device] if method.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            method.eval()
            yield
    finally:
        for module, training in modes.items():
            module.training = training


class LatestScalars(Logger):
    """Remembers the last scalars that were logged."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, float] = {}

    @property
    def name(self) -> str:
        return "latest"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Not shown."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.values = dict(metrics)


class ProgressLine(L.Callback):
    """Steps over all phases, main losses, elapsed and remaining time.

    A bar on a terminal; elsewhere a plain line every `seconds`. First `said`, a line of its own:
    what the user should know of a training that has begun.
    """

    def __init__(self, scalars: LatestScalars, said: str = "", seconds: float = 10.0) -> None:
        self.scalars = scalars
        self.said = said
        self.seconds = seconds
        self._progress: StepProgress | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        method = _phased(pl_module)
        if self.said:
            say(self.said, file=sys.stderr)
        self._progress = StepProgress(method.total_steps, self.seconds, done=method.step)
        self._progress.start(_phase_name(method))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object
    ) -> None:
        method = _phased(pl_module)
        assert self._progress is not None
        self._progress.update(_phase_name(method), method.step, self._losses)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._progress is not None:  # training may fail before it starts
            self._progress.stop()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self.on_train_end(trainer, pl_module)

    def _losses(self) -> str:
        names = [name for name in self.scalars.values if name != "train/phase"][:4]
        return " ".join(f"{n.removeprefix('train/')} {self.scalars.values[n]:.4g}" for n in names)


def _require_finite(method: PhasedMethod) -> None:
    for name, weight in method.named_parameters():
        if not weight.isfinite().all():
            raise NonFiniteLossError(
                f"weight '{name}' is NaN or infinite after {method.step} steps, not saved",
                _phase_name(method),
                method.phase_step,
            )


def _phase_name(method: PhasedMethod) -> str:
    return "done" if method.finished else method.phase.name


def _phased(module: L.LightningModule) -> PhasedMethod:
    assert isinstance(module, PhasedMethod)
    return module
