"""A data module of somebody else, known by its entry point alone, trains the suite's methods."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gan3d_bench.files.run_folder import Run
from gan3d_bench.registry import registry

Cli = Callable[..., Any]

PACKAGE = """
import torch

from gan3d_bench.datamodules.base import DataModule
from gan3d_bench.errors import UserError
from gan3d_bench.spec import DataModuleSpec

SPEC = DataModuleSpec(
    "ramps", "Ramps", "ramps_plugin:Ramps", gives=("image", "depth", "mask", "person"),
    path="a file with a number",
)
LATE = DataModuleSpec("late", "Not there", "ramps_plugin:Missing", gives=("image", "depth"))
OTHER = DataModuleSpec("other", "No data module", "ramps_plugin:SPEC", gives=("image", "depth"))


class Dataset(torch.utils.data.Dataset):
    def __init__(self, number, size, count, seed):
        self.number, self.size, self.count, self.seed = number, size, count, seed
        self.person = torch.arange(count) // 2

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        rng = torch.Generator().manual_seed(self.seed + 1000 * self.number + index)
        image = 2 * torch.rand(3, self.size, self.size, generator=rng) - 1
        depth = 1 + 0.09 * image.mean(0, keepdim=True)
        mask, person = torch.ones_like(depth), int(self.person[index])
        return {"image": image, "depth": depth, "mask": mask, "person": person}


class Ramps(DataModule):
    @classmethod
    def open(cls, path, image_size, *, counts, seed):
        try:
            number = int(open(path).read())
        except (OSError, ValueError):
            raise UserError(f"{path!r}: expected a file with a number") from None
        made = cls(batch_size=4, num_workers=0)
        made.made = (number, image_size, counts, seed)
        return made

    def build(self, split):
        number, size, counts, seed = self.made
        return Dataset(number + ["train", "val", "test"].index(split), size,
                       counts.get(split, 24), seed)
"""


@pytest.fixture
def ramps(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package above, installed as its entry points say."""
    site = toy / "site"
    info = site / "ramps_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "ramps_plugin.py").write_text(PACKAGE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ramps-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[gan3d_bench.datamodules]\n"
        "ramps = ramps_plugin:SPEC\nlate = ramps_plugin:LATE\nother = ramps_plugin:OTHER\n"
    )
    (toy / "number.txt").write_text("7")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(toy / "home"))
    registry.cache_clear()
    yield
    sys.modules.pop("ramps_plugin", None)


def fit(method: str, *overrides: str) -> tuple[str, ...]:
    common = ("tracking.wandb=false", "trainer.accelerator=cpu", "trainer.preview_every=-1")
    return ("fit", "--method", method, "--preset", "check", *common, *overrides)


@pytest.mark.parametrize(
    ("method", "overrides"),
    [
        ("supervised", ("data.name=ramps", "data.path=number.txt", "image_size=16", "steps=3")),
        ("stylegan2", ("data.name=ramps", "data.path=number.txt", "regression.steps=0",
                       "adversarial.anchor=0", "adversarial.steps=3")),
        ("idnet", ("data=ramps", "images=number.txt", "people.train=4", "people.val=3",
                   "image_size=16", "batch=8", "steps=3")),
        ("gan2shape", ("data=ramps", "images=number.txt", "masks=exact", "inversion.steps=2")),
    ],
)  # fmt: skip
def test_a_method_learns_from_it(
    cli: Cli, ramps: None, method: str, overrides: tuple[str, ...]
) -> None:
    found = cli(*fit(method, *overrides))
    assert found.code == 0, found.err
    (run,) = Run.find(method)
    assert run.checkpoint.is_file()


def test_the_toy_brings_data_for_a_method_of_the_suite(cli: Cli, toy: Path) -> None:
    found = cli(*fit("supervised", "data.name=toy-discs", "image_size=16", "steps=3"))
    assert found.code == 0, found.err
    (run,) = Run.find("supervised")
    assert run.config.data.name == "toy-discs"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            fit("supervised", "data.name=images", "data.path=x"),
            "data.name='images': gives image, name but no depth; expected cars or heads or "
            "heads-360 or late or other or ramps or synface",
        ),
        (fit("supervised", "data.name=ramp"), "data.name='ramp': expected one of"),
        (fit("supervised", "data.name=ramps"), "data.path='': data.name=ramps needs a file with"),
        (
            fit("supervised", "data.name=ramps", "data.path=absent"),
            "'absent': expected a file with a number",
        ),
        (fit("supervised", "data.name=late"), "datamodule 'late': ramps_plugin:Missing cannot"),
        (fit("supervised", "data.name=other"), "is no gan3d_bench.datamodules.base.DataModule"),
        (
            fit("gan2shape", "data=ramps", "images=number.txt", "latents=site"),
            "data='ramps': gives image, depth, mask, person but no name; expected teacher or",
        ),
        (
            fit("gan2shape", "data=ramps", "images=number.txt", "first=23"),
            "first=23 instances=2 of images: test has only 24 items",
        ),
        (
            fit("idnet", "data=ramps", "images=number.txt", "people.train=99"),
            "number.txt': 12 people in it, expected at least 99",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(
    cli: Cli, ramps: None, command: tuple[str, ...], said: str
) -> None:
    found = cli(*command)
    assert found.code == 2
    assert said in found.err
    assert found.err.count("\n") == 1
