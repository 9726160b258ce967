"""``gan3d-bench check NAME``: the definition of done for a method, ours or a plug-in's.

Each check prints one line. The method's preset ``check`` is used: tiny, seconds on a CPU.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import lightning as L
import torch
from torch import Tensor

from gan3d_bench.config import RunConfig, compose, to_dict
from gan3d_bench.conformance.dependence import dependence, require_dependence
from gan3d_bench.conformance.scenes import (
    SUBJECTS,
    Failed,
    check_capability,
    check_rendering,
    outputs,
    render,
    scenes_of,
)
from gan3d_bench.files.checkpoints import read_checkpoint
from gan3d_bench.files.run_folder import Run, resumable
from gan3d_bench.methods.phases import PhasedMethod
from gan3d_bench.registry import registry
from gan3d_bench.scenes.base import Scene
from gan3d_bench.spec import MethodSpec
from gan3d_bench.terminal import say
from gan3d_bench.training.callbacks import evaluation_mode
from gan3d_bench.training.fit import build, fit, load_method

PRESET = "check"
OVERRIDES = (
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",  # two processes against one: bfloat16 would blur what differs
    "trainer.threads=1",
    "trainer.log_every=1",
    "trainer.preview_every=-1",
)
EVERY_STEP = "trainer.checkpoint_minutes=1e-9"
# Two processes add gradients in another order, and Adam's first steps amplify rounding: what may
# differ is a small part of how far training has moved the weights.
PROCESS_TOLERANCE = 0.05


class Report:
    """Runs checks and prints a line for each."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def check(self, name: str, function: Callable[[], str | None]) -> None:
        """Run `function`; it raises if the check fails, and may return a remark."""
        began = time.monotonic()
        try:
            remark = function() or ""
            verdict = "ok"
        except Exception as error:  # whatever goes wrong in a method is the finding
            remark = str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
            remark = " ".join(remark.split())
            verdict = "FAILED"
            self.failed.append(name)
        seconds = time.monotonic() - began
        say(f"{verdict:6}  {name:42} {seconds:5.1f} s  {remark}".rstrip())


def check(name: str) -> int:
    """Check a method and return the exit code: 0 when every check is ok, else 1.

    Raises:
        UserError: no such method, or it has no preset ``check``.
    """
    spec: MethodSpec = registry("methods").get(name)
    config = compose(spec, PRESET, overrides=OVERRIDES)
    report = Report()
    with tempfile.TemporaryDirectory(prefix="gan3d-bench-check-") as folder, _runs_in(Path(folder)):
        _Checks(spec, config, report, Path(folder)).run()
    if report.failed:
        say(f"{name}: {len(report.failed)} checks failed: {', '.join(report.failed)}")
        return 1
    say(f"{name}: all checks ok")
    return 0


class _Checks:
    def __init__(self, spec: MethodSpec, config: RunConfig, report: Report, folder: Path) -> None:
        self.spec, self.config, self.report, self.folder = spec, config, report, folder
        self.trained: Run | None = None
        self.watcher = _Watcher(spec)

    def run(self) -> None:
        check = self.report.check
        check("trains", self.trains)
        if self.trained is None:
            return
        check("start depends on its input", lambda: require_dependence(self.watcher.start))
        check("result depends on its input", lambda: require_dependence(self.watcher.end))
        check("reloads without data, same outputs", self.reloads)
        check("resumes after SIGKILL, same weights", self.resumes)
        check("two processes, same weights", self.two_processes)
        check("scene: shapes, ranges, masks", self.scenes)
        check("delivers its capabilities", self.capabilities)
        for table in self.tables():
            check(f"fills table {table}", lambda table=table: self.fills(table))

    def trains(self) -> str:
        self.trained = fit(self.spec, self.config, callbacks=[self.watcher])
        assert self.trained is not None
        before = build(self.spec, self.config).state_dict()
        after = _weights(self.trained)
        moved = sum(not torch.equal(before[key], after[key]) for key in after)
        if not moved:
            raise Failed("training changed no weight")
        return f"{self.watcher.steps} steps changed {moved} of {len(after)} tensors"

    def reloads(self) -> str:
        assert self.trained is not None
        empty = self.folder / "empty"
        with _environment(GAN3D_BENCH_HOME=str(empty)):
            method = load_method(Run.open(self.trained.path))
            found = outputs(method, self.spec)
        for key, expected in self.watcher.outputs.items():
            if key not in found or not torch.equal(found[key], expected):
                raise Failed(f"'{key}' differs from the trained method's")
        return f"{len(found)} tensors equal to the bit"

    def resumes(self) -> str:
        assert self.trained is not None
        root = self.folder / "killed"
        code = f"from {__name__} import train_and_die; train_and_die('{self.spec.name}')"
        killed = _python("-c", code, runs=root)
        if killed.returncode != -signal.SIGKILL:
            raise Failed(f"the run to be killed ended otherwise: {_last_line(killed)}")
        run = resumable(self.spec.name, PRESET, root)
        done = read_checkpoint(run.checkpoint)["phase"]
        fit(self.spec, run.config, run)
        expected, found = _weights(self.trained), _weights(run)
        for key, value in expected.items():
            if not torch.equal(found[key], value):
                raise Failed(f"'{key}' differs from the uninterrupted run's")
        return f"killed in phase {done['index'] + 1} after step {done['step']}"

    def two_processes(self) -> str:
        assert self.trained is not None
        root = self.folder / "two"
        arguments = ["fit", "--method", self.spec.name, "--preset", PRESET, *OVERRIDES]
        result = _python("-m", "gan3d_bench", *arguments, "trainer.devices=2", runs=root)
        if result.returncode != 0:
            raise Failed(f"training failed: {_last_line(result)}")
        (run,) = Run.find(self.spec.name, PRESET, root)
        before = build(self.spec, self.config).state_dict()
        one, two = _weights(self.trained), _weights(run)
        moved = distance(one, before)
        apart = distance(one, two)
        if apart > PROCESS_TOLERANCE * moved:
            raise Failed(
                f"weights are {apart / moved:.1%} of the way trained apart, "
                f"expected at most {PROCESS_TOLERANCE:.0%}"
            )
        return f"apart by {apart / moved:.2%} of the way trained"

    def scenes(self) -> str:
        checked = [
            check_rendering(f"{kind} at {angle} degrees", scene, render(scene, angle))
            for kind, scene in self._scenes().items()
            for angle in (0.0, 20.0)
        ]
        if not checked and self.spec.scenes:
            raise Failed("it gives no scene: neither sample, reconstruct nor preview")
        return f"{len(checked)} renderings"

    def capabilities(self) -> str:
        claimed = self.spec.scenes
        scenes = self._scenes()
        for kind in claimed:
            for capability in sorted(claimed[kind]):
                check_capability(kind, scenes[kind], capability)
        said = [f"{kind}: {', '.join(sorted(can)) or 'rgb only'}" for kind, can in claimed.items()]
        return "; ".join(said) or "none claimed"

    def tables(self) -> list[str]:
        config = to_dict(self.config)
        names = registry("tables").names()
        return [name for name in names if self.spec.rows(name, config)]

    def fills(self, table: str) -> str:
        from gan3d_bench.benchmarks.runner import evaluate

        assert self.trained is not None
        spec = registry("tables").get(table)
        rows = self.spec.rows(table, to_dict(self.config))
        filled = evaluate(
            spec,
            [Run.open(self.trained.path)],
            samples=SUBJECTS,
            out=self.folder / "tables",
            runs_root=self.folder,
        )
        said = []
        for row in rows:
            line = next((line for line in filled.lines if line.row == row), None)
            cells = line.cells if line else {}
            # a scene without depth, for one, leaves the columns about depth empty
            empty = [c.metric for c in spec.columns if not (cells and cells[c.metric].measured)]
            if len(empty) == len(spec.columns):
                raise Failed(f"row '{row}' has no number")
            said.append(f"row '{row}'" + (f" without {', '.join(empty)}" if empty else ""))
        return ", ".join(said)

    def _scenes(self) -> dict[str, Scene]:
        assert self.trained is not None
        method = load_method(Run.open(self.trained.path))
        with evaluation_mode(method):
            return scenes_of(method, self.spec)


def train_and_die(name: str) -> None:
    """Train the check preset, saving after each step, and kill this process half way."""
    spec: MethodSpec = registry("methods").get(name)
    fit(spec, compose(spec, PRESET, overrides=(*OVERRIDES, EVERY_STEP)), callbacks=[_Killer()])


def distance(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """Return the Euclidean distance of two sets of weights."""
    squares = [(a[key].double() - b[key].double()).square().sum() for key in a]
    return float(torch.stack(squares).sum().sqrt())


class _Watcher(L.Callback):
    """Notes what the method gives after its first step and, before it is dropped, trained.

    Attributes:
        outputs: what the trained method shows.
        start, end: how much it depended on its input after the first step, and after the last.
        steps: of training.
    """

    def __init__(self, spec: MethodSpec) -> None:
        self.spec = spec
        self.outputs: dict[str, Tensor] = {}
        self.start: dict[str, float] = {}
        self.end: dict[str, float] = {}
        self.steps = 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object
    ) -> None:
        assert isinstance(pl_module, PhasedMethod)
        if not self.start:
            self.start = dependence(pl_module, self.spec)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, PhasedMethod)
        self.outputs = outputs(pl_module, self.spec)
        self.end = dependence(pl_module, self.spec)
        self.steps = pl_module.total_steps


class _Killer(L.Callback):
    """Ends the process, without a word, half way through training."""

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object
    ) -> None:
        assert isinstance(pl_module, PhasedMethod)
        if pl_module.step == pl_module.total_steps // 2:
            os.kill(os.getpid(), signal.SIGKILL)


def _weights(run: Run) -> dict[str, Tensor]:
    return read_checkpoint(run.checkpoint)["state_dict"]


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


@contextmanager
def _runs_in(folder: Path) -> Iterator[None]:
    with _environment(GAN3D_BENCH_RUNS=str(folder / "runs")):
        yield


def _python(*arguments: str, runs: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GAN3D_BENCH_RUNS": str(runs), "OMP_NUM_THREADS": "1"}
    command: Sequence[str] = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def _last_line(result: subprocess.CompletedProcess[str]) -> str:
    lines = (result.stderr or result.stdout).strip().splitlines()
    return lines[-1] if lines else f"exit code {result.returncode}"
