"""How far the morphable model's fit, the reference for real faces, is off on rendered test heads.

    python tools/measure_morphable_fit.py --heads 64

Heads are drawn from the model's own prior, which flatters the fit: real faces are not.
"""

from __future__ import annotations

import argparse
import time

import torch

from gan3d_bench.datamodules.heads import head_latents, render_heads, sample_heads
from gan3d_bench.faces.landmark_sources import SOURCES, open_landmarks
from gan3d_bench.faces.morphable_fit import FaceFit, MorphableFit
from gan3d_bench.metrics.depth import NormalisedDepthError
from gan3d_bench.metrics.pose import PoseError

IMAGE_SIZE = 256
BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, default=64, help="test heads to fit")
    parser.add_argument("--landmarks", default="landmarks-106", choices=SOURCES)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    source = open_landmarks(arguments.landmarks)
    fit = MorphableFit(source=source, device=arguments.device)
    depth, pose, parts, seconds = NormalisedDepthError(), PoseError(), [], 0.0
    for start in range(0, arguments.heads, BATCH):
        numbers = range(start, min(start + BATCH, arguments.heads))
        heads = sample_heads(head_latents("test", numbers))
        with torch.inference_mode():
            truth = render_heads(heads, IMAGE_SIZE)
        started = time.perf_counter()
        fitted = fit(truth["image"].clone())
        seconds += time.perf_counter() - started
        drawn, found = fit.render(fitted, IMAGE_SIZE), fitted.found.cpu()
        depth.update(drawn.depth.cpu()[found], truth["depth"][found], drawn.mask.cpu()[found])
        pose.update(fitted.to("cpu")[found].view, heads.view[found])
        parts.append(fitted.to("cpu"))
    fits = FaceFit.join(parts)
    print(f"{fit.label} ({fit.fingerprint}): {int(fits.found.sum())} of {len(fits)} heads found")
    print("depth", *_words(depth.compute()))
    for name, error in pose.compute().items():
        print(name, *_words(error), "degrees")
    print(f"{seconds / len(fits):.2f} seconds a face")


def _words(estimate: dict[str, torch.Tensor]) -> tuple[str, str, str]:
    return f"{estimate['mean']:.3f}", "+-", f"{estimate['standard_error']:.3f}"


if __name__ == "__main__":
    main()
