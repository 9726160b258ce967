"""What a `uv3dmm` run of a teacher of photographs knows of faces that it has not seen.

    python tools/real_faces.py OUT.json RUN [--picture PNG] [--shown 8]

There is no truth: F3D, which sees the stylecode alone, is compared with the morphable model fitted
to the picture itself, on the pairs that it was not trained on. Vertices in percent of the head's
height, sizes taken away, beside the mean shape's and another person's in the place of the own;
yaw; and the identity (cosine of ArcFace) between the teacher's picture and ours pasted into it, and
ours turned by 30 degrees, beside the next person's picture. `--picture` draws the first of them:
the picture, the fit and F3D's shape over it, ours pasted in, and ours turned.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from oracle_ladder import known_mean
from torch import Tensor

from gan3d_bench.config import to_dict
from gan3d_bench.faces.identity_pairs import IdentityPairs
from gan3d_bench.files.run_folder import Run, write_json
from gan3d_bench.geometry.views import View
from gan3d_bench.machine import environment
from gan3d_bench.methods.uv3dmm.coefficients import Coefficients
from gan3d_bench.methods.uv3dmm.method import UV3DMM
from gan3d_bench.methods.uv3dmm.scene import TexturedHeads
from gan3d_bench.metrics.vertices import vertex_error
from gan3d_bench.pictures.grids import Column, shape_picture, unit_range
from gan3d_bench.pictures.scene_sheets import Sheet, degree_label
from gan3d_bench.training.fit import load_method

BATCH = 8
TURNS = (-60.0, -30.0, 0.0, 30.0, 60.0)  # degrees of yaw in the picture
TURNED = 30.0  # of the identity


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--picture", type=Path, help="file to draw faces into")
    parser.add_argument("--shown", type=int, default=8, help="faces in it")
    options = parser.parse_args()
    run = Run.open(options.run)
    method = load_method(run)
    assert isinstance(method, UV3DMM)
    w, packed = method.pairs.held_out
    fitted = Coefficients.unpack(packed)
    if options.picture:
        few = slice(0, options.shown)
        faces_sheet(method, w[few], Coefficients.unpack(packed[few])).image().save(options.picture)
    values = {**shapes(method, w, fitted), **identities(method, w)}
    means = {key: known_mean(value.tolist()) for key, value in values.items()}
    for key, x in means.items():
        print(f"{key} {x['mean']:.3f} \u00b1 {x['error']:.3f} (N {x['count']})")
    facts = {"commit": environment.commit(), "machine": environment.machine()}
    known = {"pairs": method.pairs.summary.counts(), "steps": method.step}
    lists = {key: value.tolist() for key, value in values.items()}
    config = to_dict(method.config)
    write_json(options.out, {**facts, **known, "config": config, "means": means, "values": lists})


@torch.no_grad()
def shapes(method: UV3DMM, w: Tensor, fitted: Coefficients) -> dict[str, Tensor]:
    """Errors (N,) of F3D's coefficients of stylecodes (N, w_dim) against those of the fit."""
    space, found = method.space.faces, method.coefficients(w)
    own, truth = space.vertices(found.shape), space.vertices(fitted.shape)
    given = {"own": own, "mean": space.mean[None], "another's": own.roll(1, 0)}
    rows = {f"vertices, {name} shape": vertex_error(x, truth) for name, x in given.items()}
    for name in ("mean", "another's"):
        rows[f"vertices, {name} less own"] = (
            rows[f"vertices, {name} shape"] - rows["vertices, own shape"]
        )
    return {**rows, "yaw, degrees": (found.yaw - fitted.yaw).abs().rad2deg()}


@torch.no_grad()
def identities(method: UV3DMM, w: Tensor) -> dict[str, Tensor]:
    """Cosines (N,) of the identity with the teacher's picture; NaN where no face is found."""
    alike = IdentityPairs()
    rows: dict[str, list[Tensor]] = {}
    for codes in w.split(BATCH):
        scene = method.lift(codes)
        picture, own = scene.background, scene.coefficients.view
        assert picture is not None
        side = own.yaw + torch.where(own.yaw > 0, -TURNED, TURNED)
        shown = {
            "pasted": scene.render(own).over(picture),
            f"turned by {TURNED:.0f}": scene.render(replace(own, yaw=side)).over(1.0),
            "another's picture": picture.roll(1, 0),
        }
        for name, images in shown.items():
            rows.setdefault(f"identity, {name}", []).append(alike(images, picture))
    return {name: torch.cat(parts) for name, parts in rows.items()}


@torch.no_grad()
def faces_sheet(method: UV3DMM, w: Tensor, fitted: Coefficients) -> Sheet:
    """Pictures, shapes over them, ours in them, and ours from all sides."""
    scene = method.lift(w)
    assert scene.background is not None
    picture, pasted = scene.background, scene.render(scene.coefficients.view)
    columns = [
        Column("picture", unit_range(picture)),
        Column("fit", overlay(replace_coefficients(scene, fitted), picture)),
        Column("F3D", overlay(scene, picture)),
        Column("pasted", unit_range(pasted.over(picture))),
    ]
    for yaw in TURNS:
        seen = scene.render(View.from_angles(yaw))
        columns.append(Column(f"yaw {degree_label(yaw)}", unit_range(seen.over(1.0))))
    return Sheet([columns[:4], columns[4:]])


def replace_coefficients(scene: TexturedHeads, coefficients: Coefficients) -> TexturedHeads:
    """The same maps on other shapes."""
    return TexturedHeads(
        scene.renderer, coefficients, scene.maps, scene.num_expression, scene.background
    )


def overlay(scene: TexturedHeads, picture: Tensor) -> Tensor:
    """The bare shape (B, 3, S, S) in [0, 1] over the picture that it belongs to."""
    seen = scene.without_displacement().render(scene.coefficients.view)
    assert seen.normal is not None
    plaster = shape_picture(seen.normal).to(picture)
    return plaster * seen.mask + unit_range(picture) * (1 - seen.mask)


if __name__ == "__main__":
    main()
