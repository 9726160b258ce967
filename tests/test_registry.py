"""Registries: the suite's own names, plug-ins, and plug-ins that are kept out."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gan3d_bench.errors import UserError
from gan3d_bench.registry import BUILTIN, Registry, registry
from gan3d_bench.spec import Column, GeneratorSpec, MethodSpec, Reported, TableSpec, load

OWN = GeneratorSpec(name="own", title="Own", loader="nowhere:load")


@pytest.mark.parametrize("kind", BUILTIN)
def test_own_specs_load_under_their_names(kind: str) -> None:
    found = registry(kind)
    assert set(BUILTIN[kind]) <= set(found.names())
    assert not set(BUILTIN[kind]) & set(found.broken)


def test_own_presets_and_configs_exist() -> None:
    from gan3d_bench.config import compose, preset_text

    for name in BUILTIN["methods"]:
        spec = registry("methods").get(name)
        assert spec.default_preset in spec.presets
        for preset in spec.presets:
            assert preset_text(spec, preset)
        assert compose(spec).method == name
        assert compose(spec, "check").preset == "check"


def test_specs_and_configs_import_no_torch() -> None:
    code = (
        "import sys\n"
        "from gan3d_bench.registry import BUILTIN, registry\n"
        "from gan3d_bench.config import compose\n"
        "import gan3d_bench.files.run_folder\n"
        "for kind in BUILTIN: registry(kind)\n"
        "for spec in registry('methods').specs.values(): compose(spec, 'check')\n"
        "print([name for name in ('torch', 'lightning', 'numpy') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_plugin_joins(toy: Path) -> None:
    names = {kind: registry(kind).names() for kind in BUILTIN}
    assert "toy" in names["methods"]
    assert "toy-discs" in names["datamodules"]
    assert "toy-depth" in names["tables"]
    assert "toy-generator" in names["generators"]


def test_plugin_parts_load(toy: Path) -> None:
    import torch

    from gan3d_bench.datamodules.base import open_data

    data = open_data("toy-discs", "", 8, counts={"test": 3})
    batch = next(iter(data.test_dataloader()))
    assert batch["image"].shape == (3, 3, 8, 8)
    assert batch["depth"].shape == (3, 1, 8, 8)
    generator, _ = load(registry("generators").get("toy-generator").loader)(Path("weights"))
    w = generator.mapping(torch.randn(4096, 1, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(generator.w_mean, w.mean(0), rtol=0, atol=0.01)
    torch.testing.assert_close(generator.w_std, w.std(0), rtol=0, atol=0.01)
    assert generator(torch.zeros(2, 1)).shape == (2, 3, 16, 16)
    assert (generator.num_ws, generator.image_size) == (1, 16)
    image, features = generator.image_and_features(w[:2])
    assert torch.equal(image, features) and image.shape[1] == generator.feature_channels
    every = generator.synthesis(w[:2, None].expand(-1, generator.num_ws, -1))
    assert torch.equal(every, image)


def test_broken_plugin_is_kept_out_with_the_reason() -> None:
    found = Registry("generators")

    def fails() -> object:
        raise RuntimeError("needs a licence")

    found.add("theirs", fails, "their-package")
    assert found.names() == []
    assert "needs a licence" in found.broken["theirs"]
    with pytest.raises(UserError, match=r"'theirs' could not be loaded: .*licence.*their-package"):
        found.get("theirs")


class _Unspeakable(Exception):
    def __str__(self) -> str:
        raise SystemExit


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SystemExit(0), "SystemExit: 0"),
        (KeyboardInterrupt(), "KeyboardInterrupt (their"),
        (GeneratorExit(), "GeneratorExit"),
        (_Unspeakable(), "_Unspeakable: its text raises SystemExit"),
        (RuntimeError("\x1b[2J two\nlines"), r"RuntimeError: \x1b[2J two lines (their"),
        (RuntimeError("x" * 10_000), " … "),
    ],
)
def test_a_plugin_may_raise_anything(error: BaseException, reason: str) -> None:
    found = Registry("tables")

    def fails() -> object:
        raise error

    found.add("theirs", fails, "their-package")
    assert found.names() == [] and reason in found.broken["theirs"]
    assert len(found.broken["theirs"]) < 1100


TABLE = TableSpec("own", "Own", (Column("error", "Error"),), ("Ours",), "m:M", "As it is.")
METHOD = MethodSpec("own", "Own", "Paper", "m:M", "m:C", {"check": "always"}, "check")


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("methods", {"title": None}, "MethodSpec.title=None: expected str"),
        ("methods", {"presets": {"check": 1}}, "MethodSpec.presets['check']=1: expected str"),
        ("methods", {"presets": ["check"]}, "expected mapping"),
        ("methods", {"presets": {}}, "default_preset: 'check' is none of its presets"),
        ("methods", {"scenes": {"sample": "depth"}}, "expected frozenset"),
        ("methods", {"scenes": {"sample": frozenset({"smell"})}}, "expected one of"),
        ("methods", {"rows": "all"}, "MethodSpec.rows='all': expected function"),
        ("methods", {"importer": "m:f"}, "MethodSpec.importer='m:f': expected Importer"),
        ("methods", {"reported": (Reported("t", "r", "m", "1", "s"),)}, "reported[0].value='1'"),
        ("methods", {"reported": (Reported("t", "r", "m", math.nan, "s"),)}, "finite number"),
        ("tables", {"columns": ("error",)}, "TableSpec.columns[0]='error': expected Column"),
        ("tables", {"columns": (Column("error", "E", digits=-1),)}, "'error': -1 digits"),
        ("tables", {"columns": (Column("error", "E", digits=True),)}, "digits=True: expected int"),
        ("tables", {"rows": "Ours"}, "TableSpec.rows='Ours': expected tuple"),
        ("tables", {"name": "../up"}, "name='../up': expected letters"),
    ],
)
def test_a_spec_with_a_wrong_field_is_kept_out(kind: str, changes: dict, reason: str) -> None:
    spec = replace({"methods": METHOD, "tables": TABLE}[kind], **changes)
    found = Registry(kind)
    found.add(spec.name, lambda: spec, "their-package")
    assert found.names() == [] and reason in found.broken[spec.name]


def test_damaged_metadata_of_any_package_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gan3d_bench.registry.entry_points", lambda group: 1 / 0)
    found = registry.__wrapped__("tables")
    assert found.names() == sorted(BUILTIN["tables"])
    assert "ZeroDivisionError" in found.broken["entry points"]


@pytest.mark.parametrize(
    ("name", "spec", "reason"),
    [
        ("own", OWN, "already taken"),
        ("other", OWN, "its spec is called 'own'"),
        ("other", "a string", "expected a GeneratorSpec, got str"),
    ],
)
def test_wrong_plugin_is_kept_out(name: str, spec: object, reason: str) -> None:
    found = Registry("generators", {"own": OWN})
    found.add(name, lambda: spec, "their-package")
    assert found.names() == ["own"]
    assert any(reason in text for text in found.broken.values())


def test_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown generator 'onw' .did you mean 'own'.*known: own"):
        Registry("generators", {"own": OWN}).get("onw")
