"""Configs: merging, strictness, and errors that say what was expected."""

from __future__ import annotations

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
        ("trainer.accelerator=", ["trainer.accelerator=: expected text"]),
        ("losses=3", ["losses=3: expected losses.colour=... or losses.depth=..."]),
        ("losses={depth: a}", ["losses.depth: expected a number"]),
        ("tracking.tags=3", ["tracking.tags=3: expected a list such as [a,b], each text"]),
        ("tracking.tags.x=3", ["tracking.tags"]),
        ("method=toy", ["method=toy: expected --method"]),
        ("preset=check", ["preset=check: expected --preset"]),
        ("trainer.threads=-1", ["trainer.threads=-1: expected 0 or more"]),
        ("seed=" + "9" * 5000, ["not valid YAML"]),
        ("seed=[", ["not valid YAML"]),
        ("tracking.project=a: b: c", ["not valid YAML"]),
        ("seed=${nowhere}", ["seed", "nowhere"]),
        ("seed", ["'seed'", "expected key=value"]),
        ("=1", ["'=1'", "expected key=value"]),
        ("trainer.precision=16-mixd", ["trainer.precision='16-mixd'", "did you mean '16-mixed'?"]),
        ("trainer.devices=0", ["trainer.devices=0", "1 or more"]),
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
        (b"just words", ["unknown key 'just words'"]),
        (b"seed: 1\n  bad: [", ["not valid YAML"]),
        (b"sede: 1\n", ["unknown key 'sede'", "'seed'"]),
        (b"seed: x\n", ["seed: expected a whole number"]),
        (b"tracking: {tags: {a: b}}\n", ["tracking.tags: expected a list such as [a,b]"]),
        (b"losses: 3\n", ["losses: expected losses.colour"]),
        (b"losses: [1]\n", ["losses: expected losses.colour"]),
        (b"losses: {depth: x}\n", ["losses.depth: expected a number"]),
        (b"method: gan2shape\n", ["a config of method 'gan2shape', expected 'toy'"]),
        (b"!!python/object/apply:os.getcwd []\n", ["not valid YAML"]),
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


def test_unknown_preset(spec: MethodSpec) -> None:
    with pytest.raises(UserError, match=r"unknown preset of method 'toy' 'disks'.*'discs'"):
        compose(spec, "disks")
