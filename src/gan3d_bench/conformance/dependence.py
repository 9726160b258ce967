"""Whether what a method gives depends on what it is given.

A method that finds the mean shape, the same for everybody, passes every other check and scores well
in every table of shapes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gan3d_bench.conformance.scenes import Failed, render, scenes_of
from gan3d_bench.errors import UserError
from gan3d_bench.methods.base import Method
from gan3d_bench.metrics.individuality import individual_ratio
from gan3d_bench.scenes.base import Scene
from gan3d_bench.spec import SAMPLE, MethodSpec
from gan3d_bench.training.callbacks import evaluation_mode

SUBJECTS = 4
LEAST_RATIO = 0.01
"""Of spread over subjects to spread over pixels; that of true heads' depth is about 0.3."""


def dependence(method: Method, spec: MethodSpec) -> dict[str, float]:
    """How much the outputs of a method differ from subject to subject.

    Of scenes with depth the depth maps are compared, over the pixels where all subjects are seen,
    of others the pictures, all at the canonical view. Subjects are the images that its preview
    shows and samples; and, if it takes any image, one of these, a grey one and noise. Of a method
    without scenes the pictures of its preview are compared, each with what it is on average.

    Returns:
        what was given -> spread over subjects by spread over pixels, see `individual_ratio`.
    """
    with evaluation_mode(method):
        found = {
            kind: individual_ratio(_answers(scene))
            for kind, scene in scenes_of(method, spec, SUBJECTS).items()
            if scene.batch_size > 1
        }
        images = method.preview().images
        if not spec.scenes:
            shown = {name: picture for name, picture in images.items() if name != "input"}
            return {name: float(picture.std()) for name, picture in shown.items()}
        if "input" in images and method.items() is None:
            strange = _with_grey_and_noise(images["input"])
            for kind in spec.scenes:
                if kind == SAMPLE:
                    continue
                try:
                    scene = method.row_scene(kind, strange)
                except UserError:  # it takes faces only
                    continue
                found[f"{kind} of grey and noise"] = individual_ratio(_answers(scene))
        return found


def require_dependence(ratios: Mapping[str, float]) -> str:
    """Fail a method that gives every subject nearly the same.

    Args:
        ratios: of `dependence`.

    Returns:
        a remark with the ratios.

    Raises:
        Failed: names what does not depend on its input.
    """
    for kind, ratio in ratios.items():
        if not ratio >= LEAST_RATIO:  # NaN neither
            raise Failed(
                f"the {kind} is the same whatever the input: it varies {ratio:.1g} as much over "
                f"subjects as over pixels, expected at least {LEAST_RATIO:g}"
            )
    return ", ".join(f"{kind} {ratio:.2g}" for kind, ratio in ratios.items())


def _answers(scene: Scene) -> Tensor:
    """What subjects are compared by, (B, ...)."""
    rendering = render(scene, 0.0)
    if rendering.depth is None:
        return rendering.rgb
    common = (rendering.mask > 0.5).all(0)
    return rendering.depth[:, common] if common.any() else rendering.depth


def _with_grey_and_noise(images: Tensor) -> Tensor:
    """The first of images (B, 3, S, S), a mid-grey one and one of uniform noise: (3, 3, S, S)."""
    noise = torch.rand(images[:1].shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return torch.cat((images[:1], torch.zeros_like(images[:1]), noise.to(images)))
