"""What the `stylegan-r` method is. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from gan3d_bench.spec import RECONSTRUCT, SAMPLE, Capability, MethodSpec

NEURAL, MIXING = "neural", "mixing"
"""Kinds of scene: what is seen in pictures, drawn by StyleGAN-R; swaps by style mixing alone."""
CAPABILITIES: frozenset[Capability] = frozenset({"depth", "normal", "mesh"})
ROW = "StyleGAN-R"
_NEURAL_ROW, _MIXING_ROW = f"{ROW}, neural renderer", "Style mixing"
_ABLATIONS = {
    "multi_view": f"{ROW} without multi-view consistency",
    "perceptual": f"{ROW} without perceptual loss",
}
_CAMERAS_ROW = "12 view bins against the truth"


def table_rows(table: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Rows of a table that a run with `config` fills: on cars of 64 pixels, once trained."""
    cars = config["views"] == "cars" and config["image_size"] == 64
    changed = [name for name in _ABLATIONS if not config["losses"][name]]
    if not cars or len(changed) > 1:
        return {}
    row = _ABLATIONS[changed[0]] if changed else ROW
    own = {row: RECONSTRUCT}
    drawn = {} if changed else {_NEURAL_ROW: NEURAL}
    mixed = {} if changed else {_MIXING_ROW: MIXING}
    return {
        "iou": own,
        "novel-view-cars": {**own, **drawn},
        "swap": {**own, **drawn, **mixed},
        "camera-init": {} if changed else {_CAMERAS_ROW: RECONSTRUCT},
    }.get(table, {})


SPEC = MethodSpec(
    name="stylegan-r",
    title="StyleGAN-R: StyleGAN2 as a multi-view camera, inverse graphics, a 3D neural renderer",
    paper=(
        "Zhang et al., Image GANs meet Differentiable Rendering for Inverse Graphics and "
        "Interpretable 3D Neural Rendering, ICLR 2021 (no official code)"
    ),
    module="gan3d_bench.methods.stylegan_r.method:StyleGANR",
    config="gan3d_bench.methods.stylegan_r.config:StyleGANRConfig",
    presets={
        "cars-64": "the suite's cars at 64 pixels, two CPU cores; needs teacher=FOLDER",
        "paper-car": "cars at 512 pixels, as published; on a GPU, needs teacher, views and masks",
        "paper-horse": "horses at 256 pixels, likewise",
        "paper-bird": "birds at 256 pixels, likewise",
        "check": "seconds on a CPU, an untrained teacher; for `gan3d-bench check`",
    },
    default_preset="cars-64",
    scenes={
        SAMPLE: CAPABILITIES,
        RECONSTRUCT: CAPABILITIES,
        NEURAL: frozenset(),
        MIXING: frozenset(),
    },
    needs=(
        "cars-64: teacher=FOLDER, made by method stylegan2, preset cars-64; the asset cars",
        "paper-*: teacher=FILE (StyleGAN2), views=FILE by `gan3d-bench annotate-views`, masks=FILE "
        "(torchvision's Mask R-CNN), vgg16-lpips",
    ),
    assets=("cars",),
    rows=table_rows,
    status="built from the paper's text, which has no code; see README.md",
)
