"""Every mistake of the user: one clear line, exit code 2, nothing half-written."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from gan3d_bench.config import compose
from gan3d_bench.errors import UserError
from gan3d_bench.files import checkpoints
from gan3d_bench.files.run_folder import Run
from gan3d_bench.registry import registry
from gan3d_bench.training import fit as training
from gan3d_bench.training.fit import build

QUICK = ("trainer.accelerator=cpu", "trainer.preview_every=-1")
FIT = ("fit", "--method", "toy", "--preset", "check", *QUICK)
GAN2SHAPE = ("fit", "--method", "gan2shape", "--preset", "check", *QUICK)
IMAGES = (*GAN2SHAPE, "data=images", "images=images")

Cli = Callable[..., Any]


def listing(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.fixture
def refused(cli: Cli, toy: Path) -> Callable[..., str]:
    """Run a command that must fail; returns the line it says."""

    def call(*arguments: object) -> str:
        before = listing(toy)
        found = cli(*arguments)
        assert found.code == 2, found.out + found.err
        assert "Traceback" not in found.err
        *_, last = found.err.splitlines()
        assert found.err.count("gan3d-bench: error: ") == 1
        assert last.startswith("gan3d-bench: error: ")
        assert listing(toy) == before
        return last.removeprefix("gan3d-bench: error: ")

    return call


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["fti"], ["fti"]),
        (["fit"], ["--method"]),
        (["fit", "--methd", "toy"], ["--methd"]),
        (["fit", "--method", "gan2shap"], ["unknown method 'gan2shap'", "'gan2shape'"]),
        (["fit", "--method", "toy", "--preset", "disc"], ["unknown preset", "'disc'", "'discs'"]),
        (["eval", "--table", "shap"], ["unknown table 'shap'", "'shape'"]),
        (
            ["eval", "--table", "toy-depth", "--samples", "0"],
            ["--samples 0", "from 1 to 100000"],
        ),
        (
            ["eval", "--table", "toy-depth", "--samples", "9" * 20],
            ["--samples 99", "from 1 to 100000"],
        ),
        (["eval", "--table", "toy-depth", "--samples", "x"], ["--samples", "integer"]),
        (["eval", "--table", "toy-depth", "--method", "toi"], ["unknown method 'toi'", "'toy'"]),
        (["eval", "--table", "toy-depth", "--method", "toy"], ["no finished run", "fit --method"]),
        (["eval", "--table", "toy-depth", "--run", "runs"], ["runs", "not a run folder"]),
        (["eval", "--table", "toy-depth", "--results", "t.json"], ["t.json", "no such file"]),
        (["eval", "--table", "toy-depth", "--device", "cdua"], ["--device 'cdua'", "cpu"]),
        (["eval", "--table", "toy-depth", "--device", "meta"], ["--device 'meta'", "cpu"]),
        (["eval", "--table", "toy-depth", "--device", ""], ["--device ''", "cpu"]),
        (["eval", "--table", "toy-depth", "--samples", "1", "--samples", "2"], ["--samples"]),
        (["fit", "--method", "toy", "--method", "gan2shape"], ["--method is given 2 times"]),
        (["eval", "--table", "shape", "--run", "a", "--run=a"], ["--run a is given 2 times"]),
        (["render", "--run", "a", "--yaw", "9", "--yaw", "9"], ["--yaw 9 is given 2 times"]),
        (["compare", "shape", "--results", "a", "--results", "a"], ["--results a is given 2"]),
        (
            ["eval", "--table", "shape", "--network", "lpips=vgg", "--network", "lpips=alex"],
            ["--network lpips=...", "given 2 times"],
        ),
        (["fit", "--method", "toy", "--preset", ""], ["unknown preset of method 'toy' ''"]),
        (["render", "--run", "nowhere"], ["nowhere", "not a run folder"]),
        (["render", "--run", "n" * 5000], ["not a run folder"]),
        (["compare", "camera-init", "--out", "n" * 300], ["--out n", "too long"]),
        (["report", "--results", __file__, "--out", "n" * 300 + ".html"], ["--out n", "too long"]),
        (["import", __file__, "--as", "stylegan2", "--out", "n" * 5000], ["--out n", "too long"]),
        (["export", ".", "n" * 300], ["FILE n", "too long"]),
        (["export", "n" * 300, "file.pt"], ["expected a folder with"]),
        (["eval", "--table", "toy-depth", "--results", "n" * 5000], ["no such file"]),
        (["list", "method"], ["unknown kind 'method'", "'methods'"]),
        (["assets", "fetch", "incepton-fid"], ["unknown asset 'incepton-fid'", "'inception-fid'"]),
        (["check", "gan2shap"], ["unknown method 'gan2shap'", "'gan2shape'"]),
        ([*FIT, "colour_step=3"], ["unknown key 'colour_step'", "'colour_steps'"]),
        ([*FIT, "losses.colur=3"], ["unknown key 'losses.colur'", "'losses.colour'"]),
        ([*FIT, "colour_steps=many"], ["colour_steps=many: expected a whole number"]),
        ([*FIT, "--config", "none.yaml"], ["--config none.yaml", "No such file"]),
        ([*FIT, "colour_steps=0", "depth_steps=0"], ["0 steps"]),
        ([*FIT, "trainer.accelerator=abacus"], ["trainer.accelerator=abacus"]),
        ([*FIT, "trainer.devices=-1"], ["trainer.devices=-1"]),
        ([*FIT, "trainer.num_nodes=2"], ["trainer.num_nodes=2", "SLURM"]),
        (["eval", "--table", "toy-depth", "--out", "file/x"], ["--out file/x", "file is a file"]),
        ([*FIT, "--run", "runs/toy"], ["--run runs/toy", "--resume"]),
        ([*FIT, "--resume", "seed=1"], ["seed=1", "a resumed run keeps its config"]),
        ([*FIT, "--resume", "runs/own"], ["runs/own", "expected --run runs/own"]),
        (["fit", "--method", "toy", "--resume"], ["nothing to resume", "no runs in runs/toy"]),
        (["fit", "--method", "toy", "--resume", "--preset", "disc"], ["unknown preset", "'discs'"]),
        (["fit", "--method", "toy", "--resume", "--run", "x"], ["x", "not a run folder"]),
        ([*FIT, "--resume", "--config", "x.yaml"], ["--config x.yaml", "keeps its config"]),
    ],
)
def test_command_lines(
    refused: Callable[..., str], toy: Path, arguments: list[str], parts: list[str]
) -> None:
    (toy / "file").write_text("not a folder")
    message = refused(*arguments)
    for part in parts:
        assert part in message


# -- runs and checkpoints ---------------------------------------------------------------------


@pytest.fixture
def stopped(toy: Path) -> Run:
    """A toy run that was interrupted after its first checkpoint."""
    config = compose(registry("methods").get("toy"), "check", overrides=FIT[5:])
    run = Run.create(config, {})
    save(run)
    return run


def save(run: Run, **changes: Any) -> None:
    method = build(run.spec, run.config)
    card = {**checkpoints.card(run.config), **changes}
    checkpoint = {
        "state_dict": method.state_dict(),
        "optimizer_states": [],
        "phase": {"index": 0, "step": 1},
        checkpoints.KEY: card,
    }
    checkpoints.AtomicCheckpointIO().save_checkpoint(checkpoint, run.checkpoint)


def commands(run: Run) -> list[list[object]]:
    return [
        ["fit", "--method", "toy", "--resume"],
        ["render", "--run", run.path],
        ["eval", "--table", "toy-depth", "--run", run.path],
    ]


def test_truncated_checkpoint(refused: Callable[..., str], stopped: Run) -> None:
    content = stopped.checkpoint.read_bytes()
    stopped.checkpoint.write_bytes(content[: len(content) // 2])
    for command in commands(stopped):
        message = refused(*command)
        assert str(stopped.checkpoint) in message
        assert "not a readable checkpoint" in message


def test_checkpoint_of_another_method(refused: Callable[..., str], stopped: Run) -> None:
    save(stopped, method="gan2shape")
    for command in commands(stopped):
        assert "checkpoint of method 'gan2shape', expected 'toy'" in refused(*command)


def test_checkpoint_of_another_size(refused: Callable[..., str], stopped: Run) -> None:
    checkpoint = checkpoints.read_checkpoint(stopped.checkpoint)
    checkpoint["state_dict"]["encoder.2.weight"] = torch.zeros(3, 12)
    checkpoints.AtomicCheckpointIO().save_checkpoint(checkpoint, stopped.checkpoint)
    for command in commands(stopped):
        message = refused(*command)
        assert "'encoder.2.weight' (3, 12), expected (3, 48)" in message


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("state_dict", None),
        ("state_dict", {"encoder.2.weight": 3}),
        ("phase", {"index": 0, "step": "1"}),
        ("phase", {"index": 0, "step": -1}),
        (checkpoints.KEY, {"format": 1}),
    ],
)
def test_checkpoint_with_a_part_missing(
    refused: Callable[..., str], stopped: Run, part: str, value: object
) -> None:
    checkpoint = checkpoints.read_checkpoint(stopped.checkpoint)
    torch.save({**checkpoint, part: value}, stopped.checkpoint)
    for command in commands(stopped):
        message = refused(*command)
        assert str(stopped.checkpoint) in message
        assert f"'{part}' is missing" in message


def test_checkpoint_without_optimisers(refused: Callable[..., str], stopped: Run) -> None:
    checkpoint = checkpoints.read_checkpoint(stopped.checkpoint)
    del checkpoint["optimizer_states"]
    torch.save(checkpoint, stopped.checkpoint)
    assert "no state of the optimisers" in refused("fit", "--method", "toy", "--resume")


@pytest.mark.parametrize("progress", [(0, 6), (2, 1), (9, 0)])
def test_checkpoint_beyond_the_last_phase(
    refused: Callable[..., str], stopped: Run, progress: tuple[int, int]
) -> None:
    checkpoint = checkpoints.read_checkpoint(stopped.checkpoint)
    checkpoint["phase"] = dict(zip(("index", "step"), progress, strict=True))
    torch.save(checkpoint, stopped.checkpoint)
    message = refused("fit", "--method", "toy", "--resume")
    assert f"step {progress[1]} of phase {progress[0] + 1}" in message


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--yaw", "nan"], ["--yaw nan", "-360 to 360"]),
        (["--yaw", "10", "--yaw", "400"], ["--yaw 400", "-360 to 360"]),
        (["--pitch", "inf"], ["--pitch inf", "-360 to 360"]),
        (["--roll", "-1e9"], ["--roll -1000000000", "-360 to 360"]),
        (["--roll", "left"], ["--roll", "number"]),
        (["--count", "0"], ["--count 0", "from 1 to 64"]),
        (["--seed", "-1"], ["--seed -1", "from 0 to"]),
        (["--out", "file"], ["--out file", "is a file"]),
    ],
)
def test_views_and_options_of_render(
    refused: Callable[..., str], stopped: Run, toy: Path, options: list[str], parts: list[str]
) -> None:
    (toy / "file").write_text("not a folder")
    message = refused("render", "--run", stopped.path, *options)
    for part in parts:
        assert part in message


def test_config_of_a_run_whose_method_is_gone(refused: Callable[..., str], stopped: Run) -> None:
    file = stopped.path / "config.yaml"
    file.write_text("method: tyo\n")
    message = refused("render", "--run", stopped.path)
    assert str(file) in message and "unknown method 'tyo'" in message and "'toy'" in message


def test_config_of_a_run_with_a_wrong_value(refused: Callable[..., str], stopped: Run) -> None:
    file = stopped.path / "config.yaml"
    file.write_text("method: toy\nbatch_size: 0\n")
    message = refused("render", "--run", stopped.path)
    assert f"{file}: batch_size=0: expected a number above 0" in message


def test_deeply_nested_results(refused: Callable[..., str], toy: Path) -> None:
    (toy / "deep.json").write_text("[" * 100_000)
    message = refused("eval", "--table", "toy-depth", "--results", "deep.json")
    assert "deep.json: not stored results" in message


def test_run_without_a_checkpoint(refused: Callable[..., str], stopped: Run) -> None:
    stopped.checkpoint.unlink()
    for command in commands(stopped)[1:]:
        assert "no such checkpoint" in refused(*command)


def test_run_of_another_method(refused: Callable[..., str], stopped: Run) -> None:
    message = refused("fit", "--method", "gan2shape", "--resume", "--run", stopped.path)
    assert "a run of method 'toy', expected 'gan2shape'" in message


def test_run_without_a_row_in_the_table(refused: Callable[..., str], stopped: Run) -> None:
    message = refused("eval", "--table", "shape", "--run", stopped.path)
    assert "a run of 'toy' has no row in table 'shape'" in message


def test_finished_run(refused: Callable[..., str], stopped: Run) -> None:
    stopped.finish({})
    assert "nothing to resume" in refused("fit", "--method", "toy", "--resume")
    command = ("fit", "--method", "toy", "--resume", "--run", stopped.path)
    assert "is finished" in refused(*command)


def test_full_disk(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints.os, "fsync", full)
    assert "no space left on the disk" in refused(*FIT)


def test_too_large_for_the_memory(refused: Callable[..., str]) -> None:
    assert "not enough memory for this config" in refused(*GAN2SHAPE, "width.shape=16384")


def test_full_disk_at_the_last_pictures_keeps_what_was_trained(
    cli: Cli, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise UserError("pictures: cannot be written: no space left on the disk")

    with monkeypatch.context() as patch:
        patch.setattr(training, "write_preview", full)
        found = cli(*FIT)
    assert found.code == 2
    assert "no space left on the disk" in found.err
    (run,) = Run.find("toy")
    assert not run.finished
    assert checkpoints.read_checkpoint(run.checkpoint)["phase"] == {"index": 2, "step": 0}
    found = cli("fit", "--method", "toy", "--resume")
    assert found.code == 0, found.err
    assert run.finished
    assert [path.name for path in run.pictures.iterdir()] == ["000009"]


def test_read_only_folder(
    refused: Callable[..., str], toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (toy / "file").write_text("not a folder")
    monkeypatch.setenv("GAN3D_BENCH_RUNS", "file")
    assert "cannot make a run folder" in refused(*FIT)


# -- images, teachers, data ---------------------------------------------------------------------


@pytest.fixture
def images(toy: Path) -> Path:
    """Two good images."""
    folder = toy / "images"
    folder.mkdir()
    for index in range(2):
        Image.new("RGB", (16, 16), (40 * index, 90, 120)).save(folder / f"{index}.png")
    return folder


def test_unreadable_image(refused: Callable[..., str], images: Path) -> None:
    (images / "0.png").write_text("no picture")
    message = refused(*IMAGES)
    assert "0.png" in message and "not a readable image" in message


def test_truncated_image(refused: Callable[..., str], images: Path) -> None:
    Image.effect_noise((64, 64), 80).save(images / "0.png")
    content = (images / "0.png").read_bytes()
    (images / "0.png").write_bytes(content[: len(content) // 2])
    message = refused(*IMAGES)
    assert "0.png" in message and "not a readable image" in message


@pytest.mark.parametrize("size", [(9000, 9000), (60000, 60000)])
def test_huge_image(refused: Callable[..., str], images: Path, size: tuple[int, int]) -> None:
    small = images / "0.png"
    content = bytearray(small.read_bytes())
    content[16:24] = size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big")
    content[29:33] = _crc(content[12:29])
    small.write_bytes(content)
    message = refused(*IMAGES)
    assert "0.png" in message and "pixels" in message


def _crc(data: bytes | bytearray) -> bytes:
    import zlib

    return zlib.crc32(data).to_bytes(4, "big")


def test_too_few_images(refused: Callable[..., str], images: Path) -> None:
    (images / "1.png").unlink()
    assert "has only 1 images" in refused(*IMAGES)


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("teacher=random-17", ["teacher='random-17'", "random-16"]),
        ("teacher=nowhere.pt", ["nowhere.pt"]),
        ("image_size=32", ["image_size=32", "16"]),
        ("image_size=20", ["image_size=20", "power of two"]),
        ("start=nowhere", ["start='nowhere'", "no such file"]),
        ("data=pictures", ["data='pictures'", "images"]),
    ],
)
def test_teacher_and_sizes(refused: Callable[..., str], override: str, parts: list[str]) -> None:
    message = refused(*GAN2SHAPE, override)
    for part in parts:
        assert part in message


def test_teacher_that_is_no_checkpoint(refused: Callable[..., str], toy: Path) -> None:
    (toy / "teacher.pt").write_bytes(b"PK\x03\x04 half a file")
    message = refused(*GAN2SHAPE, "teacher=teacher.pt")
    assert "teacher.pt" in message and "not readable" in message


def test_missing_asset(
    refused: Callable[..., str], toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(toy / "empty"))
    message = refused(*GAN2SHAPE, "perceptual=lpips-vgg")
    assert "gan3d-bench assets fetch vgg16-lpips" in message


def test_damaged_cache_shard(
    cli: Cli, refused: Callable[..., str], toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = toy / "home"
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(home))
    train = ("fit", "--method", "stylegan2", "--preset", "check", *QUICK)
    first = cli(*train, "regression.steps=1", "adversarial.steps=0")
    assert first.code == 0, first.err
    shutil.rmtree(toy / "runs")
    shards = [p for p in home.rglob("*") if p.is_file() and p.stat().st_size > 1000]
    assert shards
    for shard in shards:
        shard.write_bytes(shard.read_bytes()[:100])
    message = refused(*train, "regression.steps=1", "adversarial.steps=0")
    assert any(str(shard) in message for shard in shards)
