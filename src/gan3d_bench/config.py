"""Typed run configuration: schema <- preset <- user file <- ``key=value``, strict at every step.

A method's config is a dataclass that extends `RunConfig`; its fields are the run's keys
(``instances=1``, ``losses.flip=0``). Wrong keys and types are one-line `UserError`s with the
nearest valid name. Imports no torch.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import Container, DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
)
from yaml import YAMLError

from gan3d_bench.errors import UserError, nearest, unknown_name
from gan3d_bench.spec import MethodSpec, load


@dataclass
class TrainerConfig:
    """Where and how a run trains. Passed to Lightning's Trainer."""

    accelerator: str = "auto"
    devices: int = 1  # processes on this node; -1: all GPUs
    num_nodes: int = 1
    precision: str = "auto"  # auto (what the machine is fast in), 32-true, bf16-mixed or 16-mixed
    checkpoint_minutes: float = 2.0  # time between two checkpoints
    log_every: int = 10  # steps between two rows of scalars
    preview_every: int = 0  # steps between previews; 0: at ends of phases, -1: at the end only
    deterministic: bool = False
    threads: int = 0  # CPU threads; 0: PyTorch's choice


@dataclass
class TrackingConfig:
    """What is logged where. The same files always lie in the run folder."""

    wandb: bool = False
    project: str = "gan3d-bench"
    group: str = ""  # in W&B; "": <method>-<preset>
    tags: list[str] = field(default_factory=list)


@dataclass
class RunConfig:
    """Keys every run has. `method` and `preset` are filled in by `compose`."""

    method: str = ""
    preset: str = ""
    seed: int = 0
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def validate(self) -> None:
        """Check values against each other; overridden by methods.

        Raises:
            UserError: a value is out of range; names key, value and range.
        """
        _require_numbers("", to_dict(self))
        require_least("seed", self.seed, 0)
        require_choice("trainer.precision", self.trainer.precision, PRECISIONS)
        require_positive("trainer.checkpoint_minutes", self.trainer.checkpoint_minutes)
        require_positive("trainer.log_every", self.trainer.log_every)
        require_positive("trainer.num_nodes", self.trainer.num_nodes)
        require_least("trainer.threads", self.trainer.threads, 0)
        if self.trainer.devices < 1 and self.trainer.devices != -1:
            raise UserError(f"trainer.devices={self.trainer.devices}: expected 1 or more, or -1")
        if self.trainer.preview_every < -1:
            raise UserError(
                f"trainer.preview_every={self.trainer.preview_every}: expected -1, 0 or more"
            )


PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
SEEDS = 2**32  # NumPy takes no more
LARGEST = SEEDS  # of whole numbers
IMAGE_SIZES = (16, 1024)  # a side's least and most
CHOSEN = {"method": "--method", "preset": "--preset"}  # key -> the option that sets it
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def require_choice(key: str, value: str, choices: Iterable[str]) -> None:
    """Raise a `UserError` unless `value` is among `choices`."""
    known = list(choices)
    if value not in known:
        raise UserError(
            f"{key}={value!r}: expected one of {', '.join(known)}{nearest(str(value), known)}"
        )


def require_positive(key: str, value: float) -> None:
    """Raise a `UserError` unless `value` > 0."""
    if not value > 0:
        raise UserError(f"{key}={value!r}: expected a number above 0")


def require_least(key: str, value: float, least: float) -> None:
    """Raise a `UserError` unless `value` >= `least`."""
    if not value >= least:
        raise UserError(f"{key}={value!r}: expected {least} or more")


def require_most(key: str, value: float, most: float) -> None:
    """Raise a `UserError` unless `value` <= `most`."""
    if not value <= most:
        raise UserError(f"{key}={value!r}: expected at most {most}")


def require_side(key: str, value: int, least: int = IMAGE_SIZES[0]) -> None:
    """Raise a `UserError` unless `value` is a side of images the networks are made for."""
    if not least <= value <= IMAGE_SIZES[1] or value & (value - 1):
        raise UserError(f"{key}={value}: expected a power of two from {least} to {IMAGE_SIZES[1]}")


def _require_numbers(key: str, value: Any) -> None:
    """Raise a `UserError` for a NaN, an infinite or a huge number anywhere in `value`."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _require_numbers(f"{key}.{name}".lstrip("."), inner)
        return
    for number in _flat(value):
        if isinstance(number, float) and not math.isfinite(number):
            raise UserError(f"{key}={value}: expected a finite number")
        if isinstance(number, int) and not -LARGEST < number < LARGEST:
            side = f"below {LARGEST}" if number > 0 else f"above {-LARGEST}"
            raise UserError(f"{key}={value}: expected a number {side}")


def _flat(value: Any) -> list[Any]:
    return [x for item in value for x in _flat(item)] if isinstance(value, list) else [value]


def keys_of(schema: type, prefix: str = "") -> list[str]:
    """Return every dotted key of a config dataclass, nested ones included."""
    keys: list[str] = []
    types = get_type_hints(schema)
    for item in dataclasses.fields(schema):
        name = f"{prefix}{item.name}"
        keys.append(name)
        if dataclasses.is_dataclass(types[item.name]):
            keys += keys_of(types[item.name], f"{name}.")
    return keys


def require_preset(spec: MethodSpec, preset: str) -> None:
    """Raise a `UserError` unless the method has such a preset."""
    if preset not in spec.presets:
        raise unknown_name(f"preset of method '{spec.name}'", preset, spec.presets)


def preset_text(spec: MethodSpec, preset: str) -> str:
    """Return the YAML of a preset.

    Raises:
        UserError: the method has no such preset.
    """
    require_preset(spec, preset)
    package = spec.config.partition(":")[0].rpartition(".")[0]
    return (files(package) / "presets" / f"{preset}.yaml").read_text(encoding="utf-8")


def compose(
    spec: MethodSpec,
    preset: str | None = None,
    file: Path | None = None,
    overrides: Iterable[str] = (),
) -> RunConfig:
    """Merge schema, preset, user file and ``key=value`` overrides into the method's config object.

    Raises:
        UserError: unknown preset or key, wrong type, unreadable file, malformed override, or a
            value the config's `validate` rejects.
    """
    preset = spec.default_preset if preset is None else preset
    merged = _merge(_schema(spec), _parse(preset_text(spec, preset), preset), f"preset {preset}")
    if file is not None:
        given = _parse(_read(file, "--config "), str(file))
        if given.get("method", spec.name) not in ("", spec.name):
            raise UserError(
                f"--config {file}: a config of method '{given.method}', expected '{spec.name}'"
            )
        merged = _merge(merged, given, str(file))
    merged = _override(merged, overrides)
    merged.method, merged.preset = spec.name, preset
    return _to_object(merged)


def override(config: RunConfig, overrides: Iterable[str]) -> RunConfig:
    """Return `config` with ``key=value`` overrides, validated.

    Raises:
        UserError: as `compose`.
    """
    return _to_object(_override(OmegaConf.structured(config), overrides))


def to_yaml(config: RunConfig) -> str:
    """Return the resolved config as YAML; `from_yaml` reads it back to an equal object."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Return the resolved config as plain nested dictionaries."""
    return dataclasses.asdict(config)


def from_yaml(spec: MethodSpec, path: Path) -> RunConfig:
    """Read the config saved with a run.

    Raises:
        UserError: the file is missing, damaged, or of another version of the method.
    """
    merged = _merge(_schema(spec), _parse(_read(path), str(path)), str(path))
    try:
        return _to_object(merged)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _schema(spec: MethodSpec) -> DictConfig:
    return OmegaConf.structured(load(spec.config))


def _read(path: Path, prefix: str = "") -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise UserError(f"{prefix}{path}: {reason}; expected a readable YAML file") from error


def _parse(text: str, origin: str) -> DictConfig:
    try:
        parsed = OmegaConf.create(text)
    except (YAMLError, OmegaConfBaseException, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise UserError(f"{origin}: not valid YAML{where} ({_first_line(error)})") from error
    if not isinstance(parsed, DictConfig):
        raise UserError(f"{origin}: expected YAML of the form 'key: value'")
    return parsed


def _override(base: DictConfig, overrides: Iterable[str]) -> DictConfig:
    for text in overrides:
        key, separator, _ = text.partition("=")
        if not separator or not key:
            raise UserError(f"'{text}': expected key=value, such as seed=1")
        if key in CHOSEN:
            raise UserError(f"{text}: expected {CHOSEN[key]} to choose the {key}")
        try:
            update = OmegaConf.from_dotlist([text])
        except (YAMLError, OmegaConfBaseException, ValueError) as error:
            raise UserError(f"{text}: not valid YAML ({_first_line(error)})") from error
        base = _merge(base, update, text, key)
    return base


def _merge(base: DictConfig, update: DictConfig, origin: str, key: str = "") -> DictConfig:
    """Merge `update`, which came from `origin`, into `base`; `key` is the one key it sets."""
    try:
        merged = OmegaConf.merge(base, update)
        OmegaConf.resolve(merged)
    except (OmegaConfBaseException, TypeError) as error:
        wrong = str(getattr(error, "full_key", None) or key or _clash(base, update))
        schema = OmegaConf.get_type(base) or RunConfig
        if isinstance(error, ConfigKeyError | ConfigAttributeError):
            raise UserError(
                f"{origin}: unknown key '{wrong}'{nearest(wrong, keys_of(schema))}; "
                "`--print-config` prints all keys"
            ) from error
        where = "" if wrong == key else f"{wrong}: "
        if isinstance(error, InterpolationResolutionError):
            raise UserError(f"{origin}: {where}{_first_line(error)}") from error
        raise UserError(f"{origin}: {where}expected {_expected(schema, wrong)}") from error
    assert isinstance(merged, DictConfig)
    return merged


def _clash(base: Any, update: Any) -> str:
    """Return the key that is a mapping or list in `base` and something else in `update`."""
    for name in update:
        ours, theirs = (OmegaConf.select(side, str(name)) for side in (base, update))
        if isinstance(ours, DictConfig) and isinstance(theirs, DictConfig):
            inner = _clash(ours, theirs)
            if inner:
                return f"{name}.{inner}"
        elif isinstance(ours, Container) and type(ours) is not type(theirs):
            return str(name)
    return ""


def _expected(schema: Any, key: str) -> str:
    """Return in words what the value of `key` must be."""
    name = ""
    for part in re.split(r"[.\[]", key):
        if not dataclasses.is_dataclass(schema):
            break
        name = f"{name}.{part}".lstrip(".")
        schema = get_type_hints(schema)[part]
    if dataclasses.is_dataclass(schema):
        keys = [f"{name}.{item.name}=..." for item in dataclasses.fields(schema)]
        return " or ".join(keys[:3]) + (" and so on" if len(keys) > 3 else "")
    if get_origin(schema) is list:
        return f"a list such as [a,b], each {WORDS.get(get_args(schema)[0], 'a value')}"
    if get_origin(schema) is dict:
        return "a mapping such as {a: b}"
    return WORDS.get(schema, str(schema)) + (" ('\"\"' for none)" if schema is str else "")


def _to_object(merged: DictConfig) -> RunConfig:
    missing = sorted(OmegaConf.missing_keys(merged))
    if missing:
        raise UserError(f"{missing[0]} has no value; give it as {missing[0]}=...")
    config = OmegaConf.to_object(merged)
    assert isinstance(config, RunConfig), "a method's config extends RunConfig"
    config.validate()
    return config


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
