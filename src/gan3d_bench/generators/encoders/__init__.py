"""Encoders: pictures -> stylecodes of a frozen generator, refined step by step (ReStyle)."""

from gan3d_bench.generators.encoders.ranger import Ranger
from gan3d_bench.generators.encoders.style_encoders import (
    BackboneEncoder,
    GradualStyleEncoder,
    MapToStyle,
    ProgressiveBackboneEncoder,
)

__all__ = [
    "BackboneEncoder",
    "GradualStyleEncoder",
    "MapToStyle",
    "ProgressiveBackboneEncoder",
    "Ranger",
]
