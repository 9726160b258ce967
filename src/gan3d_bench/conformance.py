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
from typing import Any

import lightning as L
import torch
from torch import Tensor

from gan3d_bench.config import RunConfig, compose, to_dict
from gan3d_bench.files.checkpoints import read_checkpoint
from gan3d_bench.files.run_folder import Run, resumable
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.base import Method
from gan3d_bench.methods.phases import PhasedMethod
from gan3d_bench.registry import registry
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.rendering.shading import LambertLight, Light
from gan3d_bench.scenes.base import Scene
from gan3d_bench.spec import SAMPLE, MethodSpec
from gan3d_bench.training.callbacks import evaluation_mode
from gan3d_bench.training.fit import build, fit, load_method

PRESET = "check"
SUBJECTS = 2
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
TURNED = 40.0  # degrees of yaw at which the frame of a light shows
LIGHT_TOLERANCE = 0.05  # of shading: normals and shading are filtered apart


class Failed(Exception):
    """A check found what it must not find; the message says what."""


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
        print(f"{verdict:6}  {name:42} {seconds:5.1f} s  {remark}".rstrip(), flush=True)


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
        print(f"{name}: {len(report.failed)} checks failed: {', '.join(report.failed)}")
        return 1
    print(f"{name}: all checks ok")
    return 0


class _Checks:
    def __init__(self, spec: MethodSpec, config: RunConfig, report: Report, folder: Path) -> None:
        self.spec, self.config, self.report, self.folder = spec, config, report, folder
        self.trained: Run | None = None
        self.shown: dict[str, Tensor] = {}

    def run(self) -> None:
        check = self.report.check
        check("trains", self.trains)
        if self.trained is None:
            return
        check("reloads without data, same outputs", self.reloads)
        check("resumes after SIGKILL, same weights", self.resumes)
        check("two processes, same weights", self.two_processes)
        check("scene: shapes, ranges, masks", self.scenes)
        check("delivers its capabilities", self.capabilities)
        for table in self.tables():
            check(f"fills table {table}", lambda table=table: self.fills(table))

    def trains(self) -> str:
        watcher = _Watcher(self.spec)
        self.trained = fit(self.spec, self.config, callbacks=[watcher])
        self.shown = watcher.outputs
        assert self.trained is not None
        before = build(self.spec, self.config).state_dict()
        after = _weights(self.trained)
        moved = sum(not torch.equal(before[key], after[key]) for key in after)
        if not moved:
            raise Failed("training changed no weight")
        return f"{watcher.steps} steps changed {moved} of {len(after)} tensors"

    def reloads(self) -> str:
        assert self.trained is not None
        empty = self.folder / "empty"
        with _environment(GAN3D_BENCH_HOME=str(empty)):
            method = load_method(Run.open(self.trained.path))
            found = outputs(method, self.spec)
        for key, expected in self.shown.items():
            if key not in found or not torch.equal(found[key], expected):
                raise Failed(f"'{key}' differs from the trained method's")
        return f"{len(found)} tensors equal to the bit"

    def resumes(self) -> str:
        assert self.trained is not None
        root = self.folder / "killed"
        code = (
            f"from gan3d_bench.conformance import train_and_die; train_and_die('{self.spec.name}')"
        )
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
            _check_rendering(f"{kind} at {angle} degrees", scene, _render(scene, angle))
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
                _check_capability(kind, scenes[kind], capability)
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


def scenes_of(method: Method, spec: MethodSpec) -> dict[str, Scene]:
    """Return what the method gives, by the name of the way it is got.

    The images to reconstruct are the first of ``preview().images["input"]``.
    """
    scenes: dict[str, Scene] = {}
    preview = method.preview()
    if spec.samples:
        scenes[SAMPLE] = method.sample(SUBJECTS, torch.Generator().manual_seed(0))
    images = preview.images.get("input")
    for kind in spec.scenes:
        if kind == SAMPLE:
            continue
        if images is None:
            raise Failed("its preview has no images named 'input' to reconstruct")
        scenes[kind] = method.row_scene(kind, images[:SUBJECTS])
    if not scenes and preview.scene is not None:
        scenes["preview"] = preview.scene
    return scenes


def outputs(method: Method, spec: MethodSpec) -> dict[str, Tensor]:
    """Render every scene of a method from the front; the pictures by name.

    Of a method that makes no scenes (it claims none) the images of its preview.

    Raises:
        Failed: it gives neither.
    """
    with evaluation_mode(method):
        found = {
            f"{kind}/{name}": value.cpu()
            for kind, scene in scenes_of(method, spec).items()
            for name, value in vars(_render(scene, 0.0)).items()
            if isinstance(value, Tensor)
        }
        if not found and not spec.scenes:
            found = {f"preview/{name}": x.cpu() for name, x in method.preview().images.items()}
            if not found:
                raise Failed("it gives neither scenes nor images in its preview")
        return found


def distance(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """Return the Euclidean distance of two sets of weights."""
    squares = [(a[key].double() - b[key].double()).square().sum() for key in a]
    return float(torch.stack(squares).sum().sqrt())


class _Watcher(L.Callback):
    """Notes what the trained method gives, before it is dropped."""

    def __init__(self, spec: MethodSpec) -> None:
        self.spec = spec
        self.outputs: dict[str, Tensor] = {}
        self.steps = 0

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, PhasedMethod)
        self.outputs = outputs(pl_module, self.spec)
        self.steps = pl_module.total_steps


class _Killer(L.Callback):
    """Ends the process, without a word, half way through training."""

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object
    ) -> None:
        assert isinstance(pl_module, PhasedMethod)
        if pl_module.step == pl_module.total_steps // 2:
            os.kill(os.getpid(), signal.SIGKILL)


def _render(scene: Scene, yaw: float, **options: Any) -> Rendering:
    return scene.render(View.from_angles([yaw] * scene.batch_size), **options)


def _check_rendering(what: str, scene: Scene, rendering: Rendering) -> None:
    batch, _, height, width = rendering.rgb.shape
    if batch != scene.batch_size:
        raise Failed(f"{what}: {batch} pictures of {scene.batch_size} subjects")
    channels = {"rgb": 3, "mask": 1, "depth": 1, "normal": 3, "albedo": 3}
    limits = {"rgb": (-1, 1), "mask": (0, 1), "normal": (-1, 1), "albedo": (-1, 1)}
    for name, count in channels.items():
        value = getattr(rendering, name)
        if value is None:
            continue
        if value.shape != (batch, count, height, width):
            raise Failed(f"{what}: {name} has shape {tuple(value.shape)}")
        if not torch.isfinite(value).all():
            raise Failed(f"{what}: {name} is not finite everywhere")
        low, high = limits.get(name, (float("-inf"), float("inf")))
        if value.min() < low - 1e-4 or value.max() > high + 1e-4:
            raise Failed(
                f"{what}: {name} is in [{value.min():.3g}, {value.max():.3g}], "
                f"expected [{low}, {high}]"
            )
    seen = rendering.mask.expand(batch, 1, height, width) > 0.5
    if not seen.flatten(1).any(1).all():
        raise Failed(f"{what}: nothing of a subject is in the picture")
    if rendering.depth is not None and (rendering.depth[seen] <= 0).any():
        raise Failed(f"{what}: depth behind the camera")


def _check_capability(kind: str, scene: Scene, capability: str) -> None:
    if capability not in scene.capabilities:
        raise Failed(f"'{capability}' is claimed, but the {kind} scene does not have it")
    if capability == "relight":
        light = LambertLight.frontal(scene.batch_size)
        direction = torch.tensor([-0.8, 0.0, -0.6]).expand(scene.batch_size, 3)
        side = LambertLight(light.ambient, light.diffuse, direction)
        one, other = (_render(scene, 0.0, light=choice).rgb for choice in (light, side))
        if torch.equal(one, other):
            raise Failed(f"the {kind} scene looks the same under two lights")
        _check_light_frame(kind, _render(scene, TURNED, light=side), side)
    elif capability == "mesh":
        mesh = scene.mesh(0)
        if not len(mesh.faces) or int(mesh.faces.max()) >= len(mesh.vertices):
            raise Failed(f"the {kind} scene's mesh has no faces, or faces without vertices")
    elif getattr(_render(scene, 0.0), capability) is None:
        raise Failed(f"'{capability}' is claimed, but the {kind} scene's rendering lacks it")


def _check_light_frame(kind: str, turned: Rendering, light: Light) -> None:
    """Fail unless a turned scene was shaded by its normals as the camera sees them."""
    if turned.normal is None or turned.shading is None:
        return
    error = (light.shade(turned.normal) - turned.shading).abs()
    seen = (turned.mask > 0.99).expand_as(error)
    if error[seen].median() > LIGHT_TOLERANCE:
        raise Failed(
            f"the {kind} scene at {TURNED:.0f} degrees: shading is {error[seen].median():.2f} off "
            "what its normals give; a light that is given is in camera space"
        )


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
