"""A run's keys explained: YAML with comments, and the list of a method's keys."""

from typing import Any

import yaml

from gan3d_bench.config.compose import CHOSEN, preset_values
from gan3d_bench.config.fields import Declared, declared, type_words
from gan3d_bench.config.run import RunConfig
from gan3d_bench.config.values import MISSING, plain
from gan3d_bench.spec import MethodSpec, load

COLUMNS = ("key", "type", "default", "range", "unit", "help")
COMMENT = 36  # column at which comments start, where the value leaves room


def explained_yaml(config: RunConfig) -> str:
    """Return the resolved config as YAML whose comments say what each key is and may be.

    A value that differs from the method's default shows that default, too. ``--config`` reads the
    text back to an equal config.
    """
    defaults, values = plain(type(config)()), plain(config)
    lines = []
    for item in declared(type(config)):
        *parents, name = item.name.split(".")
        value = _at(values, item.name)
        entry = f"{'  ' * len(parents)}{name}:" + ("" if item.section else f" {flow(value)}")
        comment = _comment(item, value, _at(defaults, item.name))
        lines.append(f"{entry:<{COMMENT}}  # {comment}" if comment else entry)
    return "\n".join(lines) + "\n"


def key_rows(spec: MethodSpec, preset: str | None = None) -> list[tuple[str, ...]]:
    """Return a row of `COLUMNS` for each key of a method; the defaults are the preset's.

    Raises:
        UserError: the method has no such preset.
    """
    values = preset_values(spec, spec.default_preset if preset is None else preset)
    rows = []
    for item in declared(load(spec.config)):
        key = item.key
        if item.section:
            rows.append((item.name, "section", "", "", "", key.help))
        else:
            value = _at(values, item.name)
            default = "" if value == MISSING else flow(value)
            rows.append((item.name, type_words(item.type), default, item.range, key.unit, key.help))
    return rows


def flow(value: Any) -> str:
    """Return a value as YAML in one line."""
    value = plain(value)
    bare, quoted = (
        yaml.safe_dump(value, default_flow_style=True, default_style=style, width=float("inf"))
        .removesuffix("...\n")
        .rstrip("\n")
        for style in (None, '"')
    )
    return quoted if "\n" in bare else bare  # a line break in text


def _comment(item: Declared, value: Any, default: Any) -> str:
    key = item.key
    limits = "; ".join(filter(None, (key.unit, item.range)))
    parts = [key.help, f"[{limits}]" if limits else ""]
    if not item.section and value != default and default != MISSING and item.name not in CHOSEN:
        parts.append(f"(default {flow(default)})")
    return " ".join(filter(None, parts))


def _at(values: Any, name: str) -> Any:
    for part in name.split("."):
        values = values[part]
    return values
