"""LiftedGAN runs on val heads, by the stylecodes that the teacher was fitted to them with.

    python tools/measure_liftedgan.py RUN [RUN ...] [--heads 48] [--out FILE.json]

Unlike table `depth-pose` no head is embedded first, and more is said: how the estimate of yaw
follows the true angle, how like the head the picture is (PSNR, dB), and how far M moves a
stylecode that it is given its own light and view with, in variances of stylecodes; 2.5 is as far
as their mean lies. The heads are those that the preset was chosen on; the table's are others.

Whether D_S sees the person: how much depth varies over samples by what it varies over pixels, with
w0 as M makes it and with w in its place (`spread`, `spread_of_w`); by how much other heads' shapes,
their mean and the average head score worse than the own one, at the view found, with standard
errors (`lead_others`, `lead_run_mean`, `lead_mean_head`); and the correlation of depth less mean
depth with the truth's (`individual`).
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from gan3d_bench.benchmarks.baseline_shapes import as_average, average_head, seen_from
from gan3d_bench.benchmarks.heads import head_stylecodes
from gan3d_bench.benchmarks.subjects import OtherSubjects, Shape
from gan3d_bench.config import to_dict
from gan3d_bench.datamodules.heads import HeadsDataModule
from gan3d_bench.files.run_folder import Run, write_json
from gan3d_bench.generators.latents import sample_z
from gan3d_bench.geometry.views import View
from gan3d_bench.heads.sampling import HeadParameters, render_heads
from gan3d_bench.machine import environment
from gan3d_bench.methods.liftedgan.image_formation import neutral_light
from gan3d_bench.methods.liftedgan.method import LiftedGAN
from gan3d_bench.metrics.depth import NormalisedDepthError
from gan3d_bench.metrics.individuality import individual_ratio
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.scenes.depth_map import DepthMapScene
from gan3d_bench.training.fit import load_method

IMAGE_SIZE = 64
SAMPLES = 256  # stylecodes that the spread is taken over


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
        found |= individuality(scene, seen, depth, heads.parameters, heads.config.seed)
        found |= spreads(method)
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


@torch.no_grad()
def spreads(method: LiftedGAN) -> dict[str, float]:
    """Of canonical depth over samples, see `individual_ratio`."""
    lifter, rng = method.lifter, torch.Generator().manual_seed(0)
    w = method.styles(sample_z(SAMPLES, method.generator.z_dim, rng))
    light, _ = lifter.decompose(w)
    made = lifter.canonical(w, light).depth
    own = lifter.factors(w, *lifter.generate(w), neutral_light(light)).depth
    return {"spread": individual_ratio(made), "spread_of_w": individual_ratio(own)}


@torch.no_grad()
def individuality(
    scene: DepthMapScene, seen: Rendering, target: Tensor, heads: HeadParameters, seed: int
) -> dict[str, float]:
    """Other shapes in the place of the own ones, as the tables have them (`OtherSubjects`)."""
    view, average = scene.input_view, as_average(heads, average_head(seed))
    assert view is not None
    assert seen.depth is not None
    there = render_heads(seen_from(average, view), IMAGE_SIZE)
    compared = OtherSubjects(scene, range(len(heads)), heads.view).compare(
        Shape(seen.depth, seen.mask),
        range(len(heads)),
        view,
        heads.view,
        target,
        average=render_heads(average, IMAGE_SIZE)["depth"],
        average_there=Shape(there["depth"], (there["mask"] >= 0.5).to(target)),
        error=NormalisedDepthError().instances,
    )
    found = {}
    for name, values in compared.items():
        x = torch.tensor(values, dtype=torch.float64)
        x = x[x.isfinite()]
        found[name] = float(x.mean()) if len(x) else math.nan
        found[f"{name}_error"] = float(x.std() / math.sqrt(len(x))) if len(x) > 1 else math.nan
    return found


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
