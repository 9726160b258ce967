"""What the `wtri` method is. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from gan3d_bench.spec import RECONSTRUCT, Capability, MethodSpec

ROW = "W_tri"
WITHOUT_CYCLE = "W_tri without L_cyc"
STRONG = "W_tri with plane offsets"
BASELINE = "ReStyle on EG3D"
LINEAR_ROW = "Linear regression on EG3D"
LINEAR, PROJECTION, PIVOTAL = "linear", "projection", "pivotal"
"""Kinds of scenes beside the encoder's on the same EG3D: from pixels in closed form, and found by
optimisation."""
OPTIMISED = {"Projection on EG3D": PROJECTION, "PTI on EG3D": PIVOTAL}
INVERSION = "inversion"
TABLES = (INVERSION, "shape", "depth-pose", "identity-rotation", "novel-view", "intrinsics")


def table_rows(table: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Rows of a table that a run with `config` fills: on heads of 64 pixels, once trained."""
    heads = config["data"]["name"] == "heads" and config["image_size"] == 64
    heads = heads and not config["teacher"].startswith("random-")
    if not heads or table not in TABLES:
        return {}
    own = row(config)
    if own != ROW:
        return {own: RECONSTRUCT}
    # what needs no encoder is measured once, beside the method that the paper ends with
    linear = {LINEAR_ROW: LINEAR} if config["warmup"]["steps"] else {}
    return {own: RECONSTRUCT, **linear, **(OPTIMISED if table == INVERSION else {})}


def row(config: Mapping[str, Any]) -> str:
    """The row of the paper's Table 2 that a run is, or that of `STRONG`, which it does not have."""
    cycle = config["losses"]["cycle"] > 0
    if config["offsets"]["width"]:
        return STRONG if config["codes"] == "wtri" else f"{BASELINE} with plane offsets"
    if config["codes"] == "w+":
        return f"{BASELINE} with L_cyc" if cycle else BASELINE
    return ROW if cycle else WITHOUT_CYCLE


CAPABILITIES: frozenset[Capability] = frozenset({"depth", "normal", "mesh"})
SPEC = MethodSpec(
    name="wtri",
    title="W_tri: an encoder from one picture to EG3D's tri-planes, and ReStyle on EG3D",
    paper=(
        "Oh and Jo, From 2D Portraits to 3D Realities: Advancing GAN Inversion for Enhanced Image "
        "Synthesis (no official code)"
    ),
    module="gan3d_bench.methods.wtri.method:WTri",
    config="gan3d_bench.methods.wtri.config:WTriConfig",
    presets={
        "heads-64": "synthetic heads at 64 pixels, from the bundled EG3D of heads",
        "heads-64-strong": "as many steps, with what came after W_tri",
        "heads-128": "128 pixels, on a GPU; needs teacher=FOLDER, an EG3D of heads",
        "paper-ffhq-512": "FFHQ at 512 pixels on GPUs; needs teacher=FILE and data.path=FOLDER",
        "check": "seconds on a CPU, an untrained EG3D; for `gan3d-bench check`",
    },
    default_preset="heads-64",
    scenes={kind: CAPABILITIES for kind in (RECONSTRUCT, LINEAR, PROJECTION, PIVOTAL)},
    needs=(
        "heads-64: the assets heads, eg3d-heads-64, alexnet-lpips and idnet-heads-64",
        "others: teacher=FOLDER or FILE, an EG3D generator: a run of eg3d, or an official file",
        "paper-ffhq-512: data.path=FOLDER, EG3D's crops with dataset.json; arcface-mbf",
        "the similarity loss, off by default: similarity.weights=FILE (MoCo v2)",
    ),
    assets=("heads", "eg3d-heads-64", "alexnet-lpips", "idnet-heads-64"),
    status="built from the paper's text, which has no code and gives no weights; see README.md",
    rows=table_rows,
)
