"""``gan3d-bench annotate-views``: a teacher's view codes, for a person to give them azimuths."""

from __future__ import annotations

from pathlib import Path

from gan3d_bench.errors import UserError
from gan3d_bench.files.atomic import require_folder, write_errors
from gan3d_bench.machine.device import require_device
from gan3d_bench.terminal import say

SHEET, FILE = "views.png", "views.yaml"
LATENTS = ("cars", "heads-360", "unknown")


def annotate_views(
    teacher: str,
    out: Path,
    candidates: int,
    contents: int,
    latents: str,
    truncation: float,
    device: str,
) -> int:
    """Write a sheet of candidate view codes and the file in which they are annotated.

    Written to `out`: ``views.png``, a row for each candidate with its number, the same contents in
    all of them; ``views.yaml``, which says ``skip`` for each until it is edited: an azimuth of the
    12, or skip. Where the latents' meaning is known the azimuths are there already.

    Args:
        teacher: see `generators.teachers.load_teacher`; a StyleGAN2.
        out: folder.
        candidates: view codes.
        contents: content codes that each is shown with.
        latents: ``cars`` or ``heads-360`` of a teacher that was regressed on these, whose latents
            say the azimuth; ``unknown``.
        truncation: psi of the stylecodes; a run should have the same.
        device: such as "cpu" or "cuda"; "auto" takes a GPU if there is one.

    Raises:
        UserError: no such teacher, not a StyleGAN2, latents that are not those, or a file
            that cannot be written.
    """
    if latents not in LATENTS:
        raise UserError(f"--latents {latents}: expected {' or '.join(LATENTS)}")
    require_folder("--out", out)

    import torch

    from gan3d_bench.generators.stylegan2.latents import mix_styles
    from gan3d_bench.generators.teachers import load_teacher
    from gan3d_bench.methods.stylegan_r import subjects, views
    from gan3d_bench.methods.stylegan_r.style_space import VIEW_ROWS, synthesis_of
    from gan3d_bench.pictures.grids import Column, save_png, unit_range
    from gan3d_bench.pictures.scene_sheets import Sheet

    generator = load_teacher(teacher).generator.to(require_device(device))
    synthesis_of(generator, f"--teacher {teacher}")
    numbers = range(candidates)
    azimuths: dict[int, int | None] = dict.fromkeys(numbers)
    notes: dict[int, str] = {}
    if latents in subjects.SUBJECTS:
        subjects.require_class(latents, generator, f"--latents {latents}: --teacher {teacher}")
        known = subjects.shown_by(latents, generator, numbers, numbers).azimuth.tolist()
        azimuths = {number: views.nearest_bin(known[number]) for number in numbers}
        notes = {number: f"of the latents: {known[number]:.1f}" for number in numbers}
    with torch.no_grad():
        view = views.view_stylecodes(generator, numbers, truncation)
        content = views.content_stylecodes(generator, range(contents), truncation)
        columns = []
        for each in content:
            mixed = mix_styles(view, each.expand(len(view), -1), VIEW_ROWS, generator.num_ws)
            parts = [generator.synthesis(part).float() for part in mixed.split(16)]
            columns.append(Column("", unit_range(torch.cat(parts))))
    names = [
        str(number) if azimuths[number] is None else f"{number}: {azimuths[number]}°"
        for number in numbers
    ]
    with write_errors(out):
        say(save_png(Sheet([columns], names).image(), out / SHEET))
    views.write_views(out / FILE, teacher, azimuths, notes)
    say(out / FILE)
    return 0
