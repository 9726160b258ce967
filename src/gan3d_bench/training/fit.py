"""`fit`: from a config to a finished run folder."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import lightning as L
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from gan3d_bench.config import RunConfig, TrainerConfig
from gan3d_bench.distributed.processes import rank_and_size
from gan3d_bench.distributed.strategy import PlainDDPStrategy
from gan3d_bench.errors import Interrupted, UserError
from gan3d_bench.files.checkpoints import AtomicCheckpointIO, read_checkpoint
from gan3d_bench.files.fingerprint import fingerprints, require_same
from gan3d_bench.files.run_folder import Run
from gan3d_bench.machine import environment
from gan3d_bench.machine.precision import resolve
from gan3d_bench.machine.room import require_room
from gan3d_bench.methods.base import Method
from gan3d_bench.methods.phases import PhasedMethod
from gan3d_bench.scenes.preview import Preview
from gan3d_bench.spec import MethodSpec, load
from gan3d_bench.tracking.loggers import run_loggers
from gan3d_bench.tracking.media import write_preview
from gan3d_bench.training.callbacks import (
    Checkpointing,
    LatestScalars,
    Previews,
    ProgressLine,
    evaluation_mode,
)
from gan3d_bench.training.nonfinite import NonFiniteBatchSaver
from gan3d_bench.training.restoring import require_optimizer_states, restore


def build(spec: MethodSpec, config: RunConfig) -> Method:
    """Build a method from its config; its first weights depend on ``config.seed`` only.

    Raises:
        UserError: what the method needs (teacher, assets, data) is missing or does not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return load(spec.module)(config)


def load_method(run: Run) -> Method:
    """Build the method of `run` from its config and load its weights; in evaluation mode.

    Raises:
        UserError: the checkpoint is missing, damaged, of another method, or does not fit.
    """
    checkpoint = read_checkpoint(run.checkpoint, run.spec.name)
    method = build(run.spec, run.config)
    restore(method, checkpoint, run.checkpoint)
    return method.eval().requires_grad_(False)


def fit(
    spec: MethodSpec,
    config: RunConfig,
    run: Run | None = None,
    callbacks: Sequence[L.Callback] = (),
) -> Run | None:
    """Train a method to the end of its last phase.

    The run folder appears once config, assets, teacher and data have been found good. Its config
    states the precision that was resolved, which a resumed run keeps on any machine.

    Args:
        spec: the method.
        config: its resolved config.
        run: the run to go on with, from its last checkpoint; None starts a new one.
        callbacks: Lightning callbacks beside the suite's own, called before them.

    Returns:
        the finished run; None on processes other than rank zero.

    Raises:
        UserError: a mistake in config, assets, data or checkpoint, or a full disk. A new run
            that has not made a step by then leaves nothing behind; one that has saves its state.
        Interrupted: told to stop by SIGINT or SIGTERM; the state is saved, unless a second SIGINT
            asked for haste.
        NonFiniteLossError: a loss, a gradient or a weight became NaN or infinite; see
            `training.nonfinite`.
            The run can be resumed from its last checkpoint.
    """
    _quiet()
    _require_launcher(config.trainer)
    require_room(config)
    main = rank_zero_only.rank == 0
    before = run.config.trainer.precision if run is not None else ""
    precision = resolve(config.trainer.precision, config.trainer.accelerator, before)
    # from here on the config says what is used: in the run folder, in checkpoints, on resuming
    config = with_precision(config, precision.value)
    if config.trainer.threads > 0:
        torch.set_num_threads(config.trainer.threads)
    L.seed_everything(config.seed, verbose=False)
    with _memory_errors():
        method = build(spec, config)
    if not isinstance(method, PhasedMethod):
        raise UserError(f"method '{spec.name}' is not trained: it has no phases")
    if not method.total_steps:
        raise UserError(f"method '{spec.name}': nothing to train, every phase has 0 steps")
    with ExitStack() as held:
        resumes = False
        if run is not None:
            if main:
                held.enter_context(run.locked())
            resumes = run.checkpoint.exists()
        if run is not None and resumes:
            require_same(config, run.environment.get("data"), run.path)
            content = read_checkpoint(run.checkpoint, spec.name)
            restore(method, content, run.checkpoint)
            require_optimizer_states(method, content, run.checkpoint)

        is_new = run is None and main
        if is_new:
            facts = {
                "precision": asdict(precision),
                "method": dict(method.extra_metadata()),
                "data": fingerprints(config),
            }
            run = Run.create(config, {**environment.describe(spec.assets), **facts})
            held.enter_context(run.locked())
        try:
            checkpoint = run.checkpoint if run is not None and resumes else None
            with _memory_errors():
                said = f"precision: {precision.value} ({precision.reason})"
                _train(method, config, run if main else None, checkpoint, list(callbacks), said)
        except KeyboardInterrupt:
            raise Interrupted(run.path if run and main else None, signal.SIGINT, True) from None
        except UserError:
            # what was trained is saved by now, unless there is no room or others took part
            worthless = not method.step or rank_and_size()[1] == 1
            if is_new and run is not None and worthless and not run.checkpoint.exists():
                _discard(run)
            raise
        return run if main else None


def with_precision(config: RunConfig, value: str) -> RunConfig:
    """Return `config` with another ``trainer.precision``."""
    return replace(config, trainer=replace(config.trainer, precision=value))


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Turn a lack of memory into a `UserError`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # on the CPU, torch has no exception of its own for it
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and "can't allocate memory" not in str(error):
            raise
        raise UserError(
            "not enough memory for this config; expected smaller sizes, such as `batch`"
        ) from error


def _require_launcher(config: TrainerConfig) -> None:
    # one node alone would wait for the others for ever
    launched = TorchElasticEnvironment.detect() or SLURMEnvironment.detect()
    if config.num_nodes > 1 and not launched and "NODE_RANK" not in os.environ:
        raise UserError(
            f"trainer.num_nodes={config.num_nodes}: expected the command to be started on every "
            "node, by SLURM, torchrun or with NODE_RANK and MASTER_ADDR set"
        )


def _train(
    method: PhasedMethod,
    config: RunConfig,
    run: Run | None,
    checkpoint: Path | None,
    callbacks: list[L.Callback],
    said: str,
) -> None:
    # Only rank zero has a run; the others take part in saving, which needs no path of theirs.
    saving = Checkpointing(
        run.checkpoint if run else Path(os.devnull), config.trainer.checkpoint_minutes
    )
    loggers: list[Logger] = []
    tracked: list[Logger] = []
    callbacks += [saving, NonFiniteBatchSaver(run.path if run else None)]
    if run is not None:
        scalars = LatestScalars()
        tracked = run_loggers(config, run.path)
        loggers = [scalars, *tracked]
        show = partial(_show, run.path, tracked)
        # pictures last: what goes wrong with them must not cost what was trained
        callbacks += [ProgressLine(scalars, said), Previews(show, config.trainer.preview_every)]
    began = time.monotonic()
    if not method.finished:
        trainer = _trainer(config.trainer, callbacks, loggers, run)
        with _lightning_interrupts():
            trainer.fit(method, ckpt_path=checkpoint, weights_only=True)
    elif run is not None:  # stopped between the last checkpoint and the last pictures
        with evaluation_mode(method):
            show(method.preview(), method.step, True)
        for logger in tracked:
            logger.finalize("success")
    if saving.signal and not method.finished:
        raise Interrupted(run.path if run else None, saving.signal)
    if run is not None:
        with evaluation_mode(method):
            method.write_results(run.path / "results")
        seconds = round(time.monotonic() - began, 1)
        run.finish({"steps": method.total_steps, "seconds_since_last_start": seconds})


@contextmanager
def _lightning_interrupts() -> Iterator[None]:
    """Give back the KeyboardInterrupt that Lightning turns into an exit in silence."""
    try:
        yield
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise


def _trainer(
    config: TrainerConfig, callbacks: list[L.Callback], loggers: list[Logger], run: Run | None
) -> L.Trainer:
    devices, nodes = config.devices, config.num_nodes
    if TorchElasticEnvironment.detect():  # torchrun has already decided how many there are
        devices = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    processes = nodes * (devices if devices > 0 else max(1, torch.cuda.device_count()))
    try:
        return L.Trainer(
            accelerator=config.accelerator,
            devices=devices,
            num_nodes=nodes,
            strategy=PlainDDPStrategy() if processes > 1 else "auto",
            precision=config.precision,  # type: ignore[arg-type]
            max_epochs=-1,  # the method stops by itself
            callbacks=callbacks,
            logger=loggers,
            plugins=[AtomicCheckpointIO()],
            deterministic=config.deterministic,
            default_root_dir=run.path if run else None,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"trainer.accelerator={config.accelerator} trainer.devices={config.devices} "
            f"trainer.num_nodes={config.num_nodes}: {reason}"
        ) from error


def _show(folder: Path, loggers: list[Logger], preview: Preview, step: int, finished: bool) -> None:
    # a turntable takes longer than many a phase: along the way, still pictures
    write_preview(preview, folder, step, loggers, everything=finished)


def _discard(run: Run) -> None:
    shutil.rmtree(run.path, ignore_errors=True)
    for folder in (run.path.parent, run.path.parent.parent, run.path.parent.parent.parent):
        try:
            folder.rmdir()
        except OSError:  # other runs lie there
            return


def _quiet() -> None:
    """Keep Lightning's hints out of the user's terminal; errors and progress are ours."""
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning.*")
