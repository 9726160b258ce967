"""The 3DMM UV-map generator through the command line: phases in order, resumed, and in parallel."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gan3d_bench.files.checkpoints import read_checkpoint
from gan3d_bench.files.run_folder import Run

FIT = (
    "fit", "--method", "uv3dmm", "--preset", "check", "trainer.accelerator=cpu",
    "trainer.preview_every=-1", "trainer.checkpoint_minutes=1e-9", "trainer.log_every=1",
    "pairs.count=72", "maps.warmup=1", "maps.ema_kimg=0.01", "maps.keep_pictures=true",
)  # fmt: skip
# steps: 0, 1 pairs; 2, 3, 4 F3D; 5, 6 F_yaw; 7, 8 pictures; 9 warm-up; 10, 11 maps


def weights(run: Run) -> dict[str, Tensor]:
    return read_checkpoint(run.checkpoint)["state_dict"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all: only the first run fits pairs."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def whole(toy_site: Path, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN3D_BENCH_HOME", str(home))
        patch.syspath_prepend(str(Path(__file__).parents[1]))
        import children

        process = children.start([*FIT], folder, path=[toy_site])
        process.join(300)
    text = (folder / "output").read_text()
    assert process.exitcode == 0, text
    assert "pairs: 72 of 72 fits usable" in text
    (run,) = Run.find("uv3dmm", root=folder / "runs")
    assert run.finished
    return run


def test_killed_in_every_phase_a_run_resumes_to_the_same_end(
    child: Callable[..., Any], toy: Path, whole: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run, killed once in each phase, pairs and pictures of its own."""
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(toy / "cache"))
    command = FIT
    for number in (1, 3, 6, 8, 9, 11):
        # two of the phases train nothing
        moment = "die_inside_step" if number in (3, 6, 9) else "die_before_step"
        assert child(*command, prepare=moment, options=(number,)).code == -signal.SIGKILL, number
        command = ("fit", "--method", "uv3dmm", "--resume")
    resumed = child(*command)
    assert resumed.code == 0, resumed.text
    (run,) = Run.find("uv3dmm", root=toy / "runs")
    expected, found = weights(whole), weights(run)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert run.metrics.read_text() == whole.metrics.read_text()


def test_two_processes_train_as_one(
    pair: Callable[..., Any], toy: Path, whole: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pairs are shared out, and fitted to the same numbers; steps are of whole batches."""
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(toy / "cache"))
    ended = pair(*FIT)
    assert [end.code for end in ended] == [0, 0], "".join(end.text for end in ended)
    (run,) = Run.find("uv3dmm", root=toy / "runs")
    one, two = weights(whole), weights(run)
    # Adam turns the rounding of gradients near zero into whole steps of 1e-5 to 1e-3
    for part, rate in (("style_to_coefficients", 1e-5), ("rotation.step", 1e-4)):
        keys = [key for key in one if key.startswith(part) and "mean" not in key]
        far = [((one[key] - two[key]).abs() > rate).flatten() for key in keys]
        assert torch.cat(far).float().mean() < 0.02, part
    maps = [key for key in one if key.startswith("uv_generator.")]
    far = [((one[key] - two[key]).abs() > 1e-3).flatten() for key in maps]
    assert torch.cat(far).float().mean() < 0.1


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("image_size=32",), "image_size=32: expected 64, the size of the images of teacher="),
        (("model=nowhere",), "nowhere: no such file; expected a MATLAB file with meanshape"),
        (("teacher=random-16", "image_size=16"), "pairs.landmarks=exact: teacher=random-16"),
        (("inversion.space=w+",), "inversion.space='w+': expected 'w'"),
        (
            ("maps.keep_pictures=true", "maps.stylecodes=new"),
            "maps.keep_pictures=true: expected maps.stylecodes=pairs with it",
        ),
        (("perceptual=none",), "losses.perceptual=0.2: expected 0 with perceptual=none"),
    ],
)
def test_what_does_not_fit_is_refused_before_work(
    refused: Callable[..., str], keys: tuple[str, ...], message: str
) -> None:
    keys = (*keys, "pairs.landmarks=landmarks-106") if "model=nowhere" in keys else keys
    assert message in refused(*FIT[:5], *keys)
