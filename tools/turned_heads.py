"""Test heads turned by several methods, one row each, beside the truth (Figure 4 of the UV paper).

    python tools/turned_heads.py OUT.png NAME=RUN[:KIND] [NAME=RUN[:KIND] ...] [--heads 3]

A run reconstructs the heads' pictures and turns them about its own canonical view; KIND is one of
its kinds of scene (`MethodSpec.scenes`), such as ``hyperplane`` of `uv3dmm`. The truth keeps its
own light, which turns with it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from gan3d_bench.benchmarks.heads import before_grey, turned, with_own_light
from gan3d_bench.datamodules.heads import head_latents, render_heads, sample_heads
from gan3d_bench.files.run_folder import Run
from gan3d_bench.geometry.views import View
from gan3d_bench.pictures.grids import Column, unit_range
from gan3d_bench.pictures.scene_sheets import Sheet, degree_label, interleaved, row_names
from gan3d_bench.spec import RECONSTRUCT
from gan3d_bench.training.fit import load_method

YAWS = (-60.0, -30.0, -15.0, 0.0, 15.0, 30.0, 60.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN[:KIND]")
    parser.add_argument("--heads", type=int, default=3, help="test heads")
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    options = parser.parse_args()
    latents = head_latents("test", range(options.first, options.first + options.heads))
    heads = sample_heads(latents)
    scenes = {}
    for item in options.runs:
        name, path = item.split("=", 1)
        path, _, kind = path.partition(":")
        method = load_method(Run.open(Path(path)))
        images = render_heads(heads, method.config.image_size)["image"]  # type: ignore[attr-defined]
        scenes[name] = method.row_scene(kind or RECONSTRUCT, images)
    grey = before_grey(heads)
    columns = []
    with torch.no_grad():
        for yaw in YAWS:
            truth = render_heads(with_own_light(turned(grey, yaw), grey), 64)["image"]
            rows = [unit_range(truth)]
            for scene in scenes.values():
                rows.append(unit_range(scene.render(View.from_angles(yaw)).over(0.0)))
            columns.append(Column(f"yaw {degree_label(yaw)}", interleaved(rows)))
    Sheet([columns], row_names(options.heads, ("truth", *scenes))).image().save(options.out)


if __name__ == "__main__":
    main()
