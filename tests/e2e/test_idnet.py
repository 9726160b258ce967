"""The identity network as a user meets it: train, use, import."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from gan3d_bench.faces.embeddings import build_identity
from gan3d_bench.faces.resnet_embedding import ResNetEmbedding
from gan3d_bench.files.run_folder import Run
from gan3d_bench.training.fit import load_method

sys.path.insert(0, str(Path(__file__).parents[1]))
import official_files as files

Cli = Callable[..., Any]
FIT = ("fit", "--method", "idnet", "--preset", "check", "trainer.accelerator=cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(tmp_path_factory.getbasetemp() / "idnet"))


def people(root: Path, count: int, size: int = 20) -> None:
    for person in range(count):
        (root / f"p{person}").mkdir(parents=True)
        for picture in range(3):
            colour = (40 * person, 255 - 40 * person, 60 * picture)
            Image.new("RGB", (size, size), colour).save(root / f"p{person}" / f"{picture}.jpg")


def test_a_run_is_an_identity_network(cli: Cli) -> None:
    found = cli(*FIT, "losses.kind=arcface", "people.val_pictures=8")
    assert found.code == 0, found.err
    (run,) = Run.find("idnet")
    assert "gan3d-bench render" not in found.out
    columns = run.metrics.read_text().splitlines()[0]
    for name in ("train/arcface", "train/accuracy", "val/auc", "val/rank1", "val/same@45"):
        assert name in columns
    identity = build_identity(run.path)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        expected = load_method(run).network(images)
    torch.testing.assert_close(identity(images), expected)


def test_people_of_a_folder(cli: Cli, toy: Path) -> None:
    people(toy / "people", 5)
    options = ("data=images", "images=people", "people.train=3", "people.val=2", "batch=4")
    found = cli(*FIT, *options, "people.pictures=0")
    assert found.code == 0, found.err
    (run,) = Run.find("idnet")
    header, *_, last = run.metrics.read_text().splitlines()
    assert "val/accuracy" in header
    assert "@45" not in header
    assert last


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("images=nowhere",), "images: 'nowhere': no such file"),
        (("images=people", "people.val=9"), "5 people in it, expected at least 12"),
    ],
)
def test_folders_that_do_not_do_leave_no_run(
    cli: Cli, toy: Path, options: tuple[str, ...], message: str
) -> None:
    people(toy / "people", 5)
    found = cli(*FIT, "data=images", "people.train=3", *options)
    assert found.code == 2
    assert message in found.err
    assert found.err.count("\n") == 1
    assert not Run.find("idnet")


def test_the_paper_preset_asks_for_the_folder(cli: Cli) -> None:
    found = cli("fit", "--method", "idnet", "--preset", "paper")
    assert found.code == 2
    assert "images='': data=images needs the path of a folder of people" in found.err


def test_the_official_file_is_imported(cli: Cli, toy: Path) -> None:
    torch.manual_seed(0)
    network = ResNetEmbedding(16, 2, 4).eval()
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    content = files.torch_bytes({"model_state_dict": state}, zipped=False)
    (toy / "lresnet.pth.tar").write_bytes(content)
    found = cli("import", "lresnet.pth.tar", "--as", "idnet", "--out", "face")
    assert found.code == 0, found.err
    assert "identity=face" in found.out
    card = json.loads((toy / "face" / "card.json").read_text())
    assert (card["family"], card["image_size"], card["width"]) == ("idnet", 16, 2)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(build_identity(toy / "face")(images), network(images))


def test_a_file_of_another_kind_is_one_line(cli: Cli, toy: Path) -> None:
    (toy / "other.pt").write_bytes(files.torch_bytes({"g_ema": {}}))
    found = cli("import", "other.pt", "--as", "idnet")
    assert found.code == 2
    assert "other.pt: no model_state_dict in it" in found.err
    assert not (toy / "other").exists()
