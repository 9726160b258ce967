"""Declared keys: exactly their range is accepted, all are explained, the YAML reads back."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gan3d_bench.config import (
    MISSING,
    Key,
    RunConfig,
    check_values,
    compose,
    declared,
    explained_yaml,
    from_yaml,
    key,
    key_rows,
    override,
)
from gan3d_bench.errors import UserError
from gan3d_bench.registry import BUILTIN, registry
from gan3d_bench.spec import MethodSpec, load

PRESETS = [
    (name, preset)
    for name in BUILTIN["methods"]
    for preset in registry("methods").get(name).presets
]


def config_of(kind: Any, field: Any) -> type[RunConfig]:
    """A run's config with one key of its own."""
    return dataclasses.make_dataclass("Made", [("value", kind, field)], bases=(RunConfig,))


def accepts(schema: type[RunConfig], value: Any) -> bool:
    """Whether the value is valid; if not, one line must say so."""
    try:
        schema(value=value).validate()  # type: ignore[call-arg]
    except UserError as error:
        assert str(error).startswith(f"value={value!r}: expected ")
        assert "\n" not in str(error)
        return False
    return True


wholes = st.integers(-40, 40)
sides = st.sampled_from(["open", "closed", "none"])


@settings(deadline=None, max_examples=60)
@given(low=wholes, high=wholes, lower=sides, upper=sides, also=st.lists(wholes, max_size=2))
@pytest.mark.parametrize("kind", [int, float, list[float]])
def test_exactly_the_declared_interval_is_accepted(
    kind: Any, low: int, high: int, lower: str, upper: str, also: list[int]
) -> None:
    limits: dict[str, Any] = {"open": {"above": low}, "closed": {"least": low}, "none": {}}[lower]
    limits = limits | {"open": {"below": high}, "closed": {"most": high}, "none": {}}[upper]
    schema = config_of(kind, key([0.0] if kind == list[float] else 0, "made", **limits, also=also))
    step = 1 if kind is int else 0.5
    for number in {x + d for x in (low, high, 0, *also) for d in (-step, 0, step)}:
        inside = {"open": number > low, "closed": number >= low, "none": True}[lower]
        inside &= {"open": number < high, "closed": number <= high, "none": True}[upper]
        inside |= number in also
        value = kind(number) if kind in (int, float) else [float(number)]
        assert accepts(schema, value) == inside, (value, limits, also)


@settings(deadline=None, max_examples=40)
@given(exponent=st.integers(0, 12), factor=st.integers(1, 9), value=st.integers(-70, 5000))
def test_powers_and_multiples(exponent: int, factor: int, value: int) -> None:
    power = config_of(int, key(16, "made", power_of_two=True, least=4))
    assert accepts(power, 2**exponent) == (exponent >= 2)
    assert accepts(power, value) == (value in [2**n for n in range(2, 13)])
    multiple = config_of(int, key(0, "made", multiple_of=factor))
    assert accepts(multiple, factor * value)
    assert accepts(multiple, factor * value + 1) == (factor == 1)


names = st.text("abcdxyz", min_size=1, max_size=4)


@settings(deadline=None, max_examples=60)
@given(choices=st.lists(names, min_size=1, max_size=4, unique=True), value=names)
def test_exactly_the_choices_are_accepted(choices: list[str], value: str) -> None:
    one = config_of(str, key(choices[0], "made", choices=choices))
    several = config_of(list[str], key([], "made", choices=choices))
    assert accepts(one, value) == (value in choices)
    assert accepts(several, [choices[0], value]) == (value in choices[1:])
    assert accepts(several, [])


def test_mappings_lists_and_needed_text() -> None:
    @dataclasses.dataclass
    class Made(RunConfig):
        channels: dict[int, int] = key({}, "made", above=0)
        box: list[float] = key([0.0, 1.0], "made", length=2, most=1)
        text: str = key("x", "made", required=lambda: "a name")

    for text, message in {
        "channels={4: 8, 8: 0}": "channels.8=0: expected a number above 0",
        "box=[1]": "box=[1.0]: expected 2 numbers",
        "box=[0,3]": "box=[0.0, 3.0]: expected each at most 1",
        "text=''": "text='': expected a name",
    }.items():
        with pytest.raises(UserError, match=rf"^{re.escape(message)}$"):
            override(Made(), [text])
    assert Made().box is not Made().box
    with pytest.raises(ValueError, match="least or above"):
        key(1, "made", least=1, above=0)


def test_a_changed_default_keeps_help_and_range() -> None:
    @dataclasses.dataclass
    class Parent:
        steps: int = key(10, "steps of it", least=0)

    @dataclasses.dataclass
    class Child(Parent):
        steps: int = 20

    (found,) = declared(Child)
    assert found.key.help == "steps of it"
    assert Child().steps == 20
    with pytest.raises(UserError, match="--steps=-1: expected 0 or more"):
        check_values(Child(-1), "--")


def test_a_plain_field_is_a_key_without_a_range(toy: Path) -> None:
    spec = registry("methods").get("toy")
    (found,) = (item for item in declared(load(spec.config)) if item.name == "losses.colour")
    assert found.key == Key()
    assert compose(spec, overrides=["losses.colour=-3"]).losses.colour == -3  # type: ignore[attr-defined]
    assert "  colour: 1.0\n" in explained_yaml(compose(spec))


# -- the suite's own ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILTIN["methods"])
def test_every_key_has_one_line_of_help(name: str) -> None:
    schema = load(registry("methods").get(name).config)
    for item in declared(schema):
        assert item.key.help, item.name
        assert "\n" not in item.key.help and len(item.key.help) < 160, item.name


@pytest.mark.parametrize("name", BUILTIN["methods"])
def test_schema_defaults_are_in_their_ranges(name: str) -> None:
    spec = registry("methods").get(name)
    config = load(spec.config)()
    for item in declared(type(config)):
        value = config
        for part in item.name.split("."):
            value = getattr(value, part)
        if not item.section and not (item.key.required and value == ""):
            item.key.check(item.name, value)


def composed(name: str, preset: str, folder: Path) -> RunConfig:
    """A preset's config, with what the papers' presets ask a user for."""
    needed = {
        "gan2shape": ("images", "masks", "start", "teacher", *STATISTICS),
        "liftedgan": ("teacher",),
        "uv3dmm": ("teacher",),
        "idnet": ("images",),
        "mm-fit": ("images",),
        "wtri": ("teacher", "data.path"),
        "eg3d": ("data.path",),
        "stylegan-r": ("teacher", "views", "masks"),
    }
    asks = preset.startswith("paper") or preset == "photographs"
    asks = asks or (name in ("uv3dmm", "wtri") and preset == "heads-128")
    asks = asks or (name, preset) == ("stylegan-r", "heads-360-64")
    given = [f"{name}={folder}" for name in needed[name]] if asks else []
    return compose(registry("methods").get(name), preset, None, given)


STATISTICS = ("view.statistics", "light.statistics")


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_presets_are_valid_and_read_back_from_their_explained_yaml(
    name: str, preset: str, tmp_path: Path
) -> None:
    spec = registry("methods").get(name)
    config = composed(name, preset, tmp_path)
    file = tmp_path / "explained.yaml"
    file.write_text(explained_yaml(config))
    assert from_yaml(spec, file) == config
    assert compose(spec, preset, file) == config
    assert yaml.safe_load(file.read_text())["preset"] == preset
    rows = {row[0]: row for row in key_rows(spec, preset)}  # also where a user must give something
    assert rows.keys() == {item.name for item in declared(type(config))}


# -- printed ------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(
    texts=st.lists(
        st.one_of(
            st.sampled_from(
                [
                    "",
                    "1e-3",
                    "1_0",
                    "yes",
                    "null",
                    "~",
                    "nan",
                    "a: b",
                    "# x",
                    "- a",
                    "???x",
                    "\\${a",
                ]
            ),
            st.text(),
        ),
        max_size=4,
    ),
    rate=st.floats(0, 1e6),
)
def test_any_text_and_number_reads_back(
    texts: list[str], rate: float, tmp_path_factory: Any
) -> None:
    spec = registry("methods").get("supervised")
    config = compose(spec)
    config.tracking.tags, config.tracking.group = texts, "".join(texts)
    config.losses.absolute = rate  # type: ignore[attr-defined]
    file = tmp_path_factory.mktemp("yaml") / "explained.yaml"
    file.write_text(explained_yaml(config), encoding="utf-8")
    assert from_yaml(spec, file) == config
    assert len(file.read_text(encoding="utf-8").splitlines()) >= len(list(declared(type(config))))


class Kind(Enum):
    A = 1


@dataclasses.dataclass
class Plain(RunConfig):
    """Fields of types that the suite's own configs do not have."""

    folder: Path = Path("a b")
    kind: Kind = Kind.A
    count: int | None = None
    needed: int = MISSING  # type: ignore[assignment]
    any: Any = None
    pair: tuple[int, int] = (0, 0)


def test_paths_choices_and_missing_values_of_a_plugin(tmp_path: Path) -> None:
    spec = MethodSpec("plain", "", "", "", f"{__name__}:Plain", {}, "")
    (tmp_path / "made.yaml").write_text(explained_yaml(Plain(needed=3, pair=(1, 2))))
    assert from_yaml(spec, tmp_path / "made.yaml") == Plain(needed=3, pair=(1, 2))
    (tmp_path / "made.yaml").write_text("seed: 1\n")
    with pytest.raises(UserError, match=r"needed has no value; give it as needed=\.\.\."):
        from_yaml(spec, tmp_path / "made.yaml")
    given = override(
        Plain(needed=3), ["folder=a #1", "kind=A", "count=7", "any={a: [1, x]}", "pair=[3,4]"]
    )
    assert given == Plain(folder=Path("a #1"), count=7, needed=3, any={"a": [1, "x"]}, pair=(3, 4))
    assert override(given, ["count=null"]).count is None  # type: ignore[attr-defined]
    for text in ("kind=B", "count=x", "pair=[a]", "pair=1"):
        with pytest.raises(UserError, match=f"^{re.escape(text)}: expected "):
            override(given, [text])


def test_comments_say_help_unit_range_and_default(toy: Path) -> None:
    text = explained_yaml(compose(registry("methods").get("toy"), "check"))
    (line,) = (line for line in text.splitlines() if line.startswith("image_size:"))
    assert re.fullmatch(r"image_size: \d+ +# side of the images \[pixels; above 0\].*", line)
    (line,) = (line for line in text.splitlines() if line.startswith("batch_size:"))
    assert line.endswith("# images a step, over all processes [above 0] (default 8)")
    (line,) = (line for line in text.splitlines() if line.startswith("seed:"))
    assert "default" not in line


def test_the_command_lists_keys(cli: Callable[..., Any], toy: Path) -> None:
    shown = cli("fit", "--method", "toy", "--preset", "check", "--keys")
    assert shown.code == 0, shown.err
    lines = {line.split()[0]: re.split(r"\s{2,}", line) for line in shown.out.splitlines()}
    assert lines["key"] == ["key", "type", "default", "range", "unit", "help"]
    assert lines["batch_size"] == [
        "batch_size", "whole number", "4", "above 0", "images a step, over all processes",
    ]  # fmt: skip
    assert lines["losses"][1:] == ["section", "Weights of the losses"]
    assert "from -1 to 100000000" in lines["trainer.preview_every"]
    assert list(toy.iterdir()) == []
    for more in (["seed=1"], ["--config", "x.yaml"], ["--resume"]):
        refused = cli("fit", "--method", "toy", "--keys", *more)
        assert refused.code == 2 and "expected no values with --keys" in refused.err
    unknown = cli("fit", "--method", "toy", "sede=1")
    assert "`fit --method toy --keys` lists all keys" in unknown.err


def test_keys_and_explained_configs_import_no_torch() -> None:
    code = (
        "import sys\n"
        "from gan3d_bench.cli import run\n"
        "for option in ('--keys', '--print-config'):\n"
        "    assert run(['fit', '--method', 'gan2shape', option]) == 0\n"
        "print([name for name in ('torch', 'lightning', 'numpy') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"
    assert "share " in found.stdout and "share: [" in found.stdout


def test_specs_of_presets_that_ask_for_more_list_their_keys() -> None:
    spec: MethodSpec = registry("methods").get("gan2shape")
    with pytest.raises(UserError, match="teacher='': expected a teacher's name"):
        compose(spec, "paper-cat")
    rows = {row[0]: row for row in key_rows(spec, "paper-cat")}
    assert rows["teacher"][2:4] == ("''", "not empty")
    assert rows["prior.near"][1:5] == ("number", "0.91", "from 0.9 to 1.1", "scene units")
    assert rows["prior.box"][3] == "4 numbers, each from -1 to 2"
    assert rows["share"][3] == "each one of depth, albedo, view, light, encoder"
    with pytest.raises(UserError, match="unknown preset"):
        key_rows(spec, "paper-dog")


def test_lists_of_choices_have_each_once() -> None:
    both = Key(choices=("depth", "view"))
    both.check("share", ["view", "depth"])
    with pytest.raises(UserError, match=r"share=\['depth', 'depth'\]: expected each value once"):
        both.check("share", ["depth", "depth"])
    Key(least=0).check("numbers", [1, 1])
