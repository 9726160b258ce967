"""What the `stylegan2` method is. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from gan3d_bench.spec import SAMPLE, MethodSpec, Reported

ROW = "StyleGAN2 teacher"


def rows(table: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Rows of `table` that a run fills: of teachers fitted to the heads at 64 pixels."""
    if table != "fid":
        return {}
    fitted = config["regression"]["steps"] > 0 or config["adversarial"]["anchor"] > 0
    data = config["data"]
    heads = not data["path"] and data["name"] in ("", "heads")
    heads = heads and config["network"]["image_size"] == 64
    return {ROW: SAMPLE} if fitted and heads else {}


SPEC = MethodSpec(
    name="stylegan2",
    title="StyleGAN2 training: the teachers",
    paper=(
        "Karras et al., Analyzing and Improving the Image Quality of StyleGAN, CVPR 2020 "
        "(arXiv:1912.04958); augmentation: Karras et al. 2020 (arXiv:2006.06676)"
    ),
    module="gan3d_bench.methods.stylegan2.method:StyleGAN2",
    config="gan3d_bench.methods.stylegan2.config:StyleGAN2Config",
    presets={
        "heads-64": "the 64-pixel head teacher on a CPU: regression, then adversarial (hours)",
        "heads-64-gpu": "the 64-pixel head teacher on a GPU: the same with many more images",
        "heads-128": "a 128-pixel head teacher on a GPU",
        "cars-64": "a 64-pixel teacher of cars on a CPU; the view in the first style inputs",
        "heads-360-64": "the same of heads seen from all round",
        "check": "seconds on a CPU; for `gan3d-bench check`",
        "official-256": "the released recipe at 256 pixels, images in data.path (days on GPUs)",
    },
    default_preset="heads-64",
    scenes={SAMPLE: frozenset()},
    needs=("official-256: a folder of images in data.path",),
    assets=("heads", "alexnet-lpips"),
    status="networks match both official repositories; see README.md for the head teacher's FID",
    reported=(Reported("fid", ROW, "fid", 12.72, "LiftedGAN (Shi et al., 2021), Table 2, FFHQ"),),
    rows=rows,
)
