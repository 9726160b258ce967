"""View codes and the azimuths they are annotated with: 12 bins, a minute's work for a class.

Section 3.1: views are chosen by hand, and each is put into one of 12 azimuths; elevation and
distance are the same for all. Here candidates are numbered, so that a small file says it all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.config import read_mapping
from gan3d_bench.errors import UserError
from gan3d_bench.files.atomic import atomic_write, write_errors
from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.latents import numbered_z
from gan3d_bench.generators.names import teacher_hash
from gan3d_bench.methods.stylegan_r.config import CLASSES, EVEN, LATENTS, StyleGANRConfig
from gan3d_bench.methods.stylegan_r.subjects import CONTENT, VIEW, require_class, shown_by

AZIMUTHS = tuple(range(0, 360, 30))
SKIP = "skip"
_HEADER = f"""\
# The azimuth that each candidate view code shows; for `fit --method stylegan-r views=FILE`.
# One of {", ".join(map(str, AZIMUTHS))} degrees, the nearest, or {SKIP}.
# At 0 the camera faces the front of the object; at 90 it has gone round it towards the picture's
# right, so that the front points to the picture's left.
"""


@dataclass(frozen=True)
class ViewSet:
    """The view codes of a run.

    Attributes:
        numbers: K, of the candidates.
        azimuths: K, degrees, that their cameras start from.
        elevations: K, degrees, likewise.
        annotated: in words, by what.
    """

    numbers: tuple[int, ...]
    azimuths: tuple[float, ...]
    elevations: tuple[float, ...]
    annotated: str

    def __len__(self) -> int:
        return len(self.numbers)


def view_set(config: StyleGANRConfig, generator: Generator) -> ViewSet:
    """The view codes that the key ``views`` stands for, and where their cameras start.

    Raises:
        UserError: latents that are not those of the class, or see `read_views`.
    """
    if config.views == EVEN:
        numbers = range(len(AZIMUTHS) * config.candidates.each)
        azimuths = tuple(float(AZIMUTHS[number % len(AZIMUTHS)]) for number in numbers)
        words = "nothing: evenly spread whatever they show"
        found = ViewSet(tuple(numbers), azimuths, (0.0,) * len(azimuths), words)
    elif config.views in CLASSES:
        require_class(config.views, generator, f"views={config.views}: teacher={config.teacher}")
        exact, candidates = config.cameras.start == LATENTS, config.candidates
        found = views_of_class(config.views, generator, candidates.count, candidates.each, exact)
    else:
        found = read_views(Path(config.views), config.teacher)
    if config.cameras.start == LATENTS:
        return found
    return replace(found, elevations=(config.cameras.elevation,) * len(found))


def nearest_bin(azimuth: float) -> int:
    """The nearest of `AZIMUTHS` to an azimuth in degrees."""
    return AZIMUTHS[round(azimuth / AZIMUTHS[1]) % len(AZIMUTHS)]


def views_of_class(name: str, generator: Generator, count: int, each: int, exact: bool) -> ViewSet:
    """Of `count` candidates the first `each` of every azimuth, as the latents of a class say it.

    Cameras start from the nearest azimuth of the 12 and from elevation 0; or, `exact`, from the
    latents' own.
    """
    numbers = range(count)
    shown = shown_by(name, generator, numbers, numbers)
    azimuths, elevations = shown.azimuth.tolist(), shown.elevation.tolist()
    bins = [nearest_bin(azimuth) for azimuth in azimuths]
    chosen = tuple(n for n in numbers if bins[:n].count(bins[n]) < each)
    if exact:
        own, high = (tuple(angles[n] for n in chosen) for angles in (azimuths, elevations))
        return ViewSet(chosen, own, high, f"the latents of {name}, exactly")
    start = tuple(float(bins[n]) for n in chosen)
    return ViewSet(chosen, start, (0.0,) * len(chosen), f"the latents of {name}")


@torch.no_grad()
def view_stylecodes(generator: Generator, numbers: Iterable[int], truncation: float) -> Tensor:
    """Stylecodes (K, w_dim) of numbered view codes."""
    return _stylecodes(generator, VIEW, numbers, truncation)


@torch.no_grad()
def content_stylecodes(generator: Generator, numbers: Iterable[int], truncation: float) -> Tensor:
    """Stylecodes (N, w_dim) of numbered content codes."""
    return _stylecodes(generator, CONTENT, numbers, truncation)


def _stylecodes(
    generator: Generator, name: str, numbers: Iterable[int], truncation: float
) -> Tensor:
    z = numbered_z(name, numbers, generator.z_dim).to(generator.w_mean.device)
    return generator.truncate(generator.mapping(z), truncation)


# -- files ----------------------------------------------------------------------------------------


def write_views(
    path: Path, teacher: str, azimuths: Mapping[int, int | None], notes: Mapping[int, str]
) -> None:
    """Write what a person edits: a line for each candidate.

    Args:
        path: of a YAML file.
        teacher: its name or path.
        azimuths: number of the candidate -> bin, None for `SKIP`.
        notes: what stands behind a line.

    Raises:
        UserError: it cannot be written.
    """
    lines = [f"{_HEADER}teacher: {fingerprint(teacher)}", "views:"]
    for number, azimuth in azimuths.items():
        note = f"  # {notes[number]}" if number in notes else ""
        lines.append(f"  {number}: {SKIP if azimuth is None else azimuth}{note}")
    with write_errors(path), atomic_write(path) as draft:
        draft.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_views(path: Path, teacher: str) -> ViewSet:
    """Read an annotated file.

    Raises:
        UserError: missing or malformed, of another teacher, a value that is no azimuth of the 12,
            or fewer than two views.
    """
    found = read_mapping(path, "views=")
    if set(found) != {"teacher", "views"} or not isinstance(found["views"], dict):
        raise UserError(
            f"views={path}: expected the keys teacher and views, as "
            "`gan3d-bench annotate-views` writes them"
        )
    if str(found["teacher"]) != fingerprint(teacher):
        raise UserError(
            f"views={path}: of another teacher than teacher={teacher}; expected the file that "
            "`gan3d-bench annotate-views` made of this one"
        )
    chosen = {
        _number(path, key): _azimuth(path, key, text)
        for key, text in found["views"].items()
        if text != SKIP
    }
    if len(chosen) < 2:
        raise UserError(f"views={path}: {len(chosen)} views with an azimuth; expected two or more")
    ordered = dict(sorted(chosen.items()))
    azimuths = tuple(float(azimuth) for azimuth in ordered.values())
    words = "the file of the key `views`"
    return ViewSet(tuple(ordered), azimuths, (0.0,) * len(azimuths), words)


def fingerprint(teacher: str) -> str:
    """Identifies a teacher by what it is read from; a random one by its name."""
    pinned = teacher_hash(teacher)
    if isinstance(pinned, dict):
        pinned = pinned.get("generator.safetensors")
    return str(pinned or teacher)


def _number(path: Path, key: str) -> int:
    if not (key.isascii() and key.isdecimal() and len(key) < 9):
        raise UserError(f"views={path}: view '{key}'; expected the number of a candidate")
    return int(key)


def _azimuth(path: Path, key: str, text: Any) -> int:
    if text not in map(str, AZIMUTHS):
        known = ", ".join(map(str, AZIMUTHS))
        raise UserError(f"views={path}: {key}: {text}; expected one of {known}, or {SKIP}")
    return int(text)
