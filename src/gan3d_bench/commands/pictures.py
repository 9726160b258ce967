"""Pictures that commands are given: read, cut, and what is left out said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gan3d_bench.datamodules.specs import ON_BAD
from gan3d_bench.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

ALIGN = ("ffhq", "none")

Item = TypeVar("Item")


def require_on_bad(value: str) -> None:
    """Raise a `UserError` for an ``--on-bad`` that there is not."""
    if value not in ON_BAD:
        raise UserError(f"--on-bad {value}: expected {' or '.join(ON_BAD)}")


def read_images(
    photographs: Sequence[Path], align: str, size: int, on_bad: str
) -> dict[str, Tensor]:
    """Images (3, size, size) in [-1, 1] by their stems, in the order given.

    Args:
        photographs: pictures, folders or zip files.
        align: ``ffhq`` cuts a picture's largest face as FFHQ's, ``none`` its centred square.
        size: pixels a side.
        on_bad: ``refuse`` stops at a picture that cannot be used, ``skip`` leaves it out.

    Raises:
        UserError: a picture that cannot be used, or none that can.
    """
    from gan3d_bench.faces.ffhq import PhotographAligner
    from gan3d_bench.files.photographs import square, to_tensor

    def cut(picture: Image, name: str) -> list[Tensor]:
        if aligner is None:
            return [to_tensor(square(picture, size))]
        return [face.image for face in aligner(to_tensor(picture), [name])]

    aligner = None if align == "none" else PhotographAligner(size=size)
    return read_pictures(photographs, cut, on_bad)


def read_pictures(
    photographs: Sequence[Path],
    take: Callable[[Image, str], Sequence[Item]],
    on_bad: str,
) -> dict[str, Item]:
    """Return what `take` takes of pictures, by their stems; see `read_named` and `read_images`."""
    from gan3d_bench.datamodules.survey import say_left_out
    from gan3d_bench.files.picture_sources import read_named

    taken = read_named(photographs, take, skip_bad=on_bad == "skip")
    say_left_out("photographs", taken.bad, taken.pictures, taken.passed_over)
    return taken.items
