"""The page of a user study: two reconstructions of each picture side by side (StyleGAN-R, F).

As the paper's interface (Figure I): the input, six views of either reconstruction, of the bare
shape and of the textured one apart; questions on shape, texture and the whole; sides shuffled. Who
is on which side stands in a key, not in the page.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gan3d_bench.report.showcase import Picture
from gan3d_bench.report.template import fill
from gan3d_bench.report.votes import QUESTIONS

VIEWS = 6
RUNS = ("a", "b")

_ASKED = {
    "overall": "Which reconstruction is better on the whole?",
    "shape": "Which shape is more realistic, and more that of the input?",
    "texture": "Which texture is more realistic, and more that of the input?",
}


@dataclass(frozen=True)
class Shown:
    """Six views of one reconstruction, side by side: its bare shape, and with its texture."""

    shape: Picture
    texture: Picture


@dataclass(frozen=True)
class Comparison:
    """What is seen of one picture.

    Attributes:
        name: of the picture; it is in the key alone.
        image: the picture.
        left, right: its reconstructions.
        left_run: which of `RUNS` is on the left.
    """

    name: str
    image: Picture
    left: Shown
    right: Shown
    left_run: str

    @classmethod
    def of(cls, name: str, image: Picture, shown: Mapping[str, Shown], left_run: str) -> Comparison:
        """The comparison of what both of `RUNS` show, one of them on the left."""
        (right_run,) = set(RUNS) - {left_run}
        return cls(name, image, shown[left_run], shown[right_run], left_run)


def left_sides(count: int, seed: int) -> list[str]:
    """Which of `RUNS` is on the left of each comparison, each with a chance of one half."""
    drawn = torch.randint(2, (count,), generator=torch.Generator().manual_seed(seed))
    return [RUNS[number] for number in drawn.tolist()]


def azimuths(span: float) -> list[float]:
    """Six steps round a subject from the input view, degrees.

    All round from it in equal steps at a span of 360, else evenly over the span, the input view in
    the middle.
    """
    if span == 360:
        return [360 / VIEWS * number for number in range(VIEWS)]
    return [span * (number / (VIEWS - 1) - 0.5) for number in range(VIEWS)]


def study_page(
    comparisons: Sequence[Comparison], runs: Sequence[str], seed: int
) -> tuple[str, dict[str, Any]]:
    """Return the page as one HTML text, and the key that tells its sides apart.

    Args:
        comparisons: at least one.
        runs: names of the two runs, in the order of `RUNS`.
        seed: of the sides, for the key.
    """
    digest = hashlib.sha256()
    for comparison in comparisons:
        for side in (comparison.left, comparison.right):
            digest.update(side.shape.address.encode() + side.texture.address.encode())
    study = digest.hexdigest()[:16]
    questions = {question: _ASKED[question] for question in QUESTIONS}
    text = fill(
        "study.html",
        ["page.css", "study.css"],
        "study.js",
        comparisons=comparisons,
        study=study,
        questions=questions,
    )
    items = [{"name": one.name, "left": one.left_run} for one in comparisons]
    return text, {
        "study": study,
        **dict(zip(RUNS, runs, strict=True)),
        "seed": seed,
        "items": items,
    }
