"""The light description of the supervised depth network."""

from collections.abc import Mapping
from typing import Any

from gan3d_bench.spec import RECONSTRUCT, MethodSpec, Reported

ROW = "Supervised"
# not identity-rotation: its scenes have no front view of their own
TABLES = ("shape", "novel-view", "intrinsics")
_SOURCE = "GAN2Shape (Pan et al., 2021), Table 1, BFM"


def rows(table: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Rows of `table` that a run fills; the tables' images are heads of 64 pixels a side."""
    fits = config["image_size"] == 64 and config["data"].get("name", "heads") == "heads"
    return {ROW: RECONSTRUCT} if table in TABLES and fits else {}


SPEC = MethodSpec(
    name="supervised",
    title="Depth network trained on ground truth, the upper bound of table shape",
    paper="baseline of Wu et al., Unsup3D, CVPR 2020, and of Pan et al., GAN2Shape, ICLR 2021",
    module="gan3d_bench.methods.supervised.method:Supervised",
    config="gan3d_bench.methods.supervised.config:SupervisedConfig",
    presets={
        "heads-64": "synthetic heads at 64 pixels; minutes on two CPU cores",
        "check": "a few steps of a tiny network, for `gan3d-bench check`",
    },
    default_preset="heads-64",
    scenes={RECONSTRUCT: frozenset({"depth", "normal", "mesh"})},
    status="baseline of our own: the papers give its numbers but not its code",
    reported=(
        Reported("shape", ROW, "side", 0.419, _SOURCE, count=500),
        Reported("shape", ROW, "mad", 10.83, _SOURCE, count=500),
    ),
    rows=rows,
)
