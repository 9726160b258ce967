"""The loggers of a run: `metrics.csv` in its folder, and Weights & Biases when asked for.

Every method has the same keys: ``train/<term>``, ``val/<metric>``, ``preview/<name>`` and
``table/<table>/<row>/<metric>``; the horizontal axis is the run's step. W&B groups runs by method
and preset, and tags them with the tables they were measured for.
"""

from __future__ import annotations

import csv
import io
import logging
import netrc
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from gan3d_bench.config import RunConfig, to_dict
from gan3d_bench.errors import UserError
from gan3d_bench.files.atomic import atomic_write, write_errors

GLOBAL_STEP = "trainer/global_step"  # the axis of every key in W&B; Lightning's name
METRICS_FILE = "metrics.csv"
WANDB_ID_FILE = "wandb.id"

log = logging.getLogger(__name__)


def run_loggers(config: RunConfig, folder: Path) -> list[Logger]:
    """Build the loggers of a run, for Lightning's ``Trainer(logger=...)``.

    Args:
        config: its `tracking` says whether and how W&B is used.
        folder: the run folder; everything is written below it.

    Returns:
        a `MetricsLogger`, and a `RunWandbLogger` with ``tracking.wandb=true``.
    """
    loggers: list[Logger] = [MetricsLogger(folder)]
    if config.tracking.wandb:
        loggers.append(RunWandbLogger(config, folder, measured_tables(Path(folder))))
    return loggers


def measured_tables(folder: Path) -> set[str]:
    """Return the names of the tables that a run has stored rows of."""
    return {path.name.partition(".")[0] for path in folder.glob("tables/*.row.json")}


class MetricsLogger(Logger):
    """Scalars as ``metrics.csv``: one row a call, a `step` column and one column a key.

    Every row is on disk when the call returns, and an existing file is continued (Lightning's
    `CSVLogger` deletes it). A run that was killed after its last checkpoint repeats some steps:
    the rows it had beyond the step it resumed from are dropped when it logs again.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = Path(folder) / METRICS_FILE
        self._keys: list[str] | None = None
        self._step = 0

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run folder has the resolved config."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Append one row.

        Args:
            metrics: key -> number or tensor of one element.
            step: the run's step; None repeats the last one.

        Raises:
            UserError: the file cannot be written, or exists and is not a table of metrics.
        """
        self._step = self._step if step is None else step
        row = {key: f"{float(value):.9g}" for key, value in metrics.items()}
        with write_errors(self.path):
            if self._keys is None:
                self._continue_from(self._step, row.keys())
            self._append({"step": str(self._step), **row})

    def _append(self, row: dict[str, str]) -> None:
        assert self._keys is not None
        if not row.keys() <= set(self._keys):
            self._write(_read_rows(self.path), [*self._keys, *row])
        with self.path.open("a", newline="") as file:
            file.write(_csv_lines([row], self._keys))

    def _continue_from(self, step: int, keys: Iterable[str]) -> None:
        """Drop the rows of a killed run that this one repeats."""
        new = set(keys)
        kept = [
            row
            for row in _read_rows(self.path)
            if int(row["step"]) < step or (int(row["step"]) == step and not new & row.keys())
        ]
        self._write(kept, ["step", *(key for row in kept for key in row), *keys])

    def _write(self, rows: list[dict[str, str]], keys: Iterable[str]) -> None:
        self._keys = list(dict.fromkeys(keys))
        with atomic_write(self.path) as temporary:
            temporary.write_text(
                _csv_lines([dict(zip(self._keys, self._keys, strict=True)), *rows], self._keys),
                newline="",
            )


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read a ``metrics.csv``: one dictionary a row, with the keys that row has.

    A row cut short by a kill is left out; a missing file has no rows.

    Raises:
        UserError: the file is not a table of metrics.
    """
    return [{key: float(value) for key, value in row.items()} for row in _read_rows(path)]


def _read_rows(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read; expected the metrics of a run") from error
    whole = text[: text.rfind("\n") + 1]
    reader = csv.DictReader(io.StringIO(whole, newline=""))
    if whole and "step" not in (reader.fieldnames or ()):
        raise UserError(f"{path}: has no column 'step'; expected the metrics of a run")
    rows = ({key: value for key, value in row.items() if key and value} for row in reader)
    return [row for row in rows if row.get("step", "").isdigit()]


def _csv_lines(rows: list[dict[str, str]], keys: list[str]) -> str:
    lines = io.StringIO(newline="")
    csv.DictWriter(lines, keys, lineterminator="\n").writerows(rows)
    return lines.getvalue()


class RunWandbLogger(WandbLogger):
    """Lightning's W&B logger, kept in the run folder, that never asks and never waits in vain.

    Without a login (API key, identity token or netrc entry) the run is recorded offline and
    ``wandb sync <run>/wandb/offline-run-*`` uploads it later. With a login but no answer from the
    server the run goes on offline as well. ``WANDB_MODE`` overrides, except that ``online``
    without a login means offline. A resumed run keeps its W&B id, stored in ``<run>/wandb.id``;
    what it records offline says so, and ``wandb sync`` puts the parts together.

    Args:
        config: the run's config; stored with the W&B run.
        folder: the run folder.
        tables: names of the tables the run was measured for.
    """

    def __init__(self, config: RunConfig, folder: Path, tables: Iterable[str] = ()) -> None:
        import wandb

        folder = Path(folder).absolute()
        settings = wandb.Settings(init_timeout=30, silent=True, console="off")
        super().__init__(
            name=f"{config.method}-{config.preset}-{folder.name}",
            save_dir=folder,
            project=config.tracking.project,
            id=_run_id(folder),
            group=config.tracking.group or f"{config.method}-{config.preset}",
            # W&B replaces the tags of a resumed run by these
            tags=[*config.tracking.tags, *sorted({f"table:{name}" for name in tables})],
            config=to_dict(config),
            mode=wandb_mode(),
            settings=settings,
        )
        # W&B falls back to the system's temporary folder where its own does not exist yet.
        folder.mkdir(parents=True, exist_ok=True)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, started at first use."""
        from wandb.errors import CommError, UsageError

        try:
            return super().experiment
        except (CommError, UsageError) as error:
            reason = str(error).strip().splitlines()[0]
            log.warning("W&B does not answer (%s); recording this run offline", reason)
            self._wandb_init.update(mode="offline")
            return super().experiment

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the W&B run, so that another one can start in this process."""
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=int(status == "failed"))
            self._experiment = None


def wandb_mode() -> str:
    """Return "online", "offline" or "disabled": `WANDB_MODE` if set, online only with a login."""
    import wandb

    settings = wandb.setup().settings
    mode = settings.mode
    if mode == "dryrun":
        return "offline"
    if mode in ("offline", "disabled"):
        return mode
    key = settings.api_key or os.environ.get("WANDB_API_KEY")
    token = os.environ.get("WANDB_IDENTITY_TOKEN_FILE")
    return "online" if key or token or _in_netrc(settings.base_url) else "offline"


def _in_netrc(url: str) -> bool:
    """Whether W&B will find a key for its server in the user's netrc file."""
    import wandb

    servers = {urlsplit(url).netloc}
    if url == wandb.Settings.model_fields["base_url"].default:
        servers.add("api.wandb.ai")  # whatever its present address, W&B looks here too
    paths = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    for path in paths:
        try:
            logins = netrc.netrc(os.path.expanduser(path)).hosts
        except (OSError, netrc.NetrcParseError):
            continue
        if any(logins[server][2] for server in servers & logins.keys()):
            return True
    return False


def _run_id(folder: Path) -> str | None:
    """The W&B id stored with the run, made at its first start; rank zero's business only."""
    if rank_zero_only.rank != 0:
        return None
    path = folder / WANDB_ID_FILE
    if path.is_file() and (known := path.read_text().strip()).isalnum():
        return known
    new = secrets.token_hex(4)
    with atomic_write(path) as temporary:
        temporary.write_text(new + "\n")
    return new
