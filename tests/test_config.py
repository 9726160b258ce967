"""Configs: merging, strictness, and errors that say what was expected."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gan3d_bench.config import compose, from_yaml, keys_of, override, to_dict, to_yaml
from gan3d_bench.errors import UserError
from gan3d_bench.registry import registry
from gan3d_bench.spec import MethodSpec


@pytest.fixture
def spec(toy: Path) -> MethodSpec:
    return registry("methods").get("toy")


def test_later_sources_win(spec: MethodSpec, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("colour_steps: 7\nlosses:\n  depth: 2\n")
    config = compose(spec, "check", file, ["colour_steps=9", "trainer.devices=2"])
    assert config.batch_size == 4  # preset
    assert config.losses.depth == 2.0  # file
    assert config.colour_steps == 9  # override
    assert config.trainer.devices == 2
    assert config.losses.colour == 1.0  # schema
    assert (config.method, config.preset) == ("toy", "check")


def test_default_preset(spec: MethodSpec) -> None:
    assert compose(spec).preset == "discs"


def test_saved_config_reads_back_equal(spec: MethodSpec, tmp_path: Path) -> None:
    config = compose(spec, overrides=["tracking.tags=[a,'b: c']", "learning_rate=1e-3", "seed=3"])
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert from_yaml(spec, tmp_path / "config.yaml") == config
    assert to_dict(config)["tracking"]["tags"] == ["a", "b: c"]


def test_override_keeps_the_rest(spec: MethodSpec) -> None:
    config = compose(spec, "check", overrides=["seed=5"])
    changed = override(config, ["trainer.devices=2"])
    assert changed.seed == 5
    assert changed.batch_size == 4
    assert changed.trainer.devices == 2
    assert config.trainer.devices == 1


def test_keys_are_dotted(spec: MethodSpec) -> None:
    keys = keys_of(type(compose(spec)))
    assert {"seed", "trainer.devices", "losses.depth"} <= set(keys)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("sede=1", ["unknown key 'sede'", "did you mean 'seed'?"]),
        ("trainer.devicez=1", ["unknown key 'trainer.devicez'", "'trainer.devices'"]),
        ("losses.dept=1", ["unknown key 'losses.dept'", "'losses.depth'"]),
        ("seed=one", ["seed=one: expected a whole number"]),
        ("seed=1.5", ["seed=1.5: expected a whole number"]),
        ("seed=", ["seed=: expected a whole number"]),
        ("seed=-1", ["seed=-1: expected 0 or more"]),
        ("seed=99999999999", ["seed=99999999999", "below 4294967296"]),
        ("seed.x=1", ["seed.x=1: seed: expected a whole number"]),
        ("learning_rate=fast", ["learning_rate=fast: expected a number"]),
        ("learning_rate=inf", ["learning_rate=inf: expected a finite number"]),
        ("losses.depth=nan", ["losses.depth=nan: expected a finite number"]),
        ("losses.depth=-.inf", ["losses.depth=-inf: expected a finite number"]),
        ("depth_steps=99999999999", ["depth_steps=99999999999: expected a number below 429496729"]),
        ("depth_steps=-99999999999", ["depth_steps=-99999999999: expected a number above -42949"]),
        ("trainer.deterministic=maybe", ["trainer.deterministic=maybe: expected true or false"]),
        ("trainer.accelerator=", ["trainer.accelerator='': expected auto, cpu, gpu"]),
        ("losses=3", ["losses=3: expected losses.colour=... or losses.depth=..."]),
        ("losses={depth: a}", ["losses.depth: expected a number"]),
        ("tracking.tags=3", ["tracking.tags=3: expected a list such as [a,b], each text"]),
        ("tracking.tags.x=3", ["tracking.tags"]),
        ("method=toy", ["method=toy: expected --method"]),
        ("preset=check", ["preset=check: expected --preset"]),
        ("trainer.threads=-1", ["trainer.threads=-1: expected a number from 0 to 1024"]),
        ("seed=" + "9" * 5000, ["seed=999", "expected a whole number"]),
        ("seed=[", ["seed=[: expected a whole number"]),
        ("seed=${nowhere}", ["seed=${nowhere}: expected a whole number"]),
        ("seed=0x10", ["seed=0x10: expected a whole number"]),
        ("seed=1_000", ["seed=1_000: expected a whole number"]),
        ("seed=1:30", ["seed=1:30: expected a whole number"]),
        ("seed=٣", ["seed=٣: expected a whole number"]),
        ("learning_rate=1:30.5", ["learning_rate=1:30.5: expected a number"]),
        ("learning_rate=1_0.5", ["learning_rate=1_0.5: expected a number"]),
        ("trainer.deterministic=on", ["trainer.deterministic=on: expected true or false"]),
        ("tracking.tags=[a", ["tracking.tags=[a: not valid YAML"]),
        (
            "tracking.tags=[[a,b]]",
            ["tracking.tags=[[a,b]]: expected a list such as [a,b], each te"],
        ),
        ("tracking.tags=[&x a,*x]", ["not valid YAML for a config (an alias, *x)"]),
        ("losses=!!python/tuple [1]", ["not valid YAML for a config (a tag, tag:yaml.org,2002:py"]),
        ("losses={depth: 1, depth: 2}", ["not valid YAML for a config ('depth' given twice)"]),
        (
            "tracking.tags=" + "[" * 50_000,
            ["not valid YAML for a config (nested more than 24 deep"],
        ),
        ("tracking.tags=" + "{a: " * 50_000, ["not valid YAML for a config (nested more than 24"]),
        ("a" + ".b" * 50_000 + "=1", ["unknown key 'a'", "lists all keys"]),
        ("losses" + ".depth" * 50_000 + "=1", ["losses.depth: expected a number"]),
        ("seed", ["'seed'", "expected key=value"]),
        ("=1", ["'=1'", "expected key=value"]),
        ("trainer.precision=16-mixd", ["trainer.precision='16-mixd'", "did you mean '16-mixed'?"]),
        ("trainer.devices=0", ["trainer.devices=0", "from 1 to 1024, or -1"]),
        ("trainer.log_every=0", ["trainer.log_every=0", "above 0"]),
        (
            "trainer.checkpoint_minutes=nan",
            ["trainer.checkpoint_minutes=nan: expected a finite number"],
        ),
        ("batch_size=-1", ["batch_size=-1", "above 0"]),
    ],
)
def test_wrong_override_is_one_clear_line(spec: MethodSpec, text: str, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        compose(spec, overrides=[text])
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ["No such file"]),
        (b"\xff\xfe\x00", ["not a text file"]),
        (b"- a\n- b\n", ["expected YAML of the form 'key: value'"]),
        (b"just words", ["expected YAML of the form 'key: value'"]),
        (b"seed: 1\n  bad: [", ["not valid YAML"]),
        (b"sede: 1\n", ["unknown key 'sede'", "'seed'"]),
        (b"seed: x\n", ["seed: expected a whole number"]),
        (b"tracking: {tags: {a: b}}\n", ["tracking.tags: expected a list such as [a,b]"]),
        (b"losses: 3\n", ["losses: expected losses.colour"]),
        (b"losses: [1]\n", ["losses: expected losses.colour"]),
        (b"losses: {depth: x}\n", ["losses.depth: expected a number"]),
        (b"method: gan2shape\n", ["a config of method 'gan2shape', expected 'toy'"]),
        (b"preset: disks\n", ["unknown preset of method 'toy' 'disks'", "'discs'"]),
        (b"!!python/object/apply:os.getcwd []\n", ["not valid YAML"]),
        (b"losses: 3\n", ["losses: expected losses.colour"]),
        (b"trainer: cpu\n", ["trainer: expected trainer.accelerator"]),
        (b"tracking: {tags: [[a], [b]]}\n", ["tracking.tags: expected a list such as [a,b]"]),
        (b"seed: {a: 1}\n", ["seed: expected a whole number"]),
        (b"seed:\n", ["seed: expected a whole number"]),
        (b"[1]: 2\n", ["not valid YAML for a config (a key that is not text)"]),
        (b"seed: 1\nseed: 2\n", ["not valid YAML for a config ('seed' given twice)"]),
        (b"seed: 1\n---\nseed: 2\n", ["not valid YAML for a config (a second document)"]),
        (b"a: &a [x]\nb: [*a, *a]\n", ["not valid YAML for a config (an alias, *a)"]),
        (b"tracking:" + b"\n " * 20 + b"{a: " * 90_000, ["nested more than 24 deep"]),
        (b"- " * 90_000, ["nested more than 24 deep"]),
        (b"#" * (2**20 + 1), ["1048577 bytes; expected at most 1048576"]),
    ],
)
def test_wrong_file_is_one_clear_line(
    spec: MethodSpec, tmp_path: Path, content: bytes | None, parts: list[str]
) -> None:
    file = tmp_path / "mine.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        compose(spec, file=file)
    message = str(caught.value)
    assert str(file) in message
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    "text",
    ["2024_11_26", "on", "null", "~x", "010", "1:30", "1e3", "a: b: c", "my photos #1", " [x", "{",
     "!a", "*a", "&a", "- b", "${seed}", "\\${x}", "%", "@", "`", "'", "a'b", '"', "\udcff", ""],
)  # fmt: skip
def test_text_is_taken_as_it_is(spec: MethodSpec, tmp_path: Path, text: str) -> None:
    config = compose(spec, overrides=[f"tracking.group={text}"])
    assert config.tracking.group == text
    (tmp_path / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    assert from_yaml(spec, tmp_path / "config.yaml") == config


def test_quotes_around_a_whole_text_are_left_out(spec: MethodSpec) -> None:
    quoted = ("tracking.group='a #b'", 'tracking.project=""', "tracking.tags=['1', 010, on]")
    tracking = compose(spec, overrides=quoted).tracking
    assert (tracking.group, tracking.project, tracking.tags) == ("a #b", "", ["1", "010", "on"])


def test_numbers_are_decimal_in_commands_and_files(spec: MethodSpec, tmp_path: Path) -> None:
    config = compose(spec, overrides=["seed=010", "learning_rate=1e-3", "losses.depth=.5"])
    assert (config.seed, config.learning_rate, config.losses.depth) == (10, 1e-3, 0.5)
    file = tmp_path / "mine.yaml"
    file.write_bytes(
        b"\xef\xbb\xbfseed: 010\ntracking:\n  group: 2024_11_26\n  tags: [on, 1e3, 1:30]\n"
    )
    config = compose(spec, file=file)
    assert (config.seed, config.tracking.group) == (10, "2024_11_26")
    assert config.tracking.tags == ["on", "1e3", "1:30"]


def test_a_file_may_name_the_preset(spec: MethodSpec, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("method: toy\npreset: check\nseed: 3\n")
    config = compose(spec, file=file)
    assert (config.preset, config.batch_size, config.seed) == ("check", 4, 3)
    assert compose(spec, "check", file) == config
    with pytest.raises(UserError, match=r"--config .*mine.yaml: a config of preset 'check', exp"):
        compose(spec, "discs", file)
    file.write_text("preset: ''\n")
    assert compose(spec, file=file).preset == "discs"


def test_files_that_would_block_or_never_end(spec: MethodSpec, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(UserError, match=rf"--config {path}: is a .*; expected a readable YAML"):
            compose(spec, file=path)


def test_unknown_preset(spec: MethodSpec) -> None:
    with pytest.raises(UserError, match=r"unknown preset of method 'toy' 'disks'.*'discs'"):
        compose(spec, "disks")
