"""Run folders and checkpoint files: whole or not there, and read with distrust."""

from __future__ import annotations

import builtins
import errno
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gan3d_bench.config import RunConfig, compose
from gan3d_bench.errors import UserError
from gan3d_bench.files import checkpoints
from gan3d_bench.files import run_folder as runs
from gan3d_bench.files.atomic import atomic_write
from gan3d_bench.files.checkpoints import AtomicCheckpointIO, card, read_checkpoint
from gan3d_bench.files.run_folder import Run, resumable
from gan3d_bench.machine.environment import describe
from gan3d_bench.registry import registry
from gan3d_bench.training.fit import build, fit, load_method
from gan3d_bench.training.restoring import restore

CONTENT = {"weight": torch.arange(1000.0)}


@pytest.fixture
def config(toy: Path) -> RunConfig:
    return compose(registry("methods").get("toy"), "check")


def checkpoint_of(config: RunConfig, **changes: Any) -> dict[str, Any]:
    method = build(registry("methods").get("toy"), config)
    return {
        "state_dict": method.state_dict(),
        "phase": {"index": 0, "step": 0},
        checkpoints.KEY: {**card(config), **changes},
    }


# -- folders ----------------------------------------------------------------------------------


def test_a_new_run_holds_config_and_environment(config: RunConfig) -> None:
    run = Run.create(config, describe(["inception-fid"]))
    assert run.path.parent == Path("runs/toy/check")
    assert Run.open(run.path).config == config
    assert run.spec.name == "toy"
    assert run.environment["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert len(run.environment["assets"]["inception-fid"]) == 64
    assert run.environment["command"]
    assert not run.finished
    assert all((run.path / folder).is_dir() for folder in runs.FOLDERS)
    assert run.path.stat().st_mode & 0o700 == 0o700


def test_runs_of_one_second_get_names_that_sort(config: RunConfig) -> None:
    made = [Run.create(config, {}).path for _ in range(12)]
    assert len(set(made)) == 12
    assert [run.path for run in Run.find("toy")] == made


def test_the_root_can_be_chosen(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAN3D_BENCH_RUNS", str(tmp_path / "elsewhere"))
    run = Run.create(config, {})
    assert run.path.is_relative_to(tmp_path / "elsewhere")
    assert Run.find() == [run]


def test_a_run_that_cannot_be_written_leaves_nothing(
    config: RunConfig, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(runs, "write_json", full)
    with pytest.raises(UserError, match="cannot make a run folder: No space left"):
        Run.create(config, {})
    assert [path for path in toy.rglob("*") if path.is_file()] == []
    assert Run.find() == []


def test_a_run_is_trained_by_one_process(config: RunConfig) -> None:
    run = Run.create(config, {})
    drafts = [run.path / ".draft-1-a.txt", run.pictures / ".draft-2-scene.png"]
    for draft in drafts:
        draft.write_text("half")
    before = set(run.path.rglob("*")) - set(drafts)
    with run.locked():
        assert not any(draft.exists() for draft in drafts)  # of a process that was killed
        drafts[0].write_text("half")
        with pytest.raises(UserError, match="another process is training this run"):
            fit(registry("methods").get("toy"), config, run)
        assert drafts[0].exists()
    with run.locked():
        assert set(run.path.rglob("*")) == before


def test_drafts_have_names_of_their_own(tmp_path: Path) -> None:
    """Two processes, on machines with the same process numbers, do not share one."""
    with atomic_write(tmp_path / "a.png") as one, atomic_write(tmp_path / "a.png") as other:
        assert one != other and one.suffix == other.suffix == ".png"
        one.write_text("1")
        other.write_text("2")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.png", "1")]


def test_resumable_is_the_latest_unfinished(config: RunConfig) -> None:
    older, newer, done = (Run.create(config, {}) for _ in range(3))
    done.finish({"steps": 9})
    assert resumable("toy") == newer
    newer.finish({"steps": 9})
    assert resumable("toy", "check") == older
    older.finish({"steps": 9})
    with pytest.raises(UserError, match=r"nothing to resume: the latest, .*, is finished"):
        resumable("toy")
    with pytest.raises(UserError, match=r"nothing to resume: there are no runs in runs/toy/discs"):
        resumable("toy", "discs")


def test_half_made_folders_are_no_runs(config: RunConfig, toy: Path) -> None:
    run = Run.create(config, {})
    (run.path.parent / "2999-01-01_00-00-00").mkdir()
    draft = run.path.parent / ".new-killed"
    draft.mkdir()
    (draft / "config.yaml").write_text("method: toy\n")
    assert Run.find("toy") == [run]
    with pytest.raises(UserError, match=r"not a run folder .*runs/<method>/<preset>/<time>"):
        Run.open(toy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: [\n", "not a readable run config"),
        ("seed: 1\n", "names no method"),
        ("method: tyo\n", "unknown method 'tyo' .did you mean 'toy'"),
        ("method: toy\nold_key: 1\n", "unknown key 'old_key'"),
    ],
)
def test_damaged_run_config(config: RunConfig, text: str, message: str) -> None:
    run = Run.create(config, {})
    (run.path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        _ = Run.open(run.path).config


# -- checkpoints ------------------------------------------------------------------------------


def test_checkpoint_reads_back_equal(config: RunConfig, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(checkpoint_of(config), path)
    found = read_checkpoint(path, "toy")
    assert found[checkpoints.KEY]["config"]["colour_steps"] == 5
    for key, value in checkpoint_of(config)["state_dict"].items():
        assert torch.equal(found["state_dict"][key], value)
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_keeps_the_former_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(CONTENT, path)
    before = path.read_bytes()
    opened = builtins.open

    class Full:
        def __init__(self, *arguments: Any) -> None:
            self.file = opened(*arguments)
            self.left = 2000

        def write(self, data: Any) -> int:
            self.left -= len(data)
            if self.left < 0:
                raise OSError(number, "no room")
            return self.file.write(data)

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def flush(self) -> None:
            self.file.flush()

    monkeypatch.setattr(checkpoints, "open", Full, raising=False)
    with pytest.raises(UserError, match="not written: no space left on the disk"):
        AtomicCheckpointIO().save_checkpoint({"weight": torch.zeros(1000)}, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not written: No such file or directory"):
        AtomicCheckpointIO().save_checkpoint(CONTENT, tmp_path / "gone" / "last.ckpt")


def truncate(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    """Change one bit of the weights, which torch alone does not notice."""
    at = data.index(torch.arange(1000.0).numpy().tobytes()) + 17
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    "damage", [truncate, flip, lambda data: b"", lambda data: b"not a checkpoint at all"]
)
def test_damaged_checkpoint(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(CONTENT, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="not a readable checkpoint"):
        read_checkpoint(path)


def test_checkpoint_that_would_run_code(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"spec": Run(tmp_path)}, path)
    with pytest.raises(UserError, match="not a readable checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "gan2shape"}, "checkpoint of method 'gan2shape', expected 'toy'"),
        ({"format": 99}, "checkpoint format 99; this version reads format 1"),
    ],
)
def test_wrong_checkpoint(
    config: RunConfig, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(checkpoint_of(config, **change), path)
    with pytest.raises(UserError, match=message):
        read_checkpoint(path, "toy")


def test_missing_and_foreign_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such checkpoint; the run has not saved one yet"):
        read_checkpoint(tmp_path / "last.ckpt")
    torch.save(CONTENT, tmp_path / "theirs.pt")
    with pytest.raises(UserError, match="not a checkpoint of gan3d-bench"):
        read_checkpoint(tmp_path / "theirs.pt")


def test_weights_that_do_not_fit_are_told_apart(config: RunConfig, tmp_path: Path) -> None:
    method = build(registry("methods").get("toy"), config)
    checkpoint = checkpoint_of(config)
    weights = checkpoint["state_dict"] = dict(checkpoint["state_dict"])
    weights["extra.weight"] = weights.pop("depth.0.bias")
    weights["depth.0.weight"] = torch.zeros(8, 4)
    with pytest.raises(UserError) as caught:
        restore(method, checkpoint, tmp_path / "last.ckpt")
    message = str(caught.value)
    assert "1 weights missing, first 'depth.0.bias'" in message
    assert "1 unknown, first 'extra.weight'" in message
    assert "1 of another shape, first 'depth.0.weight' (8, 4), expected (8, 3)" in message


def test_load_method_needs_only_the_run(config: RunConfig) -> None:
    run = Run.create(config, {})
    checkpoint = checkpoint_of(config)
    checkpoint["state_dict"] = {
        key: torch.full_like(value, 0.25) for key, value in checkpoint["state_dict"].items()
    }
    AtomicCheckpointIO().save_checkpoint(checkpoint, run.checkpoint)
    method = load_method(Run.open(run.path))
    assert not method.training
    assert all((value == 0.25).all() for value in method.state_dict().values())
    assert not any(parameter.requires_grad for parameter in method.parameters())


def test_json_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "finished.json"
    runs.write_json(path, {"steps": 3, "losses": [math.nan, (math.inf, 1.0)], "path": tmp_path})
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {
        "steps": 3, "losses": [None, [None, 1.0]], "path": str(tmp_path),
    }  # fmt: skip
    assert [file.name for file in tmp_path.iterdir()] == ["finished.json"]
