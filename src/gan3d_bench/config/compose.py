"""Schema <- preset <- user file <- ``key=value``, merged and strict at every step."""

import dataclasses
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args, get_origin

from omegaconf import Container, DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
)
from yaml import YAMLError

from gan3d_bench.config.fields import WORDS, declared, keys_of, type_words
from gan3d_bench.config.run import RunConfig
from gan3d_bench.errors import UserError, nearest, unknown_name
from gan3d_bench.spec import MethodSpec, load

CHOSEN = {"method": "--method", "preset": "--preset"}  # key -> the option that sets it


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
    merged = _with_preset(spec, preset)
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


def preset_values(spec: MethodSpec, preset: str) -> dict[str, Any]:
    """Return a preset's values of all keys as nested dictionaries, "???" where there is none.

    They need not be valid: some presets ask for keys that only a user can give.

    Raises:
        UserError: unknown preset, or one that does not fit the method's config.
    """
    values = OmegaConf.to_container(_with_preset(spec, preset), enum_to_str=True)
    assert isinstance(values, dict)
    return {str(name): value for name, value in values.items()}


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


def _with_preset(spec: MethodSpec, preset: str) -> DictConfig:
    text = preset_text(spec, preset)
    merged = _merge(_schema(spec), _parse(text, preset), f"preset {preset}")
    merged.preset = preset
    return merged


def _schema(spec: MethodSpec) -> DictConfig:
    schema = OmegaConf.structured(load(spec.config))
    schema.method = spec.name
    return schema


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
                f"`fit --method {base.method or '...'} --keys` lists all keys"
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


def _expected(schema: Any, wrong: str) -> str:
    """Return in words what the value of the key `wrong`, or what holds it, must be."""
    known = {item.name: item for item in declared(schema)}
    name = wrong.partition("[")[0]
    while name and name not in known:
        name = name.rpartition(".")[0]
    if not name:
        return "YAML of the form 'key: value'"
    kind, limits = known[name].type, known[name].key.limits
    if known[name].section:
        keys = [f"{name}.{item.name}=..." for item in dataclasses.fields(kind)]
        return " or ".join(keys[:3]) + (" and so on" if len(keys) > 3 else "")
    if get_origin(kind) is list:
        return f"a list such as [a,b], each {WORDS.get(get_args(kind)[0], 'a value')}"
    if get_origin(kind) is dict:
        return "a mapping such as {a: b}"
    text = WORDS.get(kind, type_words(kind))
    if limits:
        return f"{text}, {limits}"
    return text + (" ('\"\"' for none)" if kind is str else "")


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
