"""A plug-in's importer and exporter, named by its light spec alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gan3d_bench.generators.teachers import load_teacher
from gan3d_bench.registry import registry
from gan3d_bench.spec import Exporter, GeneratorSpec, Importer, MethodSpec

Cli = Callable[..., Any]

TRANSFER = """
from gan3d_bench.errors import UserError

def import_file(source, folder):
    text = source.read_text()
    if text.startswith("no"):
        folder.mkdir()
        raise UserError("no number in it, expected one")
    folder.mkdir()
    (folder / "level.txt").write_text(text)
    return {"origin": "somebody/discs", "parameters": {"generator": 1, "judge": None}}

def export_folder(folder):
    return {"level": float((folder / "level.txt").read_text())}, ["the colour is left out"]
"""
IMPORTER = Importer(
    "discs_transfer:import_file", ".txt of somebody/discs", "gan2shape", "teacher=discs:{folder}"
)
EXPORTER = Exporter("discs_transfer:export_folder", ".disc of somebody/discs", "level.txt")
GENERATOR = GeneratorSpec("discs", "Discs", "nowhere:load", importer=IMPORTER, exporter=EXPORTER)
METHOD = MethodSpec(
    name="disc-method", title="Discs", paper="none", module="nowhere:Method",
    config="nowhere:Config", presets={"check": "a check"}, default_preset="check",
    importer=Importer("nowhere:import_file", "nothing", "toy", "start={folder}"),
)  # fmt: skip


@pytest.fixture
def plugin(toy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder; a generator and a method of a plug-in are registered, a third fails."""
    (toy / "code").mkdir()
    (toy / "code" / "discs_transfer.py").write_text(TRANSFER)
    monkeypatch.syspath_prepend(str(toy / "code"))
    registry("generators").add("discs", lambda: GENERATOR, "discs-package")
    registry("methods").add("disc-method", lambda: METHOD, "discs-package")
    registry("generators").add("lost", lambda: [][0], "lost-package")
    (toy / "model.txt").write_text("0.25")
    return toy


def test_there_and_back(cli: Cli, plugin: Path) -> None:
    found = cli("import", "model.txt", "--as", "discs", "--out", "my model")
    assert found.code == 0, found.err
    card = json.loads((plugin / "my model" / "card.json").read_text())
    assert (card["family"], card["origin"]) == ("discs", "somebody/discs")
    assert "holds:    discs of somebody/discs\n" in found.out
    assert "generator of 1 parameters, no judge" in found.out
    assert "fit --method gan2shape --preset PRESET 'teacher=discs:my model'" in found.out
    assert (plugin / "my model" / "level.txt").read_text() == "0.25"
    found = cli("export", "my model", "again.disc", "--as", "discs")
    assert found.code == 0, found.err
    assert "the colour is left out" in found.out
    assert torch.load("again.disc", weights_only=True) == {"level": 0.25}


def test_help_lists_them(cli: Cli, plugin: Path) -> None:
    shown = cli("import", "--help").out
    for name, files in (("discs", ".txt of somebody/discs"), ("disc-method", "nothing")):
        (line,) = (line.split(maxsplit=1) for line in shown.splitlines() if f" {name} " in line)
        assert line == [name, files]
    shown = cli("export", "--help").out
    assert ".disc of somebody/discs" in shown and "disc-method" not in shown


def test_mistakes(refused: Callable[..., str], plugin: Path) -> None:
    message = refused("import", "model.txt", "--as", "disc")
    assert "unknown --as 'disc' (did you mean 'discs'?)" in message
    assert "known: disc-method, discs, eg3d, idnet, liftedgan, stylegan2" in message
    message = refused("export", "model", "x.pt", "--as", "disc-method")
    assert "unknown --as 'disc-method'" in message and "known: discs, eg3d, liftedgan" in message
    message = refused("import", "model.txt", "--as", "lost")
    assert "generator 'lost' could not be loaded: IndexError" in message
    assert "model: expected a folder with level.txt" in refused(
        "export", "model", "x.pt", "--as", "discs"
    )
    (plugin / "model.txt").write_text("none")
    message = refused("import", "model.txt", "--as", "discs")
    assert message == "model.txt: no number in it, expected one"
    assert not list(plugin.glob("*model*partial")) and not (plugin / "model").exists()


def test_the_toy_brings_an_importer(cli: Cli, refused: Callable[..., str], toy: Path) -> None:
    (toy / "discs.txt").write_text("0.25\n")
    found = cli("import", "discs.txt", "--as", "toy-generator")
    assert found.code == 0, found.err
    assert "teacher=toy-generator:discs" in found.out
    teacher = load_teacher("toy-generator:discs")
    assert float(teacher.generator.w_mean) == 0.25
    (toy / "more.txt").write_text("x")
    assert refused("import", "more.txt", "--as", "toy-generator") == "more.txt: expected one number"
