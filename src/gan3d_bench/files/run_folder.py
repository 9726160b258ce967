"""Run folders: ``runs/<method>/<preset>/<time>/`` and what lies in them.

========================= ========================================================
``config.yaml``           the resolved config
``environment.json``      versions, commit, machine, command line, hashes of assets
``metrics.csv``           scalars by step
``checkpoints/last.ckpt`` weights and training state
``pictures/``             grids, turntables, meshes
``tables/``               tables this run was measured for
``finished.json``         there once training is complete
``nonfinite.pt``          if a loss became NaN: the batch, see `nonfinite`
``.lock``                 held by the process that trains the run
========================= ========================================================

Imports no torch.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gan3d_bench.config import RunConfig, from_yaml, read_mapping, to_dict, to_yaml
from gan3d_bench.errors import UserError
from gan3d_bench.files.atomic import atomic_write, remove_drafts
from gan3d_bench.files.json_text import parse_json
from gan3d_bench.registry import registry
from gan3d_bench.spec import MethodSpec

FOLDERS = ("checkpoints", "pictures", "tables")
LOCK = ".lock"


def runs_root() -> Path:
    """Return the folder of all runs: ``GAN3D_BENCH_RUNS``, else ``runs`` in the working folder."""
    return Path(os.environ.get("GAN3D_BENCH_RUNS") or "runs")


@dataclass(frozen=True)
class Run:
    """One run folder. `path` is as the user named it."""

    path: Path

    @classmethod
    def create(
        cls, config: RunConfig, environment: Mapping[str, Any], root: Path | None = None
    ) -> Run:
        """Make the folder of a new run, complete or not at all.

        Raises:
            UserError: the folder cannot be written.
        """
        parent = (root or runs_root()) / config.method / config.preset
        draft = None
        try:
            parent.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
            draft.chmod(0o777 & ~_umask())
            for folder in FOLDERS:
                (draft / folder).mkdir()
            (draft / LOCK).touch()
            (draft / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
            write_json(draft / "environment.json", environment)
            return cls(_rename_to_free_name(draft, parent, datetime.now()))
        except OSError as error:
            if draft is not None:
                shutil.rmtree(draft, ignore_errors=True)
            raise UserError(f"{parent}: cannot make a run folder: {error.strerror}") from error

    @classmethod
    def open(cls, path: Path) -> Run:
        """Return the run at `path`.

        Raises:
            UserError: it is not a run folder.
        """
        if not os.path.isfile(Path(path) / "config.yaml"):  # False for impossible names too
            raise UserError(
                f"{path}: not a run folder (no config.yaml in it); expected a folder made by "
                "`gan3d-bench fit`, such as runs/<method>/<preset>/<time>"
            )
        return cls(Path(path))

    @classmethod
    def find(
        cls, method: str | None = None, preset: str | None = None, root: Path | None = None
    ) -> list[Run]:
        """Return the runs under `root` of a method and preset (None: any), oldest first."""
        pattern = f"{method or '*'}/{preset or '*'}/*/config.yaml"
        found = [path.parent for path in (root or runs_root()).glob(pattern)]
        found = [path for path in found if not path.name.startswith(".")]
        return [cls(path) for path in sorted(found, key=lambda path: path.name)]

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def pictures(self) -> Path:
        return self.path / "pictures"

    @property
    def tables(self) -> Path:
        return self.path / "tables"

    @property
    def finished(self) -> bool:
        return (self.path / "finished.json").is_file()

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Mark the run as complete, with facts worth keeping (steps, seconds)."""
        write_json(self.path / "finished.json", facts)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for training it; what a killed process left half-written in it goes.

        Raises:
            UserError: another process holds it, or nothing can be written there.
        """
        lock = FileLock(self.path / LOCK)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise UserError(
                f"{self}: another process is training this run; expected one at a time"
            ) from None
        except OSError as error:
            raise UserError(f"{self}: cannot be written: {error.strerror}") from error
        try:
            remove_drafts(self.path)
            yield
        finally:
            lock.release()

    @functools.cached_property
    def environment(self) -> dict[str, Any]:
        """What ``environment.json`` says; empty when it is missing or damaged."""
        try:
            return parse_json((self.path / "environment.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    @functools.cached_property
    def spec(self) -> MethodSpec:
        """The spec of the run's method.

        Raises:
            UserError: ``config.yaml`` is damaged or names an unknown method.
        """
        path = self.path / "config.yaml"
        name = _method_of(path)
        try:
            return registry("methods").get(name)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error

    @functools.cached_property
    def config(self) -> RunConfig:
        """The resolved config.

        Raises:
            UserError: ``config.yaml`` is damaged or of another version of the method.
        """
        return from_yaml(self.spec, self.path / "config.yaml")

    @property
    def setup(self) -> str:
        """SHA-256 of the resolved config without seed and tracking: alike for repetitions.

        Raises:
            UserError: as `config`.
        """
        return self._hash_without()

    @property
    def whole(self) -> str | None:
        """Likewise without what says which subjects a run has: alike for the parts of one row.

        Nor does it matter on how many processes and devices each part was trained. None where a
        run's subjects are not independent of what else it has.

        Raises:
            UserError: as `config`.
        """
        parts = self.config.part_keys()
        return self._hash_without(*parts, "trainer", "limits") if parts else None

    def _hash_without(self, *keys: str) -> str:
        content = to_dict(self.config)
        left = {"seed", "tracking", *keys}
        kept = {key: value for key, value in content.items() if key not in left}
        if "trainer" in left:
            kept["precision"] = self.config.trainer.precision
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()

    def __str__(self) -> str:
        return str(self.path)


def resumable(method: str, preset: str | None = None, root: Path | None = None) -> Run:
    """Return the latest run of a method (and preset) that is not finished.

    Raises:
        UserError: there is none.
    """
    found = Run.find(method, preset, root)
    for run in reversed(found):
        if not run.finished:
            return run
    where = (root or runs_root()) / method / (preset or "")
    why = f"the latest, {found[-1]}, is finished" if found else f"there are no runs in {where}"
    raise UserError(f"nothing to resume: {why}; expected a run that was interrupted")


def write_json(path: Path, content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write a JSON file in one piece; NaN and infinity, for which JSON has no word, become null."""
    text = json.dumps(_finite(content), indent=2, default=str, allow_nan=False) + "\n"
    with atomic_write(path) as draft:
        draft.write_text(text, encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _method_of(path: Path) -> str:
    try:
        method = read_mapping(path).get("method")
    except UserError as error:
        raise UserError(f"{path}: not a readable run config") from error
    if not isinstance(method, str):
        raise UserError(f"{path}: not a run config: it names no method")
    return method


def _rename_to_free_name(draft: Path, parent: Path, now: datetime) -> Path:
    name = now.strftime("%Y-%m-%d_%H-%M-%S")
    for number in range(1, 1000):
        target = parent / (name if number == 1 else f"{name}-{number:03d}")
        if not target.exists():
            try:
                return draft.rename(target)
            except OSError:
                # another process took the name first: a rename onto a non-empty folder fails
                if not target.exists():
                    raise
    raise FileExistsError(17, "too many runs in one second", str(parent))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
