"""How far the cameras that `gan3d-bench camera` finds are from the true ones, on rendered heads.

    python tools/measure_cameras.py OUT.json [--heads 32] [--landmarks landmarks-106]

Val heads at 256 pixels stand for photographs; landmarks are found in them by the networks. Said of
yaw, pitch, roll and of the angle between found and true positions as seen from the world's origin:
mean absolute error in degrees, and the mean of the signed one, which is a matter of convention
(where a face looks straight ahead). Beside them the error of one camera for all, the frontal one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from oracle_ladder import mean_and_error
from torch import Tensor

from gan3d_bench.datamodules.heads import head_latents, render_heads, sample_heads
from gan3d_bench.faces.landmark_correspondences import CENTRE
from gan3d_bench.faces.landmark_sources import SOURCES, open_landmarks
from gan3d_bench.files.run_folder import write_json
from gan3d_bench.generators.eg3d.cameras import camera_labels
from gan3d_bench.generators.eg3d.photographs import (
    FACE_ORIGIN,
    WORLD_PER_DECIMETRE,
    PhotographCameras,
)
from gan3d_bench.heads.sampling import HeadParameters
from gan3d_bench.machine import environment

SIZE = 256


def true_labels(heads: HeadParameters, finder: PhotographCameras) -> Tensor:
    """The cameras (B, 25) that heads are rendered with, moved to the orbit's distance."""
    rotation = heads.view.rotation_matrix()
    origin = heads.view.transform((finder.origin + finder.origin.new_tensor(CENTRE))[None, None])
    half_turn = origin.new_tensor([1.0, -1.0, -1.0])
    apart = (rotation.mT @ origin[:, 0, :, None]).squeeze(-1) / finder.decimetre
    position = origin.new_tensor(FACE_ORIGIN) - WORLD_PER_DECIMETRE * half_turn * apart
    position = finder.orbit.radius * F.normalize(position, dim=1)
    return camera_labels(half_turn[:, None] * rotation.mT, position, finder.orbit.focal)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--landmarks", default="landmarks-106", choices=sorted(SOURCES))
    options = parser.parse_args()
    finder = PhotographCameras(source=open_landmarks(options.landmarks))
    heads = sample_heads(head_latents("val", range(options.heads)))
    photographs = render_heads(heads, SIZE)["image"]
    found = [finder(each) for each in photographs]
    kept = torch.tensor([i for i, each in enumerate(found) if each is not None])
    labels = torch.stack([each.label for each in found if each is not None])
    truth = true_labels(heads[kept], finder)
    means = {}
    for name, each in (("found", labels), ("frontal", finder.orbit.frontal(len(kept)))):
        own, true = finder.orbit.view(each), finder.orbit.view(truth)
        for angle in ("yaw", "pitch", "roll"):
            error = getattr(own, angle) - getattr(true, angle)
            means[f"{angle}, {name}"] = mean_and_error(error.abs().tolist())
            means[f"{angle}, {name}, signed"] = mean_and_error(error.tolist())
        apart = F.cosine_similarity(each[:, 3:12:4], truth[:, 3:12:4], dim=1).clamp(-1, 1).acos()
        means[f"position, {name}"] = mean_and_error(apart.rad2deg().tolist())
    for key, x in means.items():
        print(f"{key}: {x['mean']:.2f} \u00b1 {x['error']:.2f} degrees")
    print(f"faces found: {len(kept)} of {options.heads}")
    facts = {"commit": environment.commit(), "machine": environment.machine()}
    data = {"data": "heads, val", "heads": options.heads, "found": len(kept)}
    write_json(options.out, {**facts, **data, "landmarks": options.landmarks, "means": means})


if __name__ == "__main__":
    main()
