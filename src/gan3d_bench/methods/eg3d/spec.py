"""What the `eg3d` method is. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from gan3d_bench.spec import SAMPLE, MethodSpec

ROW = "EG3D"


def rows(table: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Rows of `table` that a run fills: of generators of heads at 64 pixels, as the preset has."""
    network = config["network"]
    heads = not config["data"]["path"] and network["super_resolution"] == "small-2x"
    return {ROW: SAMPLE} if table == "fid" and heads and network["volume_size"] >= 32 else {}


SPEC = MethodSpec(
    name="eg3d",
    title="EG3D: a generator of tri-planes, rendered as a volume",
    paper=(
        "Chan et al., Efficient Geometry-aware 3D Generative Adversarial Networks, CVPR 2022 "
        "(arXiv:2112.07945)"
    ),
    module="gan3d_bench.methods.eg3d.method:EG3D",
    config="gan3d_bench.methods.eg3d.config:EG3DTrainingConfig",
    presets={
        "heads-64": "synthetic heads from exact cameras on a CPU: regression, then adversarial",
        "heads-128": "the same at 128 pixels, on a GPU",
        "paper-ffhq-512": "the published recipe, pictures with cameras in data.path (days on GPUs)",
        "check": "seconds on a CPU; for `gan3d-bench check`",
    },
    default_preset="heads-64",
    scenes={SAMPLE: frozenset({"depth", "normal", "mesh"})},
    needs=(
        "paper-ffhq-512: data.path, a folder of square pictures of at least 512 pixels and EG3D's "
        "dataset.json with their cameras",
    ),
    assets=("heads", "alexnet-lpips"),
    status=(
        "networks and renderer match the released code; the training was not run at the paper's "
        "size"
    ),
    rows=rows,
)
