"""What a trained `uv3dmm` run on heads knows of heads it has not seen, by their own stylecodes.

    python tools/measure_uv3dmm.py OUT.json NAME=RUN [NAME=RUN ...] [--heads 100] [--picture PNG]

Of test heads, whose truth is known: the vertices of F3D's shape in percent of the head's height
(sizes included), beside those of the mean shape and of the next head's shape in its place; F3D's
yaw; the yaw of the symmetric stylecode's picture, measured by five points of the face (whose own
error on the heads' pictures stands beside it); and pictures at the mirrored view against the true
head there, over all of the head and over what the own picture does not show. Beside them what is
had for nothing: the own picture, as it is and flipped left to right, and the next head's rendering.
Identities (cosine of ArcFace embeddings of aligned faces): of the teacher's own picture, of ours
pasted into it and of ours at the mirrored view, each with the true head's there, and of ours with
the teacher's picture; beside them those of the true head at both views and of different people. The
logits of the teacher's discriminator, which training begins with, for its own pictures and for
renderings pasted into them. With several runs, the first run's PSNR less each other's, of the same
heads. `--picture` draws the mirrored view of the first turned heads by every run (Figure 3 of the
paper).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from oracle_ladder import known_mean
from torch import Tensor

from gan3d_bench.benchmarks.heads import before_grey, head_stylecodes, with_own_light
from gan3d_bench.benchmarks.identity_rotation.measure import IdentityRotationMeasure
from gan3d_bench.benchmarks.measure import Settings
from gan3d_bench.config import to_dict
from gan3d_bench.datamodules.heads import head_latents, render_heads, sample_heads
from gan3d_bench.faces.identity_pairs import IdentityPairs
from gan3d_bench.faces.yaw import YawMeter
from gan3d_bench.files.run_folder import Run, write_json
from gan3d_bench.heads.sampling import HeadParameters
from gan3d_bench.machine import environment
from gan3d_bench.methods.uv3dmm.method import UV3DMM
from gan3d_bench.methods.uv3dmm.scene import TexturedHeads
from gan3d_bench.metrics.images import psnr
from gan3d_bench.metrics.vertices import vertex_error
from gan3d_bench.pictures.grids import Column, unit_range
from gan3d_bench.pictures.scene_sheets import Sheet
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.training.fit import load_method

BATCH = 10
SHOWN = 4  # heads in the picture
LEAST_HIDDEN = 20  # pixels of the hidden side that are worth a number


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN")
    parser.add_argument("--heads", type=int, default=100, help="test heads")
    parser.add_argument("--picture", type=Path, help="file to draw mirrored views into")
    options = parser.parse_args()
    meter = IdentityRotationMeasure(Settings(1, BATCH, torch.device("cpu"))).yaw
    pairs = IdentityPairs()
    methods: dict[str, UV3DMM] = {}
    for item in options.runs:
        name, path = item.rsplit("=", 1)
        method = load_method(Run.open(Path(path)))
        assert isinstance(method, UV3DMM)
        methods[name] = method
    if options.picture:
        mirrored_sheet(methods, options.heads).image().save(options.picture)
    rows = []
    for name, method in methods.items():
        values: dict[str, list[float]] = {}
        with torch.no_grad():
            for start in range(0, options.heads, BATCH):
                latents = head_latents("test", range(start, min(start + BATCH, options.heads)))
                for key, value in measured(method, latents, meter, pairs).items():
                    values.setdefault(key, []).extend(value.tolist())
        means = {key: known_mean(each) for key, each in values.items()}
        rows.append(
            {"row": name, "heads": options.heads, "means": means, "values": values,
             "config": to_dict(method.config)}
        )  # fmt: skip
        for key, x in means.items():
            print(f"{name}: {key} {x['mean']:.3f} \u00b1 {x['error']:.3f} (N {x['count']})")
    for other in rows[1:]:
        other["first less this"] = {
            key: known_mean([a - b for a, b in zip(values, other["values"][key], strict=True)])
            for key, values in rows[0]["values"].items()
            if key.startswith("PSNR")
        }
        names = f"{rows[0]['row']} less {other['row']}"
        for key, x in other["first less this"].items():
            print(f"{names}: {key} {x['mean']:.2f} \u00b1 {x['error']:.2f} (N {x['count']})")
    facts = {"commit": environment.commit(), "machine": environment.machine()}
    write_json(options.out, {**facts, "data": "heads, test", "rows": rows})


def measured(
    method: UV3DMM, latents: Tensor, meter: YawMeter, pairs: IdentityPairs
) -> dict[str, Tensor]:
    """All numbers of some heads (B,) each; NaN where nothing could be measured."""
    heads, w = sample_heads(latents), head_stylecodes(method.generator, latents)
    space = method.space
    truth = space.model.vertices(heads.identity, heads.expression)
    found = method.coefficients(w)
    scale = found.scale[:, None, None]
    own, mean = space.faces.vertices(found.shape) * scale, space.faces.mean[None]
    yaw, symmetric = heads.angles[:, 0], method.rotation.symmetric(w, method.yaw)
    pictures = [method.generator.synthesis(each).clamp(-1, 1) for each in (w, symmetric)]
    shown, turned = (meter(each) for each in pictures)
    return {
        "vertices, own shape": vertex_error(own, truth),
        "vertices, mean shape": vertex_error(mean, truth),
        "vertices, another's shape": vertex_error(own.roll(1, 0), truth),
        "yaw of F3D": (found.yaw.rad2deg() - yaw).abs(),
        "yaw of the meter on the own picture": (shown - yaw).abs(),
        "yaw of the symmetric picture": (turned + yaw).abs(),
        "yaw of the own picture as the symmetric": (2 * yaw).abs(),
        **recognised(method, w, heads, pairs),
        **judged(method, w),
        **mirrored(method, w, heads),
    }


def recognised(
    method: UV3DMM, w: Tensor, heads: HeadParameters, pairs: IdentityPairs
) -> dict[str, Tensor]:
    """How alike the people of pictures are, cosines in [-1, 1]."""
    own = render_heads(heads, method.config.image_size)["image"]
    mirrored = true_mirrored(heads, method.config.image_size)["image"]
    scene = method.lift(w)
    assert scene.background is not None
    ours = scene.render(scene.coefficients.view).over(scene.background)
    compared = {
        "the teacher's picture and the true head": (scene.background, own),
        "ours and the true head": (ours, own),
        "ours and the teacher's picture": (ours, scene.background),
        "ours and the true head, mirrored view": (seen_mirrored(scene).over(0.0), mirrored),
        "the true head at both views": (own, mirrored),
        "different true heads": (own, own.roll(1, 0)),
    }
    return {f"identity, {name}": pairs(*each) for name, each in compared.items()}


def judged(method: UV3DMM, w: Tensor) -> dict[str, Tensor]:
    """Logits of the teacher's discriminator: of its pictures, and with renderings in them."""
    discriminator = method.teacher.discriminator
    if discriminator is None:
        return {}
    scene = method.lift(w)
    assert scene.background is not None
    shown = {
        "the teacher's picture": scene.background,
        "ours pasted": scene.render(scene.coefficients.view).over(scene.background),
    }
    return {f"teacher's logit, {name}": discriminator(x)[:, 0] for name, x in shown.items()}


def mirrored(method: UV3DMM, w: Tensor, heads: HeadParameters) -> dict[str, Tensor]:
    """PSNR (dB) at the view mirrored left to right, of the head and of what was hidden of it."""
    truth = true_mirrored(heads, method.config.image_size)
    scene = method.lift(w)
    seen = seen_mirrored(scene)
    renderer, size = replace(scene.renderer, supersample=1), scene.maps.diffuse.shape[-1]
    first = renderer.render(scene.coefficients, scene.maps)
    pose = scene.coefficients.pose * scene.coefficients.pose.new_tensor([-1, 1, 1, 1, 1, 1])
    second = renderer.render(replace(scene.coefficients, pose=pose), scene.maps)
    known = renderer.visibility(first, size).reached().float()
    hidden = renderer.visibility(second, size).pixels(1 - known)
    whole = ((truth["mask"] > 0.99) & (seen.mask > 0.99)).float()
    hidden = whole * hidden
    enough = hidden.sum((1, 2, 3)) >= LEAST_HIDDEN
    own = render_heads(heads, method.config.image_size)["image"]
    shown = {
        "": seen.rgb,
        ", the picture flipped": own.flip(3),
        ", the picture as it is": own,
        ", another's head": seen.rgb.roll(1, 0),
    }
    values = {"hidden pixels": hidden.sum((1, 2, 3))}
    for name, pictures in shown.items():
        values[f"PSNR, mirrored view{name}"] = psnr(pictures, truth["image"], whole)
        there = psnr(pictures, truth["image"], hidden)
        values[f"PSNR, hidden side{name}"] = there.where(enough, math.nan)
    return values


def true_mirrored(heads: HeadParameters, image_size: int) -> dict[str, Tensor]:
    """The maps of heads at the view mirrored left to right, their light turned with them."""
    there = before_grey(replace(heads, angles=heads.angles * heads.angles.new_tensor([-1, 1, 1])))
    return render_heads(with_own_light(there, heads), image_size)


def seen_mirrored(scene: TexturedHeads) -> Rendering:
    """Scenes at their own views mirrored left to right."""
    view = scene.coefficients.view
    return scene.render(replace(view, yaw=-view.yaw))


@torch.no_grad()
def mirrored_sheet(methods: Mapping[str, UV3DMM], count: int) -> Sheet:
    """The most turned of `count` test heads: picture, truth at the mirrored view, every method."""
    latents = head_latents("test", range(count))
    chosen = sample_heads(latents).angles[:, 0].abs().argsort(descending=True)[:SHOWN]
    heads = sample_heads(latents[chosen])
    size = next(iter(methods.values())).config.image_size
    columns = [
        Column("picture", unit_range(render_heads(heads, size)["image"])),
        Column("truth, mirrored view", unit_range(true_mirrored(heads, size)["image"])),
    ]
    for name, method in methods.items():
        scene = method.lift(head_stylecodes(method.generator, latents[chosen]))
        columns.append(Column(name, unit_range(seen_mirrored(scene).over(0.0))))
    return Sheet([columns])


if __name__ == "__main__":
    main()
