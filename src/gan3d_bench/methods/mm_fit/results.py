"""What a run leaves: coefficients, a table, sheets of overlays, meshes."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from gan3d_bench.faces.fit_summary import FitSummary
from gan3d_bench.faces.morphable_fit import FaceFit, MorphableFit
from gan3d_bench.files.atomic import atomic_write, write_errors
from gan3d_bench.files.escaping import comma_separated
from gan3d_bench.files.run_folder import write_json
from gan3d_bench.geometry.glb import save_glb
from gan3d_bench.methods.mm_fit.config import MMFitConfig
from gan3d_bench.methods.mm_fit.truth import ERRORS
from gan3d_bench.pictures.grids import (
    Column,
    labelled_grid,
    on_white,
    save_png,
    shape_picture,
    unit_range,
)
from gan3d_bench.terminal import say

ROWS = 8  # faces a sheet
TILE = 192  # pixels a side of a picture on it


def overlay(fitter: MorphableFit, fit: FaceFit, images: Tensor) -> Tensor:
    """Fitted faces drawn over their pictures (B, 3, S, S) in [-1, 1]."""
    drawn = fitter.render(fit, images.shape[-1])
    return drawn.over(images).clamp(-1, 1)


def write_results(
    folder: Path,
    made: Mapping[str, Tensor],
    fitter: MorphableFit,
    pictures: Any,
    data: Any,
    config: MMFitConfig,
) -> None:
    """Write everything into `folder` and say where.

    ``coefficients.safetensors`` has the fits' tensors (those of faces that were not found are NaN);
    ``faces.csv`` a line a picture; ``summary.json`` counts, means over usable fits and the pictures
    that could not be read; ``overlays/`` photograph, fit over it, fit alone and its shape;
    ``meshes/`` a GLB a face.

    Args:
        folder: created if needed.
        made: tensors of N items, a `FaceFit`'s among them.
        fitter: that made them.
        pictures: the N items, as the data set they come from.
        data: their data module.
        config: of the run.

    Raises:
        UserError: a file cannot be written, or a picture is gone.
    """
    summary = FitSummary.of(made, config.largest_error)
    names = list(getattr(pictures, "names", ())) or [f"{i:06d}" for i in range(len(pictures))]
    fit = FaceFit(**{name: made[name] for name in FaceFit.__dataclass_fields__})
    skipped: dict[str, str] = getattr(data, "skipped", {})
    usable = summary.usable.nonzero().flatten().tolist()
    with write_errors(folder):
        _write_coefficients(folder / "coefficients.safetensors", made, fitter)
        _write_table(folder / "faces.csv", made, fit, summary, names)
        means = {
            name: float(made[name][summary.usable].mean())
            for name in ("landmark_error", "colour_error", *ERRORS)
            if name in made
        }
        facts = {"fit": fitter.label, "fingerprint": fitter.fingerprint}
        counts = {**summary.counts(), "skipped": len(skipped)}
        write_json(
            folder / "summary.json",
            {**facts, "pictures": counts, "means": means, "skipped": skipped},
        )
        _write_sheets(
            folder / "overlays", fitter, fit, pictures, names, _first(usable, config.overlays)
        )
        for i in _first(usable, config.meshes):
            scene = fitter.scene(fit[i : i + 1], config.image_size)
            save_glb(scene.mesh(0), folder / "meshes" / f"{_stem(names[i], i)}.glb")
    read = f"; {len(skipped)} pictures could not be read" if skipped else ""
    truth = ""
    if "vertex_error" in means:
        truth = (
            f"; vertices off by {means['vertex_error']:.2f} % of the head's height (the mean shape "
            f"{means['mean_error']:.2f} %), yaw by {means['yaw_error']:.2f} degrees"
        )
    say(f"{summary}{read}{truth}")


def _write_coefficients(path: Path, made: Mapping[str, Tensor], fitter: MorphableFit) -> None:
    tensors = {
        name: value.cpu().contiguous() for name, value in made.items() if name != "thumbnail"
    }
    with atomic_write(path) as draft:
        save_file(tensors, draft, {"fit": fitter.label, "fingerprint": fitter.fingerprint})


def _write_table(
    path: Path,
    made: Mapping[str, Tensor],
    fit: FaceFit,
    summary: FitSummary,
    names: Sequence[str],
) -> None:
    """A line a picture; numbers of pictures without a face are empty."""
    columns = {
        **{name: made[name] for name in ("landmark_error", "colour_error")},
        **{name: getattr(fit.view, name) for name in ("yaw", "pitch", "roll")},
        **{name: made[name] for name in ERRORS if name in made},
    }
    lines = zip(
        map(comma_separated, names),
        summary.status(),
        *(map(_number, values.tolist()) for values in columns.values()),
        strict=True,
    )
    with atomic_write(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "fit", *columns])
        writer.writerows(lines)


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else ""


def _write_sheets(
    folder: Path,
    fitter: MorphableFit,
    fit: FaceFit,
    pictures: Any,
    names: Sequence[str],
    numbers: Sequence[int],
) -> None:
    for start in range(0, len(numbers), ROWS):
        chosen = list(numbers[start : start + ROWS])
        images = torch.stack([pictures[i]["image"] for i in chosen])
        own = fit[torch.tensor(chosen)]
        drawn = fitter.render(own.to(fitter.space.mean.device), max(TILE, images.shape[-1]))
        assert drawn.normal is not None
        seen = fitter.render(own.to(fitter.space.mean.device), images.shape[-1])
        covered = seen.over(images.to(seen.rgb.device)).clamp(-1, 1)
        grid = labelled_grid(
            [
                [
                    Column("picture", unit_range(images)),
                    Column("fit over it", unit_range(covered)),
                    Column("fit alone", on_white(unit_range(drawn.rgb), drawn.mask)),
                    Column("its shape", on_white(shape_picture(drawn.normal), drawn.mask)),
                ]
            ],
            tile=TILE,
            names=[Path(names[i]).stem[:24] for i in chosen],
        )
        save_png(grid, folder / f"{chosen[0]:06d}-{chosen[-1]:06d}.png")


def _first(numbers: Sequence[int], most: int) -> Sequence[int]:
    return numbers if most < 0 else numbers[:most]


def _stem(name: str, number: int) -> str:
    """A file's name for picture `number`; folders' pictures may be called the same."""
    return f"{number:06d}-{Path(name).stem}" if not name.isdecimal() else name
