"""What an inversion looks like."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from gan3d_bench.generators.inversion.invert import Inversion
from gan3d_bench.pictures.grids import Column, labelled_grid, save_png, unit_range
from gan3d_bench.rendering.images import resize


def save_inversion(inversion: Inversion, images: Tensor, path: Path, tile: int = 256) -> Path:
    """Write a PNG, one row an image: input, inversion, tuned if it was, and their difference.

    Args:
        inversion: what became of the images.
        images: (B, 3, S, S) in [-1, 1].
        path: the file.
        tile: width of a picture.
    """
    given, found = (
        unit_range(resize(x.detach().float().cpu(), min(tile, x.shape[-1])))
        for x in (images, inversion.images)
    )
    side = min(given.shape[-1], found.shape[-1])
    difference = (resize(given, side) - resize(found, side)).abs()
    columns = [Column("input", given)]
    if inversion.projection is not None:
        columns.append(Column("inversion", unit_range(inversion.projection.images)))
        columns.append(Column("tuned", found))
    else:
        columns.append(Column("inversion", found))
    return save_png(labelled_grid([columns, [Column("difference", difference)]], tile=tile), path)
