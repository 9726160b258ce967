"""Methods on somebody's pictures: looked through first, and never at a run's expense."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gan3d_bench.commands.reconstruct import overrides_for
from gan3d_bench.config import compose
from gan3d_bench.files.checkpoints import read_checkpoint
from gan3d_bench.files.run_folder import Run
from gan3d_bench.methods.gan2shape.spec import SPEC
from gan3d_bench.methods.stylegan2.data import ModuleImages

Cli = Callable[..., Any]

QUICK = ("trainer.accelerator=cpu", "trainer.preview_every=-1")
STEPS = ("regression.steps=0", "adversarial.anchor=0", "adversarial.steps=4", "batch=2")
FIT = ("fit", "--method", "stylegan2", "--preset", "check", *QUICK, *STEPS)


@pytest.fixture
def pictures(toy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of six pictures of all kinds, whose name holds what YAML takes for a comment."""
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(toy / "home"))
    folder = toy / "my photos #1: all"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, suffix in enumerate(("png", "jpg", "tif", "bmp", "gif", "jfif")):
        image = Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8))
        image.save(folder / f"{number}.{suffix}", "JPEG" if suffix == "jfif" else None)
    grey = rng.integers(0, 65536, (20, 24)).astype(np.uint16)
    Image.fromarray(grey).save(folder / "grey.png")
    Image.new("RGBA", (20, 24), (9, 9, 9, 0)).save(folder / "clear.png")
    (folder / ".DS_Store").write_bytes(b"hidden")
    return folder


def test_stylegan2_learns_from_all_kinds(cli: Cli, pictures: Path, toy: Path) -> None:
    found = cli(*FIT, f"data.path={pictures.name}")
    assert found.code == 0, found.err
    (run,) = Run.find("stylegan2")
    assert run.config.data.path == str(pictures)  # type: ignore[attr-defined]
    assert set(run.environment["data"]) == {"data.path"}


@pytest.mark.parametrize(
    ("method", "options", "key"),
    [
        ("stylegan2", (*STEPS, "data.path=my photos #1: all"), "data.on_bad"),
        (
            "idnet",
            (*("data=images", "images=people", "people.train=2", "people.val=2", "batch=4"),),
            "on_bad",
        ),
    ],
)
def test_bad_pictures_are_found_before_the_first_step(
    cli: Cli,
    pictures: Path,
    toy: Path,
    caplog: pytest.LogCaptureFixture,
    method: str,
    options: tuple[str, ...],
    key: str,
) -> None:
    for person in range(4):
        shutil.copytree(pictures, toy / "people" / str(person))
    for path in (pictures / "1.jpg", toy / "people" / "0" / "1.jpg"):
        path.write_bytes(path.read_bytes()[:200])
    fit = ("fit", "--method", method, "--preset", "check", *QUICK, *options)
    refused = cli(*fit)
    assert refused.code == 2
    assert f"pictures cannot be used; {key}=skip leaves them out" in refused.err
    assert "1.jpg' is not a readable image" in refused.err
    assert not Run.find(method)
    skipped = cli(*fit, f"{key}=skip")
    assert skipped.code == 0, skipped.err
    assert caplog.text.count("pictures left out") == 1


def test_a_picture_that_goes_bad_in_the_middle_costs_no_step(
    cli: Cli, pictures: Path, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    read = ModuleImages.read

    def damaging(self: ModuleImages, indices: Any) -> Any:
        calls.append(0)
        if len(calls) == 3:
            pictures.rename(toy / "gone")
        return read(self, indices)

    with monkeypatch.context() as patch:
        patch.setattr(ModuleImages, "read", damaging)
        found = cli(*FIT, f"data.path={pictures}")
    assert found.code == 2
    assert "no such image" in found.err
    (run,) = Run.find("stylegan2")
    assert read_checkpoint(run.checkpoint)["phase"] == {"index": 0, "step": 2}
    (toy / "gone").rename(pictures)
    # other data of the same name
    content = (pictures / "0.png").read_bytes()
    (pictures / "0.png").write_bytes((pictures / "clear.png").read_bytes())
    refused = cli("fit", "--method", "stylegan2", "--resume")
    assert refused.code == 2
    assert f"data.path='{pictures}': not what {run} was begun with" in refused.err
    (pictures / "0.png").write_bytes(content)
    monkeypatch.setenv("GAN3D_BENCH_RUNS", str(toy / "runs"))
    monkeypatch.chdir(toy / "home")
    resumed = cli("fit", "--method", "stylegan2", "--resume")
    assert resumed.code == 0, resumed.err
    assert run.path.name in resumed.out


@pytest.mark.parametrize("folder", ["o/out #1", "a: b", "~", "{count}", "2024_11_26", "'a'"])
def test_reconstruct_fits_to_pictures_in_any_folder(toy: Path, folder: str) -> None:
    whole = toy / folder
    whole.mkdir(parents=True)
    config = compose(SPEC, "check", None, overrides_for(SPEC, Path(folder), 2, []))
    assert config.images == str(whole)  # type: ignore[attr-defined]
