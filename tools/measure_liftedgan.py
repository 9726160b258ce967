"""LiftedGAN runs on val heads, by the stylecodes that the teacher was fitted to them with.

    python tools/measure_liftedgan.py RUN [RUN ...] [--heads 48] [--out FILE.json]

Unlike table `depth-pose` no head is embedded first, and more is said: how the estimate of yaw
follows the true angle, how like the head the picture is (PSNR, dB), and how far M moves a
stylecode that it is given its own light and view with, in variances of stylecodes; 2.5 is as far
as their mean lies. The heads are those that the preset was chosen on; the table's are others.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from gan3d_bench.benchmarks.heads import head_stylecodes
from gan3d_bench.config import to_dict
from gan3d_bench.datamodules.heads import HeadsDataModule
from gan3d_bench.files.run_folder import Run, write_json
from gan3d_bench.geometry.views import View
from gan3d_bench.machine import environment
from gan3d_bench.methods.liftedgan.method import LiftedGAN
from gan3d_bench.metrics.depth import NormalisedDepthError
from gan3d_bench.training.fit import load_method

IMAGE_SIZE = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--heads", type=int, default=48)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    data = HeadsDataModule(IMAGE_SIZE, train_size=1, val_size=options.heads, test_size=1)
    data.prepare_data()
    heads = data.dataset("val")
    depth, images = (
        torch.stack([heads[i][name] for i in range(options.heads)]) for name in ("depth", "image")
    )
    true = heads.parameters.view
    flat, upright = torch.ones_like(depth), View.from_angles([0.0] * options.heads)
    rows = [{"row": "constant", **errors(flat, flat, upright, depth, true)}]
    for path in options.runs:
        run = Run.open(path)
        method = load_method(run)
        assert isinstance(method, LiftedGAN)
        with torch.no_grad():
            w = head_stylecodes(method.generator, heads.latents)
            scene = method.lift(w)
            assert scene.input_view is not None
            seen = scene.render(scene.input_view, image_size=IMAGE_SIZE)
            again = method.lifter.manipulate(w, *method.lifter.decompose(w))
        assert seen.depth is not None
        found = errors(seen.depth, seen.mask, scene.input_view, depth, true)
        found["psnr"] = peak_signal_noise_ratio(seen.rgb, images, data_range=(-1.0, 1.0)).item()
        found["m_moves"] = ((again - w).square().mean() * 2 * method.w_precision).item()
        made = {"seed": run.config.seed, "config": to_dict(run.config)}
        name = next(iter(run.spec.rows("depth-pose", made["config"])), path.name)
        name += "" if method.config.losses.keep else ", losses.keep=0"
        rows.append({"row": name, **found, **made})
    for row in rows:
        words = (f"{key} {value:.3f}" for key, value in row.items() if isinstance(value, float))
        print(f"{row['row']}: {', '.join(words)}")
    if options.out:
        facts = {"commit": environment.commit(), "machine": environment.machine()}
        split = {"data": "heads, val", "heads": options.heads, "data_id": heads.folder.parent.name}
        write_json(options.out, {**facts, **split, "rows": rows})


def errors(depth: Tensor, mask: Tensor, view: View, target: Tensor, true: View) -> dict[str, Any]:
    """Normalised depth, and of each angle the mean absolute error less the mean's, in degrees.

    Of yaw also its correlation with the truth and the slope on it.
    """
    found = {"depth": NormalisedDepthError().instances(depth, target, mask).mean().item()}
    for name in ("yaw", "pitch", "roll"):
        angle, truth = (getattr(x, name) - getattr(x, name).mean() for x in (view, true))
        found[name] = (angle - truth).abs().mean().item()
        if name == "yaw" and angle.any():
            product = angle @ truth
            found["yaw_correlation"] = (product / (angle.norm() * truth.norm())).item()
            found["yaw_slope"] = (product / (truth @ truth)).item()
    return found


if __name__ == "__main__":
    main()
