"""metrics.csv and the W&B logger of a run."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gan3d_bench.config import RunConfig, TrackingConfig
from gan3d_bench.errors import UserError
from gan3d_bench.tracking.loggers import (
    MetricsLogger,
    RunWandbLogger,
    read_metrics,
    run_loggers,
    wandb_mode,
)

sys.path.insert(0, str(Path(__file__).parent))
from wandb_files import recorded


def config(wandb: bool = True) -> RunConfig:
    tracking = TrackingConfig(wandb=wandb, project="testing", group="heads", tags=["a", "b"])
    return RunConfig(method="toy", preset="small", seed=3, tracking=tracking)


def test_rows_have_their_own_keys(tmp_path: Path) -> None:
    logger = MetricsLogger(tmp_path)
    logger.log_metrics({"train/loss": torch.tensor(0.1), "train/phase": 0.0}, step=0)
    logger.log_metrics({"val/side": 1.5}, step=0)
    logger.log_metrics({"train/loss": 1e-9}, step=10)
    assert (tmp_path / "metrics.csv").read_text().splitlines()[0] == (
        "step,train/loss,train/phase,val/side"
    )
    rows = read_metrics(tmp_path / "metrics.csv")
    assert rows == [
        {"step": 0, "train/loss": pytest.approx(0.1), "train/phase": 0.0},
        {"step": 0, "val/side": 1.5},
        {"step": 10, "train/loss": 1e-9},
    ]
    assert torch.tensor(rows[0]["train/loss"]) == torch.tensor(0.1)  # float32 survives


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, killed = MetricsLogger(tmp_path / "whole"), MetricsLogger(tmp_path / "killed")
    for step in range(6):
        whole.log_metrics({"train/loss": step / 7}, step)
    for step in range(5):  # the last checkpoint was at step 2, the run died writing step 5
        killed.log_metrics({"train/loss": step / 7}, step)
    with killed.path.open("a") as file:
        file.write("5,0.71")
    resumed = MetricsLogger(tmp_path / "killed")
    for step in range(3, 6):
        resumed.log_metrics({"train/loss": step / 7}, step)
    assert killed.path.read_bytes() == whole.path.read_bytes()


def test_results_logged_after_the_run_keep_its_last_row(tmp_path: Path) -> None:
    MetricsLogger(tmp_path).log_metrics({"train/loss": 1.0}, step=9)
    MetricsLogger(tmp_path).log_metrics({"val/mad": 2.0}, step=9)
    MetricsLogger(tmp_path).log_metrics({"val/mad": 3.0}, step=9)
    assert read_metrics(tmp_path / "metrics.csv") == [
        {"step": 9, "train/loss": 1.0},
        {"step": 9, "val/mad": 3.0},
    ]


def test_another_kind_of_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"metrics\.csv: has no column 'step'"):
        MetricsLogger(tmp_path).log_metrics({"train/loss": 1.0}, step=0)
    assert (tmp_path / "metrics.csv").read_text() == "a,b\n1,2\n"


def test_a_full_disk_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = MetricsLogger(tmp_path)
    logger.log_metrics({"train/loss": 1.0}, step=0)

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(UserError, match=r"metrics\.csv: cannot be written: no space left"):
        logger.log_metrics({"val/new": 1.0}, step=1)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]
    assert read_metrics(tmp_path / "metrics.csv") == [{"step": 0, "train/loss": 1.0}]


def test_other_ranks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning.pytorch.utilities.rank_zero.rank_zero_only.rank", 1)
    for logger in run_loggers(config(), tmp_path):
        logger.log_metrics({"train/loss": 1.0}, step=0)
    assert list(tmp_path.iterdir()) == []


def test_wandb_only_when_asked_for(tmp_path: Path) -> None:
    assert [type(x) for x in run_loggers(config(wandb=False), tmp_path)] == [MetricsLogger]
    assert [type(x) for x in run_loggers(config(), tmp_path)] == [MetricsLogger, RunWandbLogger]


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from toy_scenes import HeadScene, random_images
from gan3d_bench.config import RunConfig, TrackingConfig
from gan3d_bench.scenes.preview import Preview
from gan3d_bench.tracking.loggers import run_loggers
from gan3d_bench.tracking.media import write_preview

tracking = TrackingConfig(wandb=True, project="testing", group="heads", tags=["a"])
config = RunConfig(method="toy", preset="small", seed=3, tracking=tracking)
for start in (0, 10):  # the second time as a resumed run does
    loggers = run_loggers(config, Path({run!r}))
    for step in range(start, start + 3):
        for logger in loggers:
            logger.log_metrics({{"train/loss": 1.0 / (1 + step)}}, step)
    if start == 0:
        preview = Preview({{"input": random_images(1, 16)}}, HeadScene(1, 16))
        write_preview(preview, Path({run!r}), step, loggers)
    run = loggers[-1].experiment
    print("run", run.id, run.settings.mode, run.name)
    run.finish()
"""


@pytest.fixture(scope="module")
def offline_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run without any login, with nobody at the terminal: its folder and what it printed."""
    home, run = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("runs") / "now"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "NETRC"))}
    script = SCRIPT.format(tests=str(Path(__file__).parent), run=str(run))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**kept, "HOME": str(home), "OMP_NUM_THREADS": "1"},
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert not (home / "wandb").exists()
    return run, done.stdout


def test_offline_without_login_and_the_same_id_after_resuming(
    offline_run: tuple[Path, str],
) -> None:
    run, printed = offline_run
    known = (run / "wandb.id").read_text().strip()
    assert printed.splitlines() == [f"run {known} offline toy-small-now"] * 2
    parts = [part.run for part in recorded(run)]
    assert [part.run_id for part in parts] == [known, known]
    # `wandb sync` puts the second part behind the first instead of over it
    assert all(part.resume for part in parts)


def test_wandb_has_the_scalars_and_the_files(offline_run: tuple[Path, str]) -> None:
    run, _ = offline_run
    parts = recorded(run)
    rows = [row for part in parts for row in part.history]
    losses = {row["trainer/global_step"]: row["train/loss"] for row in rows if "train/loss" in row}
    assert losses == {step: 1.0 / (1 + step) for step in (0, 1, 2, 10, 11, 12)}
    media = {key for row in rows for key in row if key.startswith("preview/")}
    maps = ("maps/depth", "maps/depth16", "maps/normal")
    kinds = ("input", "scene", "turntable", *maps, "mesh")
    assert {f"preview/{kind}" for kind in kinds} <= media
    sent = {path.suffix for path in run.glob("wandb/offline-run-*/files/media/**/*.*")}
    assert {".png", ".mp4", ".glb"} <= sent


def test_the_same_scalars_are_in_the_run_folder(offline_run: tuple[Path, str]) -> None:
    rows = read_metrics(offline_run[0] / "metrics.csv")
    assert [row["step"] for row in rows] == [0, 1, 2, 10, 11, 12]


def test_the_group_is_method_and_preset_unless_named(tmp_path: Path) -> None:
    unnamed = config()
    unnamed.tracking.group = ""
    for given, group in ((config(), "heads"), (unnamed, "toy-small")):
        assert RunWandbLogger(given, tmp_path)._wandb_init["group"] == group


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without a login."""
    import wandb

    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(wandb, "setup", lambda: SimpleNamespace(settings=wandb.Settings()))
    return tmp_path


@pytest.mark.parametrize(
    ("netrc", "mode"),
    [
        (None, "offline"),
        ("machine example.org login user password x\n", "offline"),
        ("machine api.wandb.ai login user password 0123\n", "online"),
        ("machine api.wandb.ai login user\n", "offline"),
        ("not a netrc file\n", "offline"),
    ],
)
def test_online_needs_a_login(
    nobody: Path, monkeypatch: pytest.MonkeyPatch, netrc: str | None, mode: str
) -> None:
    if netrc is not None:
        (nobody / "netrc").write_text(netrc)
        monkeypatch.setenv("NETRC", str(nobody / "netrc"))
    assert wandb_mode() == mode


def test_no_answer_from_the_server_means_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    modes = []

    def init(**kwargs: object) -> object:
        modes.append(kwargs["mode"])
        if kwargs["mode"] == "online":
            raise wandb.errors.CommError("timed out\nsecond line")
        return "the run"

    monkeypatch.setattr("gan3d_bench.tracking.loggers.wandb_mode", lambda: "online")
    monkeypatch.setattr(wandb, "init", init)
    assert RunWandbLogger(config(), tmp_path).experiment == "the run"
    assert modes == ["online", "offline"]
