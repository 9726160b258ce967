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
    MOST_SIDE,
    SEEDS,
    Key,
    check_values,
    declared,
    key,
    keys_of,
    require,
)
from gan3d_bench.config.run import RunConfig, TrackingConfig, TrainerConfig

__all__ = [
    "LEAST_SIDE",
    "MOST_SIDE",
    "SEEDS",
    "Key",
    "RunConfig",
    "TrackingConfig",
    "TrainerConfig",
    "check_values",
    "compose",
    "declared",
    "explained_yaml",
    "from_yaml",
    "key",
    "key_rows",
    "keys_of",
    "override",
    "preset_text",
    "require",
    "require_preset",
    "to_dict",
    "to_yaml",
]
