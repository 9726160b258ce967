"""Schema <- preset <- user file <- ``key=value``, merged and strict at every step."""

import dataclasses
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml

from gan3d_bench.config.fields import WORDS, declared, keys_of, type_words
from gan3d_bench.config.paths import with_whole_paths
from gan3d_bench.config.reading import Plain, parse, parse_mapping, read_mapping
from gan3d_bench.config.run import RunConfig
from gan3d_bench.config.values import (
    MISSING,
    Misfit,
    UnknownKey,
    is_scalar,
    plain,
    type_at,
    updated,
)
from gan3d_bench.errors import UserError, nearest, unknown_name
from gan3d_bench.spec import MethodSpec, load

CHOSEN = {"method": "--method", "preset": "--preset"}  # key -> the option that sets it
MOST_DOTS = 16  # in a key
SHOWN = 100  # characters of a key or value that errors repeat
QUOTES = ("'", '"')


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

    A preset that the file names is the run's. Paths are made whole: ``~`` is the home folder, and
    what exists is named from the root on.

    Raises:
        UserError: unknown preset or key, wrong type, unreadable file, malformed override, a file
            of another method or preset, or a value the config's `validate` rejects.
    """
    given = {} if file is None else read_mapping(file, "--config ")
    preset = _agreed(spec, preset, file, given)
    config = _with_preset(spec, preset)
    config = _merged(config, given, str(file))
    config = _overridden(config, overrides)
    config = dataclasses.replace(config, method=spec.name, preset=preset)
    return _valid(with_whole_paths(config))


def preset_values(spec: MethodSpec, preset: str) -> dict[str, Any]:
    """Return a preset's values of all keys as nested dictionaries, "???" where there is none.

    They need not be valid: some presets ask for keys that only a user can give.

    Raises:
        UserError: unknown preset, or one that does not fit the method's config.
    """
    return plain(_with_preset(spec, preset))


def override(config: RunConfig, overrides: Iterable[str]) -> RunConfig:
    """Return `config` with ``key=value`` overrides, validated.

    Raises:
        UserError: as `compose`.
    """
    return _valid(with_whole_paths(_overridden(config, overrides)))


def to_yaml(config: RunConfig) -> str:
    """Return the resolved config as YAML; `from_yaml` reads it back to an equal object."""
    return yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True, width=10_000)


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Return the resolved config as plain nested dictionaries."""
    return dataclasses.asdict(config)


def from_yaml(spec: MethodSpec, path: Path) -> RunConfig:
    """Read the config saved with a run.

    Raises:
        UserError: the file is missing, damaged, or of another version of the method.
    """
    config = _merged(_schema(spec), read_mapping(path), str(path))
    try:
        return _valid(config)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _agreed(
    spec: MethodSpec, preset: str | None, file: Path | None, given: Mapping[str, Any]
) -> str:
    """The preset that option and file name, or the default one."""
    for key, option in (("method", spec.name), ("preset", preset)):
        other = given.get(key) or option
        if option is not None and other != option:
            raise UserError(
                f"--config {file}: a config of {key} '{_short(other)}', expected '{option}'"
            )
    if preset is not None:
        return preset
    named = str(given.get("preset") or "")
    if named:
        try:
            require_preset(spec, named)
        except UserError as error:
            raise UserError(f"--config {file}: {error}") from error
    return named or spec.default_preset


def _with_preset(spec: MethodSpec, preset: str) -> RunConfig:
    given = parse_mapping(preset_text(spec, preset), preset)
    config = _merged(_schema(spec), given, f"preset {preset}")
    return dataclasses.replace(config, preset=preset)


def _schema(spec: MethodSpec) -> RunConfig:
    return dataclasses.replace(load(spec.config)(), method=spec.name)


def _overridden(config: RunConfig, overrides: Iterable[str]) -> RunConfig:
    for text in overrides:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise UserError(f"'{_short(text)}': expected key=value, such as seed=1")
        if key in CHOSEN:
            raise UserError(f"{_short(text)}: expected {CHOSEN[key]} to choose the {key}")
        given: Any = _value(value, type_at(type(config), key), _short(text))
        for name in reversed(key.split(".", MOST_DOTS)):
            given = {name: given}
        config = _merged(config, given, _short(text), key)
    return config


def _value(text: str, kind: Any, origin: str) -> Any:
    """What stands behind ``key=``: one word or text as it is, or YAML."""
    if kind is None or not is_scalar(kind):
        return parse(text, origin)
    quoted = len(text) > 1 and text[0] in QUOTES and text[0] == text[-1]
    return text[1:-1] if quoted else Plain(text)


def _merged(config: RunConfig, given: Mapping[str, Any], origin: str, key: str = "") -> RunConfig:
    """Merge `given`, which came from `origin`, into `config`; `key` is the one key it sets."""
    try:
        return updated(config, given)
    except UnknownKey as error:
        near = nearest(error.key, keys_of(type(config))) if len(error.key) <= SHOWN else ""
        raise UserError(
            f"{origin}: unknown key '{_short(error.key)}'{near}; "
            f"`fit --method {config.method or '...'} --keys` lists all keys"
        ) from error
    except Misfit as error:
        where = "" if error.key == key else f"{_short(error.key)}: "
        raise UserError(
            f"{origin}: {where}expected {_expected(type(config), error.key)}"
        ) from error


def _expected(schema: Any, wrong: str) -> str:
    """Return in words what the value of the key `wrong`, or what holds it, must be."""
    known = {item.name: item for item in declared(schema)}
    name = wrong
    while name and name not in known:
        name = name.rpartition(".")[0]
    if not name:
        return "YAML of the form 'key: value'"
    kind, limits = known[name].type, known[name].key.limits
    if known[name].section:
        keys = [f"{name}.{item.name}=..." for item in dataclasses.fields(kind)]
        return " or ".join(keys[:3]) + (" and so on" if len(keys) > 3 else "")
    if get_origin(kind) is list:
        return f"a list such as {_example(kind)}"
    if get_origin(kind) is dict:
        return "a mapping such as {a: b}"
    text = WORDS.get(kind, type_words(kind))
    if limits:
        return f"{text}, {limits}"
    return text + (" ('' for none)" if kind is str else "")


def _example(kind: Any) -> str:
    (inner,) = get_args(kind) or (Any,)
    if get_origin(inner) is list:
        return f"[[a,b],[c,d]], each a {type_words(inner)}"
    return f"[a,b], each {WORDS.get(inner, 'a value')}"


def _valid(config: RunConfig) -> RunConfig:
    missing = [
        item.name
        for item in declared(type(config))
        if not item.section and item.of(config) == MISSING
    ]
    if missing:
        raise UserError(f"{missing[0]} has no value; give it as {missing[0]}=...")
    config.validate()
    return config


def _short(text: object) -> str:
    text = str(text)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
