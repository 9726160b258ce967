"""``gan3d-bench figures``: the figures that papers show, drawn of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gan3d_bench.commands.pictures import ALIGN, read_images, require_on_bad
from gan3d_bench.errors import UserError
from gan3d_bench.files.atomic import require_folder, write_errors
from gan3d_bench.files.run_folder import Run
from gan3d_bench.machine.device import require_device
from gan3d_bench.terminal import say
from gan3d_bench.training.fit import load_method

if TYPE_CHECKING:
    from torch import Tensor

    from gan3d_bench.methods.base import Method

ALIGNED_SIZE = 512


def figures(
    path: Path,
    count: int,
    seed: int,
    images: Sequence[Path],
    styles: Sequence[Path],
    align: str,
    out: Path | None,
    device: str,
    on_bad: str = "refuse",
) -> int:
    """Write a picture file for each of the method's figures, see `Method.figures`.

    Args:
        path: the run folder.
        count: subjects, where the method samples.
        seed: of the samples.
        images: pictures, folders or zip files of subjects to show instead.
        styles: the same of the styles that are transferred.
        align: ``ffhq`` cuts a picture's largest face as FFHQ's, ``none`` its centred square.
        out: folder; None is ``figures`` in the run's pictures.
        device: such as "cpu" or "cuda"; "auto" takes a GPU if there is one.
        on_bad: ``refuse`` stops at a picture that cannot be used, ``skip`` leaves it out.

    Raises:
        UserError: not a run, no readable checkpoint, a wrong `align`, a picture that cannot be
            used, or nothing to show.
    """
    run = Run.open(path)
    if align not in ALIGN:
        raise UserError(f"--align {align}: expected {' or '.join(ALIGN)}")
    require_on_bad(on_bad)
    name, spec = run.spec.name, run.spec
    if not (spec.samples or spec.reconstructs):
        raise UserError(f"{run}: method '{name}' has no scene to show")
    if images and not spec.reconstructs:
        raise UserError(f"--image {images[0]}: method '{name}' only samples; expected no --image")
    folder = out or run.pictures / "figures"
    require_folder("--out", folder)
    place = require_device(device)
    read = [_read(paths, align, run, on_bad) for paths in (images, styles)]

    import torch

    from gan3d_bench.pictures.grids import save_png

    method = load_method(run).to(place)
    framed = [_framed(given, method, align) for given in read]
    with torch.no_grad():
        sheets = method.figures(count, torch.Generator().manual_seed(seed), *framed)
        with write_errors(folder):
            for key, sheet in sheets.items():
                say(save_png(sheet.image(), folder / f"{key}.png"))
    return 0


def _read(paths: Sequence[Path], align: str, run: Run, on_bad: str) -> Tensor | None:
    """Aligned faces (B, 3, 512, 512), or squares of the size that the run takes."""
    import torch

    if not paths:
        return None
    own: int = run.config.image_size  # type: ignore[attr-defined]
    size = ALIGNED_SIZE if align == "ffhq" else own
    return torch.stack(list(read_images(paths, align, size, on_bad).values()))


def _framed(given: Tensor | None, method: Method, align: str) -> Tensor | None:
    return method.framed(given) if given is not None and align == "ffhq" else given
