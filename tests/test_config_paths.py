"""Keys that hold paths: whole in a run's config, `~` in each, names left alone, no pipes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gan3d_bench.config import declared, override, paths_of, preset_text
from gan3d_bench.config.fields import Declared
from gan3d_bench.config.paths import whole_path, with_whole_paths
from gan3d_bench.errors import UserError
from gan3d_bench.methods.gan2shape.config import LIGHTS, VIEWS
from gan3d_bench.methods.gan2shape.sampling import BUILTIN_LIGHTS, BUILTIN_VIEWS
from gan3d_bench.registry import BUILTIN, registry
from gan3d_bench.spec import load

SCHEMAS = {name: load(registry("methods").get(name).config) for name in BUILTIN["methods"]}
PATHS = [
    pytest.param(schema, item, id=f"{method}:{item.name}")
    for method, schema in SCHEMAS.items()
    for item in declared(schema)
    if item.key.path
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder, and the working one; `data #1` is in it."""
    (tmp_path / "data #1").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(schema: type, item: Declared, text: str) -> tuple[str, dict[str, Path]]:
    """What becomes of a text at a key, and all paths of the config; nothing else is checked."""
    from gan3d_bench.config.values import Plain, updated

    value: Any = Plain(text)
    for name in reversed(item.name.split(".")):
        value = {name: value}
    config = with_whole_paths(updated(schema(), value))
    return item.of(config), paths_of(config)


def test_all_of_them_are_known() -> None:
    names = {f"{param.values[1].name}" for param in PATHS}
    assert names == {
        *("data.path", "network.generator", "network.discriminator", "images", "masks", "latents"),
        *("teacher", "start", "view.statistics", "light.statistics", "identity", "model"),
        *("encoder.weights", "similarity.weights", "views"),
    }


@pytest.mark.parametrize(("schema", "item"), PATHS)
def test_paths_are_made_whole(home: Path, schema: type, item: Declared) -> None:
    whole = str(home / "data #1")
    for text in ("data #1", "./data #1", "~/data #1", whole):
        assert made(schema, item, text) == (whole, {item.name: home / "data #1"})
    assert made(schema, item, "~/none") == (str(home / "none"), {})
    assert made(schema, item, "none") == ("none", {})
    for name in item.key.known_names():
        (home / name).mkdir(exist_ok=True)
        assert made(schema, item, name) == (name, {})


@pytest.mark.parametrize(("schema", "item"), PATHS)
def test_pipes_and_devices_are_refused(home: Path, schema: type, item: Declared) -> None:
    os.mkfifo("pipe")
    for text in ("pipe", "/dev/zero"):
        with pytest.raises(UserError, match=rf"^{item.name}='{text}': a pipe or a device; expecte"):
            made(schema, item, text)


def test_families_and_links(home: Path) -> None:
    (home / "link").symlink_to("data #1")
    assert whole_path("link") == str(home / "link")
    assert whole_path("stylegan2:link") == f"stylegan2:{home}/link"
    assert whole_path("stylegan2:~/link") == f"stylegan2:{home}/link"
    assert whole_path("stylegan2:none") == "stylegan2:none"
    (home / "a:link").mkdir()
    assert whole_path("a:link") == str(home / "a:link")


def test_the_names_of_statistics_are_those_that_there_are() -> None:
    assert set(VIEWS) == set(BUILTIN_VIEWS) and set(LIGHTS) == set(BUILTIN_LIGHTS)


def test_a_resumed_config_keeps_its_paths(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = override(SCHEMAS["supervised"](), ["data.path=data #1"])
    (home / "data #1" / "data #1").mkdir()
    monkeypatch.chdir(home / "data #1")
    changed = override(config, ["trainer.threads=1"])
    assert changed.data.path == str(home / "data #1")  # type: ignore[attr-defined]


def test_presets_hold_no_paths() -> None:
    for name in BUILTIN["methods"]:
        spec = registry("methods").get(name)
        for preset in spec.presets:
            assert "~/" not in preset_text(spec, preset)
