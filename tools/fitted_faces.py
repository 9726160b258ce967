"""The images that a `gan2shape` run was fitted to, and what became of them.

    python tools/fitted_faces.py docs/figures/ffhq.png RUN [--most 8]

A row each: input, reconstruction, albedo, depth, normals, shape, turned, relit. A run's own
pictures show its last group alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gan3d_bench.files.run_folder import Run
from gan3d_bench.methods.gan2shape.method import GAN2Shape
from gan3d_bench.pictures.grids import save_png
from gan3d_bench.pictures.scene_grids import contact_grid
from gan3d_bench.training.fit import load_method


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--most", type=int, default=8, help="images that are shown")
    given = parser.parse_args(arguments)
    method = load_method(Run.open(given.run))
    assert isinstance(method, GAN2Shape)
    images = method.images.targets[: given.most]
    save_png(
        contact_grid(method.reconstruct(images), images, tile=96, subjects=given.most), given.out
    )


if __name__ == "__main__":
    main()
