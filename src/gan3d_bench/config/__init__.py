"""Typed run configuration: schema <- preset <- user file <- ``key=value``, strict at every step.

A method's config is a dataclass that extends `RunConfig`; its fields are the run's keys
(``instances=1``, ``losses.flip=0``), each declared by `key` with its range, unit and one line of
help. Wrong keys, types and values are one-line `UserError`s. Imports no torch.
"""

from gan3d_bench.config.compose import (
    compose,
    from_yaml,
    override,
    preset_text,
    require_preset,
    to_dict,
    to_yaml,
)
from gan3d_bench.config.describe import explained_yaml, key_rows
from gan3d_bench.config.fields import (
    LEAST_SIDE,
    MOST_BATCH,
    MOST_CHANNELS,
    MOST_ITEMS,
    MOST_SIDE,
    MOST_STEPS,
    MOST_WEIGHT,
    SEEDS,
    Key,
    check_values,
    declared,
    factor_key,
    key,
    keys_of,
    rate_key,
    require,
    steps_key,
    weight_key,
)
from gan3d_bench.config.needs import BYTE, FLOAT, HALF, Need, pixels
from gan3d_bench.config.paths import paths_of
from gan3d_bench.config.reading import read_mapping
from gan3d_bench.config.run import RunConfig, TrackingConfig, TrainerConfig
from gan3d_bench.config.values import MISSING

__all__ = [
    "BYTE",
    "FLOAT",
    "HALF",
    "LEAST_SIDE",
    "MISSING",
    "MOST_BATCH",
    "MOST_CHANNELS",
    "MOST_ITEMS",
    "MOST_SIDE",
    "MOST_STEPS",
    "MOST_WEIGHT",
    "SEEDS",
    "Key",
    "Need",
    "RunConfig",
    "TrackingConfig",
    "TrainerConfig",
    "check_values",
    "compose",
    "declared",
    "explained_yaml",
    "factor_key",
    "from_yaml",
    "key",
    "key_rows",
    "keys_of",
    "override",
    "paths_of",
    "pixels",
    "preset_text",
    "rate_key",
    "read_mapping",
    "require",
    "require_preset",
    "steps_key",
    "to_dict",
    "to_yaml",
    "weight_key",
]
