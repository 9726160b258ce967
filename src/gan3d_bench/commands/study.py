"""``gan3d-bench study``: a page on which people compare two runs, and the count of their votes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gan3d_bench.benchmarks.results import write_text
from gan3d_bench.errors import UserError
from gan3d_bench.files.atomic import require_folder
from gan3d_bench.files.run_folder import Run, write_json
from gan3d_bench.machine.device import require_device
from gan3d_bench.report import votes
from gan3d_bench.terminal import say

if TYPE_CHECKING:
    from torch import Tensor

    from gan3d_bench.report.study import Shown

MOST_IMAGES = 1000
TILE = 128  # pixels of a view
BATCH = 8


def make_study(
    paths: Sequence[Path],
    images: Path | None,
    out: Path | None,
    seed: int,
    span: float,
    device: str,
    on_bad: str,
    key: Path | None,
) -> int:
    """Write ``study.html``, the page, and ``key.json``, which tells its sides apart.

    Args:
        paths: the two runs.
        images: folder, zip file or picture of what is reconstructed.
        out: folder.
        seed: of the sides.
        span: degrees over which the six views go, see `report.study.azimuths`.
        device: such as "cpu" or "cuda"; "auto" takes a GPU if there is one.
        on_bad: ``refuse`` stops at a picture that cannot be used, ``skip`` leaves it out.
        key: None; it is an option of the tally.

    Raises:
        UserError: not two runs that reconstruct, a picture that cannot be used, or too many.
    """
    from gan3d_bench.commands.pictures import read_images, require_on_bad

    if len(paths) != 2:
        raise UserError(f"{len(paths)} runs; expected two, RUN_A RUN_B, or --tally with answers")
    if key is not None:
        raise UserError(f"--key {key}: expected with --tally alone")
    for option, value in (("--images", images), ("--out", out)):
        if value is None:
            raise UserError(f"{option} is missing; expected with two runs")
    assert images is not None
    assert out is not None
    runs = [Run.open(path) for path in paths]
    for run in runs:
        if not run.spec.reconstructs:
            raise UserError(f"{run}: method '{run.spec.name}' only samples; expected one that "
                            "reconstructs")  # fmt: skip
    require_on_bad(on_bad)
    require_folder("--out", out)
    place = require_device(device)
    sizes: list[int] = [run.config.image_size for run in runs]  # type: ignore[attr-defined]
    found = read_images([images], "none", max(*sizes, TILE), on_bad)
    if len(found) > MOST_IMAGES:
        raise UserError(f"--images {images}: {len(found)} pictures; expected at most {MOST_IMAGES}")

    import torch

    from gan3d_bench.pictures.grids import to_image, unit_range
    from gan3d_bench.rendering.images import resize
    from gan3d_bench.report.showcase import embedded
    from gan3d_bench.report.study import RUNS, Comparison, azimuths, left_sides, study_page

    pictures = torch.stack(list(found.values()))
    shown = [_shown(run, pictures, azimuths(span), place) for run in runs]
    sides = left_sides(len(found), seed)
    inputs = unit_range(resize(pictures, 2 * TILE))
    comparisons = [
        Comparison.of(
            name,
            embedded("input", to_image(inputs[index])),
            dict(zip(RUNS, (own[index] for own in shown), strict=True)),
            sides[index],
        )
        for index, name in enumerate(found)
    ]
    text, sides_key = study_page(comparisons, [str(run) for run in runs], seed)
    write_text(out / "study.html", text)
    write_json(out / "key.json", sides_key)
    say(out / "study.html")
    say(f"{out / 'key.json'}: tells the sides apart; not for annotators")
    return 0


def _shown(run: Run, pictures: Tensor, steps: Sequence[float], place: str) -> list[Shown]:
    """Six views of a run's reconstructions of pictures (N, 3, T, T) in [-1, 1]."""
    import torch

    from gan3d_bench.pictures.grids import colour_on_white, on_white, shape_picture, to_image
    from gan3d_bench.rendering.images import resize
    from gan3d_bench.report.showcase import embedded
    from gan3d_bench.report.study import Shown
    from gan3d_bench.training.fit import load_method

    method = load_method(run).to(place)
    size: int = run.config.image_size  # type: ignore[attr-defined]
    found: list[Shown] = []
    for start in range(0, len(pictures), BATCH):
        with torch.no_grad():
            scene = method.reconstruct(resize(pictures[start : start + BATCH], size).to(place))
            scene.require("normal")
            if scene.input_view is None:
                raise UserError(f"{run}: its scenes have no input view; expected one")
            views = [scene.input_view.gone_round(step) for step in steps]
            seen = [scene.render(view, image_size=TILE) for view in views]
        normals = [shown.normal for shown in seen if shown.normal is not None]
        masks = [shown.mask for shown in seen]
        shapes = torch.cat(
            [on_white(shape_picture(n), m) for n, m in zip(normals, masks, strict=True)], 3
        )
        looks = torch.cat([colour_on_white(shown) for shown in seen], 3)
        found += [
            Shown(embedded("shape", to_image(shape)), embedded("texture", to_image(look)))
            for shape, look in zip(shapes, looks, strict=True)
        ]
    return found


def tally_study(
    paths: Sequence[Path], key: Path | None, images: Path | None, out: Path | None
) -> int:
    """Print which run annotators prefer, and how often three of them agree.

    Args:
        paths: files that the page of a study gave.
        key: what was written beside the page.
        images, out: None; they are options of the page.

    Raises:
        UserError: no key or file, or one that cannot be used; see `report.votes`.
    """
    if key is None:
        raise UserError("--key is missing; expected with --tally the key.json beside the page")
    for option, value in (("--images", images), ("--out", out)):
        if value is not None:
            raise UserError(f"{option} {value}: expected with two runs, without --tally")
    if not paths:
        raise UserError("--tally without files; expected those that annotators sent")
    known = votes.Key.read(key)
    found = votes.tally(paths, known)

    from rich.console import Console
    from rich.table import Table

    from gan3d_bench.files import escaping

    table = Table(*("Share (%)", *(question.capitalize() for question in votes.QUESTIONS)))
    names = {"a": f"A: {known.a}", "b": f"B: {known.b}", "none": "No preference"}
    for choice in votes.PREFERENCES:
        parts = [votes.shares(found.votes[q], [choice])[0] for q in votes.QUESTIONS]
        table.add_row(escaping.terminal(names[choice]), *(f"{part:.1f}" for part in parts))
    table.add_section()
    for kind in votes.AGREEMENTS.values() if found.agreed_on else ():
        parts = [votes.shares(found.agreement[q], [kind])[0] for q in votes.QUESTIONS]
        table.add_row(kind.capitalize(), *(f"{part:.1f}" for part in parts))
    Console().print(table)
    count = found.votes["overall"].total()
    say(f"{count} votes of {len(found.annotators)} annotators on {len(known.left)} pictures")
    say(f"agreement: of {found.agreed_on} pictures that {votes.ANNOTATORS} annotators judged")
    return 0
