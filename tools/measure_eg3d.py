"""What a trained `eg3d` run of heads knows of heads it has not seen, by their own latents.

    python tools/measure_eg3d.py OUT.json --run RUN [--heads 100] [--samples 2000]

Of test heads, whose truth is known:

- depth: the correlation of the volume's depth with the true one over the pixels of the head, at its
  own view; beside it what is had for nothing, the mean head's depth and another head's (true ones,
  where all are seen); and the correlation of what is left of both once the mean head's depth is
  taken away, which another's depth does not have.
- the scale-invariant depth error (SIDE) there with the head's own codes, with another head's in
  their place, and of the mean head.
- consistency: the cosine of the identity (ArcFace of aligned faces) between pictures at -45 and 45
  degrees of yaw; of the true heads the same; and between different true heads. Pairs of which a
  face is not found are left out and counted.
- PSNR of the own picture, and at the views of -45 and 45 degrees.

And FID of new samples against as many heads of the train split: each seen by the camera of a test
head, conditioned on that camera, and conditioned on the frontal one.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import torch
from oracle_ladder import known_mean
from torch import Tensor

from gan3d_bench.assets.fetch import fetch
from gan3d_bench.benchmarks.fid.measure import FIDMeasure
from gan3d_bench.benchmarks.heads import turned, with_own_light
from gan3d_bench.benchmarks.measure import Settings
from gan3d_bench.config import to_dict
from gan3d_bench.datamodules.heads import head_latents
from gan3d_bench.faces.aligner import FaceAligner
from gan3d_bench.faces.arcface import ArcFace
from gan3d_bench.files.run_folder import Run, write_json
from gan3d_bench.generators.latents import sample_z
from gan3d_bench.generators.stylegan2.generator import normalize_latent
from gan3d_bench.geometry.views import View
from gan3d_bench.heads.sampling import HeadParameters, render_heads
from gan3d_bench.machine import environment
from gan3d_bench.methods.eg3d.heads import VIEW, cameras_of, seen_heads
from gan3d_bench.methods.eg3d.method import EG3D
from gan3d_bench.metrics.depth import SIDE
from gan3d_bench.metrics.images import psnr
from gan3d_bench.training.fit import load_method

BATCH = 10
ASIDE = 45.0  # degrees of yaw


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--heads", type=int, default=100, help="test heads")
    parser.add_argument("--samples", type=int, default=2000, help="for FID; 0: none")
    options = parser.parse_args()
    method = load_method(Run.open(options.run))
    assert isinstance(method, EG3D)
    method.eval()
    values: dict[str, list[float]] = {}
    fid: dict[str, float] = {}
    identities = Identities()
    with torch.no_grad():
        for start in range(0, options.heads, BATCH):
            latents = head_latents("test", range(start, min(start + BATCH, options.heads)))
            for key, value in measured(method, latents, identities).items():
                values.setdefault(key, []).extend(value.tolist())
        if options.samples:
            fid = distances(method, options.samples)
    means = {key: known_mean(each) for key, each in values.items()}
    for key, x in means.items():
        print(f"{key} {x['mean']:.3f} \u00b1 {x['error']:.3f} (N {x['count']} of {options.heads})")
    for key, value in fid.items():
        print(f"{key} {value:.2f} (N {options.samples})")
    facts = {"commit": environment.commit(), "machine": environment.machine()}
    facts["steps of the run"] = method.step
    own = {"heads": options.heads, "samples": options.samples, "means": means, "fid": fid}
    write_json(options.out, {**facts, "data": "heads, test", **own, "values": values,
                             "config": to_dict(method.config)})  # fmt: skip


def measured(method: EG3D, latents: Tensor, embed: Identities) -> dict[str, Tensor]:
    """One number a head of its latents (B, NUM_LATENTS) and key, NaN where there is none."""
    size, orbit = method.generator.image_size, method.generator.config.orbit
    z, heads = own_latents(latents, method.generator.z_dim)
    cameras = cameras_of(heads, orbit, size)
    scene = method.scene(z, cameras)
    truth, seen = render_heads(heads, size), scene.render(orbit.view(cameras))
    assert seen.depth is not None
    mean = render_heads(mean_shape(heads), size)
    order = torch.arange(len(heads)).roll(-1)
    another = replace(heads, identity=heads.identity[order], expression=heads.expression[order])
    other = render_heads(another, size)
    covered = truth["mask"] > 0.99
    common = covered & (mean["mask"] > 0.99) & (other["mask"] > 0.99)
    depth, own = seen.depth.cpu(), truth["depth"]
    found = {
        "PSNR, own picture": psnr(seen.rgb.cpu(), truth["image"]),
        "depth": correlation(depth, own, covered),
        "depth, where all are seen": correlation(depth, own, common),
        "depth, mean head": correlation(mean["depth"], own, common),
        "depth, another head": correlation(other["depth"], own, common),
        "depth less mean head's": correlation(depth - mean["depth"], own - mean["depth"], common),
        "another's depth less mean head's": correlation(
            other["depth"] - mean["depth"], own - mean["depth"], common
        ),
    }
    swapped = method.scene(z[order], cameras).render(orbit.view(cameras)).depth
    assert swapped is not None
    shapes = {"own codes": depth, "another's codes": swapped.cpu(), "mean head": mean["depth"]}
    for name, shape in shapes.items():
        found[f"SIDE, {name}"] = SIDE().instances(shape, own, common.float())
    for name in ("another's codes", "mean head"):
        found[f"SIDE, {name} less own"] = found[f"SIDE, {name}"] - found["SIDE, own codes"]
    made, true = [], []
    for yaw in (-ASIDE, ASIDE):
        there = with_own_light(turned(heads, yaw), heads)
        true.append(render_heads(there, size)["image"])
        made.append(scene.render(orbit.view(cameras_of(there, orbit, size))).rgb.cpu())
        found[f"PSNR at {yaw:+.0f} degrees"] = psnr(made[-1], true[-1])
    embedded = [embed(images) for images in (*made, *true)]
    found["identity, -45 to 45 degrees"] = cosine(embedded[0], embedded[1])
    found["identity, true heads"] = cosine(embedded[2], embedded[3])
    found["identity, different true heads"] = cosine(embedded[2], embedded[3].roll(1, 0))
    return found


def own_latents(latents: Tensor, z_dim: int) -> tuple[Tensor, HeadParameters]:
    """Latents (B, z_dim) that the generator has for heads, and these heads.

    They are normalised: the heads are a little more or less pronounced than the data's.
    """
    known = torch.cat((latents[:, : VIEW.start], latents[:, VIEW.stop :]), 1)
    rest = sample_z(len(known), z_dim - known.shape[1], torch.Generator().manual_seed(0))
    z = normalize_latent(torch.cat((known, rest), 1))
    return z, seen_heads(z, latents[:, None, VIEW])


def mean_shape(heads: HeadParameters) -> HeadParameters:
    """The mean head at the views of these."""
    identity, expression = (torch.zeros_like(x) for x in (heads.identity, heads.expression))
    return replace(heads, identity=identity, expression=expression)


def correlation(x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """Pearson's correlation (B,) of maps (B, 1, S, S) over the pixels of a mask of each."""
    rows = []
    for a, b, inside in zip(x, y, mask, strict=True):
        pair = torch.stack((a[inside], b[inside])).double()
        rows.append(torch.corrcoef(pair)[0, 1] if pair.shape[1] > 2 else pair.new_tensor(math.nan))
    return torch.stack(rows)


class Identities:
    """Embeds the faces in pictures."""

    def __init__(self) -> None:
        self.aligner, self.arcface = FaceAligner(), ArcFace("arcface-mbf")

    def __call__(self, images: Tensor) -> Tensor:
        """Identities (B, D) of the faces in images (B, 3, S, S), NaN where none is found."""
        aligned = self.aligner(images.clamp(-1, 1))
        known = self.arcface(aligned.images)
        result = known.new_full((len(images), known.shape[1]), math.nan)
        result[aligned.found] = known
        return result


def cosine(x: Tensor, y: Tensor) -> Tensor:
    """Cosine (B,) between embeddings (B, D)."""
    return torch.cosine_similarity(x, y)


def distances(method: EG3D, count: int) -> dict[str, float]:
    """FID of `count` samples at the cameras of test heads."""
    fetch("inception-fid")
    measure = FIDMeasure(Settings(count, 32, torch.device("cpu")), real=count)
    measure.source.prepare("train")
    z = sample_z(count, method.generator.z_dim, torch.Generator().manual_seed(2**31))
    orbit, size = method.generator.config.orbit, method.generator.image_size
    views = measure.parameters(range(count))
    cameras = cameras_of(views, orbit, size)
    found = {}
    for key, told in (("own camera", cameras), ("frontal camera", orbit.frontal(count))):
        for part in torch.arange(count).split(32):
            scene = method.scene(z[part], told[part])
            view: View = orbit.view(cameras[part])
            measure._add(scene.render(view).rgb.cpu())
        found[f"FID, conditioned on the {key}"] = measure.sets()["fid"].mean
    return found


if __name__ == "__main__":
    main()
