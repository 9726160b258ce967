"""What the `stylegan-r` method is. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from gan3d_bench.spec import RECONSTRUCT, SAMPLE, Capability, MethodSpec

NEURAL, MIXING = "neural", "mixing"
"""Kinds of scene: what is seen in pictures, drawn by StyleGAN-R, or by the teacher's mixing."""
CAPABILITIES: frozenset[Capability] = frozenset({"depth", "normal", "mesh"})
ROW = "StyleGAN-R"
_ABLATIONS = {
    "multi_view": f"{ROW} without multi-view consistency",
    "perceptual": f"{ROW} without perceptual loss",
    "start": f"{ROW} from exact cameras",
}
_CAMERAS = {"": "12 view bins against the truth", "start": "Exact cameras, trained on"}


def table_rows(table: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Rows of a table that a run with `config` fills: on cars of 64 pixels, once trained."""
    losses = config["losses"]
    changed = {
        "multi_view": not losses["multi_view"],
        "perceptual": not losses["perceptual"],
        "start": config["cameras"]["start"] == "latents",
    }
    found = [name for name, is_so in changed.items() if is_so]
    whole = not config["image_rows"]
    if (config["views"], config["image_size"]) != ("cars", 64) or not whole or len(found) > 1:
        return {}
    one = found[0] if found else ""
    own = {_ABLATIONS.get(one, ROW): RECONSTRUCT}
    neural = {} if found else {f"{ROW}, neural renderer": NEURAL}
    mixing = {} if found else {"Style mixing": MIXING}
    return {
        "iou": own,
        "novel-view-cars": {**own, **neural, **mixing},
        "swap": {**own, **neural, **mixing},
        "camera-init": {_CAMERAS[one]: RECONSTRUCT} if one in _CAMERAS else {},
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
        "cars-64": "the suite's cars at 64 pixels, two CPU cores",
        "heads-360-64": "heads seen from all round at 64 pixels, likewise; needs teacher=FOLDER",
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
        "cars-64: the assets cars and cars-teacher-64",
        "heads-360-64: teacher=FOLDER, made by method stylegan2, preset of the same name; the "
        "asset heads",
        "paper-*: teacher=FILE (StyleGAN2), views=FILE by `gan3d-bench annotate-views`, masks=FILE "
        "(torchvision's Mask R-CNN), vgg16-lpips",
    ),
    assets=("cars", "cars-teacher-64", "heads"),
    rows=table_rows,
    status="built from the paper's text, without code; not measured on cars yet; see README.md",
)
