"""``gan3d-bench fit``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from gan3d_bench.commands.keys import show_keys
from gan3d_bench.config import RunConfig, compose, explained_yaml, override, require_preset
from gan3d_bench.errors import Interrupted, UserError
from gan3d_bench.files.run_folder import Run, resumable
from gan3d_bench.registry import registry
from gan3d_bench.spec import MethodSpec
from gan3d_bench.terminal import say

RESUMABLE_KEYS = ("trainer.", "tracking.", "limits.")


def fit(
    method: str,
    preset: str | None,
    file: Path | None,
    resume: bool,
    path: Path | None,
    print_config: bool,
    keys: bool,
    overrides: Sequence[str],
) -> int:
    """Train, or print the resolved config or the method's keys; return the exit code.

    Raises:
        UserError: see `gan3d_bench.config.compose`, `gan3d_bench.training.fit.fit`.
        NonFiniteLossError: a loss became NaN or infinite.
    """
    spec: MethodSpec = registry("methods").get(method)
    if keys:
        _refuse_values(file, resume, overrides)
        show_keys(spec, preset)
        return 0
    run, config = _choose(spec, preset, file, resume, path, overrides)
    if print_config:
        say(explained_yaml(config), end="")
        return 0

    from gan3d_bench.training import fit as training

    try:
        done = training.fit(spec, config, run)
    except Interrupted as stop:
        if stop.run is None:
            return 0  # rank zero's exit code tells
        say(f"{stop}. Go on with: {_resume_command(spec, Run(stop.run))}")
        return 128 + stop.signal
    if done is not None:
        _say_what_next(spec, config, done)
    return 0


def _refuse_values(file: Path | None, resume: bool, overrides: Sequence[str]) -> None:
    """Raise a `UserError` for values given with ``--keys``, which lists those of a preset."""
    given = [*overrides, *([f"--config {file}"] if file else []), *(["--resume"] if resume else [])]
    if given:
        raise UserError(
            f"{given[0]}: expected no values with --keys, which lists a preset's; --print-config "
            "prints those of a run"
        )


def _choose(
    spec: MethodSpec,
    preset: str | None,
    file: Path | None,
    resume: bool,
    path: Path | None,
    overrides: Sequence[str],
) -> tuple[Run | None, RunConfig]:
    if not resume:
        if path is not None:
            raise UserError(f"--run {path}: names the run to resume; expected --resume with it")
        return None, compose(spec, preset, file, overrides)
    if file is not None:
        raise UserError(f"--config {file}: a resumed run keeps its config; expected no --config")
    fixed = [text for text in overrides if not text.startswith(RESUMABLE_KEYS)]
    if fixed and "=" not in fixed[0]:
        raise UserError(f"{fixed[0]}: expected --run {fixed[0]} for the run to resume")
    if fixed:
        raise UserError(f"{fixed[0]}: a resumed run keeps its config; only trainer.* may change")
    if preset is not None:
        require_preset(spec, preset)
    run = Run.open(path) if path else resumable(spec.name, preset)
    if run.spec.name != spec.name:
        raise UserError(f"--run {path}: a run of method '{run.spec.name}', expected '{spec.name}'")
    if run.finished:
        raise UserError(f"nothing to resume: {run} is finished")
    return run, override(run.config, overrides)


def _resume_command(spec: MethodSpec, run: Run) -> str:
    return f"gan3d-bench fit --method {spec.name} --resume --run {shlex.quote(str(run))}"


def _say_what_next(spec: MethodSpec, config: RunConfig, run: Run) -> None:
    from gan3d_bench.config import to_dict

    say(f"run:        {run}")
    say(f"checkpoint: {run.checkpoint}")
    say(f"pictures:   {_latest_folder(run.pictures)}")
    tables = [name for name in registry("tables").names() if spec.rows(name, to_dict(config))]
    for name in tables:
        say(f"next:       gan3d-bench eval --table {name} --run {shlex.quote(str(run))}")
    if not tables and spec.scenes:
        say(f"next:       gan3d-bench render --run {shlex.quote(str(run))}")


def _latest_folder(pictures: Path) -> Path:
    return max((path for path in pictures.iterdir() if path.is_dir()), default=pictures)
