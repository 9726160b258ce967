"""Classes of objects that a teacher was regressed on, so that its latents say what it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gan3d_bench.cars import sampling as cars
from gan3d_bench.cars.pack import CarPack
from gan3d_bench.errors import UserError
from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.latents import numbered_z
from gan3d_bench.heads import all_round as heads
from gan3d_bench.heads.sampling import render_heads
from gan3d_bench.methods.stylegan_r.config import CARS, CLASSES, HEADS

CONTENT = "content"  # names of the numbered latents
VIEW = "view"


class Shown(Protocol):
    """What B latents show: azimuth and elevation (B,) of the camera in degrees, among others."""

    @property
    def azimuth(self) -> Tensor: ...

    @property
    def elevation(self) -> Tensor: ...


@dataclass(frozen=True)
class Subjects:
    """A class of objects.

    Attributes:
        num_latents: entries of a latent.
        view: those of the view.
        sample: latents (B, num_latents) -> what they show.
        render: that and a size S -> true maps of it, among them image (B, 3, S, S) in [-1, 1] and
            mask (B, 1, S, S) in [0, 1].
    """

    num_latents: int
    view: slice
    sample: Callable[[Tensor], Shown]
    render: Callable[[Shown, int], Mapping[str, Tensor]]


def _cars(latents: Tensor) -> cars.CarParameters:
    return cars.sample_cars(latents, "train", CarPack.load())


def _render_cars(shown: Shown, image_size: int) -> Mapping[str, Tensor]:
    assert isinstance(shown, cars.CarParameters)
    return cars.render_cars(shown, image_size)


def _render_heads(shown: Shown, image_size: int) -> Mapping[str, Tensor]:
    assert isinstance(shown, heads.HeadsAllRound)
    return render_heads(shown.heads, image_size)


SUBJECTS: dict[str, Subjects] = {
    CARS: Subjects(cars.NUM_LATENTS, cars.LAYOUT["view"], _cars, _render_cars),
    HEADS: Subjects(heads.NUM_LATENTS, heads.LAYOUT["view"], heads.sample_all_round, _render_heads),
}
assert tuple(SUBJECTS) == CLASSES


def require_class(name: str, generator: Generator, what: str) -> None:
    """Raise a `UserError` unless a generator's latents may be those of a class; `what` begins it.

    Args:
        name: of the class, of `SUBJECTS`.
        generator: whose.
        what: is refused.
    """
    expected = SUBJECTS[name].num_latents
    if generator.z_dim != expected:
        raise UserError(
            f"{what} has latents of {generator.z_dim} numbers, expected those of {name} "
            f"({expected}; `fit --method stylegan2 --preset {name}-64` trains such a teacher)"
        )


def shown_by(
    name: str, generator: Generator, views: Sequence[int], contents: Sequence[int]
) -> Shown:
    """What a teacher of a class shows of view codes and content codes (B of each).

    It was regressed on objects whose entries of the view its first style inputs read, and whose
    other entries the others read (`methods/stylegan2`, `regression.view_entries`).
    """
    subjects = SUBJECTS[name]
    # the mapping network normalises latents before anything else
    view, content = (
        torch.nn.functional.normalize(numbered_z(kind, numbers, generator.z_dim))
        * generator.z_dim**0.5
        for kind, numbers in ((VIEW, views), (CONTENT, contents))
    )
    latents = content.clone()
    latents[:, subjects.view] = view[:, subjects.view]
    return subjects.sample(latents)
