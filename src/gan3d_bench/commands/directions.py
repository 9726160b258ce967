"""``gan3d-bench directions``: which way in W a teacher's faces turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan3d_bench.benchmarks.formats import fixed
from gan3d_bench.errors import UserError
from gan3d_bench.files.atomic import require_folder, write_errors
from gan3d_bench.generators.names import pretrained, teacher_hash
from gan3d_bench.machine import environment
from gan3d_bench.machine.device import require_device
from gan3d_bench.terminal import say

if TYPE_CHECKING:
    from PIL import Image
    from rich.table import Table
    from torch import Tensor

    from gan3d_bench.faces.aligner import AlignedFaces, FaceAligner
    from gan3d_bench.generators.yaw_directions import RotatedFaces
    from gan3d_bench.progress import StepProgress

YAWS = (-40, -25, -12, 0, 12, 25, 40)
"""Degrees to which faces are turned."""
FACES = 8  # that are turned, other ones than the samples
PICTURED = 4
TILE = 128
SHEET = "directions.png"


def directions(
    teacher: str,
    samples: int,
    truncation: float,
    seed: int,
    image_size: int,
    device: str,
    out: Path,
) -> int:
    """Find a teacher's directions, try them, and write what `Directions.load` reads.

    Written to `out`: ``directions.safetensors``, ``card.json``, ``directions.png``.

    Args:
        teacher: see `generators.teachers.load_teacher`.
        samples: in which yaw is measured.
        truncation: psi of the samples and of the faces turned.
        seed: of all random numbers.
        image_size: of the teacher's images, where it makes several.
        device: such as "cpu" or "cuda"; "auto" takes a GPU if there is one.
        out: folder.

    Raises:
        UserError: no such teacher, too few faces in its images, or a missing asset.
    """
    require_folder("--out", out)

    import torch
    from rich.console import Console

    from gan3d_bench.datamodules.head_yaw import head_yaw_meter
    from gan3d_bench.faces.arcface import ArcFace
    from gan3d_bench.faces.yaw import YawMeter
    from gan3d_bench.generators.directions import KINDS
    from gan3d_bench.generators.latents import sample_z
    from gan3d_bench.generators.teachers import load_teacher
    from gan3d_bench.generators.yaw_directions import (
        COUNT,
        TRIALS,
        find_directions,
        measure_samples,
        rotate_faces,
    )
    from gan3d_bench.pictures.grids import save_png
    from gan3d_bench.progress import StepProgress

    place = require_device(device)
    generator = load_teacher(teacher, image_size).generator.to(place)
    arcface = ArcFace().to(place)
    meter = head_yaw_meter()
    rng = torch.Generator().manual_seed(seed)
    images = samples + 2 * TRIALS * (2 * COUNT + 1) + len(KINDS) * len(YAWS) * FACES
    with StepProgress(images) as bar:
        counted = _Counted(meter.aligner, bar)
        meter = YawMeter(counted, meter.estimator)  # type: ignore[arg-type]
        measured = measure_samples(generator, meter, samples, truncation, rng)
        counted.what = "measuring directions"
        try:
            found = find_directions(generator, measured, meter, rng)
        except ValueError as error:
            raise UserError(f"--teacher {teacher}: {error}") from error
        counted.what = "turning faces"
        z = sample_z(FACES, generator.z_dim, rng).to(place)
        w = generator.truncate(generator.mapping(z), truncation)
        turned = {
            kind: rotate_faces(
                generator,
                lambda yaw, kind=kind: found.rotated(w, yaw, kind),
                YAWS,
                meter,
                arcface,
            )
            for kind in KINDS
        }
    card = {
        "name": out.name,
        "teacher": {
            "name": teacher,
            "same_w": _same_w(teacher),
            "image_size": generator.image_size,
            "sha256": teacher_hash(teacher),
        },
        "samples": samples,
        "truncation": truncation,
        "seed": seed,
        **found.card,
        "yaw_estimator": [round(float(weight), 4) for weight in meter.estimator.weights],
        "turned": {
            "faces": FACES,
            "yaw_deg": list(YAWS),
            **{kind: faces.summary() for kind, faces in turned.items()},
        },
        "networks": {"yaw": meter.aligner.label, "cosine": arcface.label},
        "environment": environment.describe(("heads", "scrfd-500m", "arcface-mbf")),
    }
    written = replace(found, card=card).save(out)
    names = {kind: _heading(kind, card) for kind in KINDS}
    with write_errors(out):
        written.append(save_png(sheet(turned, names), out / SHEET))
    console = Console()
    console.print(_table(turned, names))
    pose = card["pose"]
    say(
        f"faces: {pose['faces']} of {samples} samples, yaw "
        f"{fixed(pose['yaw_deg']['mean'], 1)} ± {fixed(pose['yaw_deg']['std'], 1)}; "
        f"yaw is linear in w with R2 {fixed(card['regression']['r2'], 2)}"
    )
    for file in written:
        say(file)
    return 0


def sheet(
    turned: Mapping[str, RotatedFaces], names: Mapping[str, str], tile: int = TILE
) -> Image.Image:
    """Faces turned along the regression's direction, and the first of them along the others."""
    import torch

    from gan3d_bench.pictures.grids import Column, labelled_grid, unit_range

    first, *others = turned
    rows = turned[first].images[:PICTURED]
    rows = torch.cat([rows, *(turned[kind].images[:1] for kind in others)])
    columns = [
        Column(f"{yaw:+d}°" if yaw else "0°", unit_range(rows[:, i])) for i, yaw in enumerate(YAWS)
    ]
    labels = [names[first]] * (len(rows) - len(others)) + [names[kind] for kind in others]
    return labelled_grid([columns], tile=tile, names=labels)


class _Counted:
    """A face aligner that tells a progress bar how many images it has seen."""

    def __init__(self, aligner: FaceAligner, bar: StepProgress) -> None:
        self.aligner, self.bar = aligner, bar
        self.label = aligner.label
        self.what, self.seen = "measuring faces", 0

    def __call__(self, images: Tensor) -> AlignedFaces:
        result = self.aligner(images)
        self.seen += len(images)
        self.bar.update(self.what, self.seen)
        return result


def _same_w(teacher: str) -> list[str]:
    """The teachers' names that stand for the same networks."""
    known = pretrained()
    if teacher not in known:
        return [teacher]
    asset = known[teacher][1].asset
    return sorted(name for name, (_, other) in known.items() if other.asset == asset)


def _heading(kind: str, card: Mapping[str, Any]) -> str:
    number = card[kind].get("turning", 0) + 1
    return {
        "regression": "regression",
        "hyperplane": "hyperplane",
        "sefa": f"SeFa {number}",
        "ganspace": f"GANSpace {number}",
    }[kind]


def _table(turned: Mapping[str, RotatedFaces], names: Mapping[str, str]) -> Table:
    from rich.table import Table

    table = Table(title="Faces turned by their stylecode: measured yaw, cosine to the front")
    table.add_column("direction", no_wrap=True)
    for yaw in YAWS:
        table.add_column(f"{yaw}°", justify="right", no_wrap=True)
    for kind, faces in turned.items():
        row = faces.summary()
        cells = zip(row["mean"], row["std"], row["cosine"], strict=True)
        shown = [
            "-"
            if mean is None or std is None or cosine is None
            else f"{round(mean)}±{round(std)}\n{fixed(cosine, 2)}"
            for mean, std, cosine in cells
        ]
        table.add_row(names[kind], *shown)
    return table
