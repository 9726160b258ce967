"""A look at every picture before anything uses it, so that what is wrong is said at the start.

Bad pictures are refused or left out (`OnBad`), in either case with one line that counts them. The
findings are cached: a set that did not change is not looked through again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch.utils.data import DataLoader, Dataset

from gan3d_bench.assets.store import cache_dir
from gan3d_bench.datamodules.specs import OnBad
from gan3d_bench.errors import UserError
from gan3d_bench.files.atomic import atomic_write
from gan3d_bench.progress import tracked

# Raise it when reading or finding faces changes, so that old findings are not believed.
VERSION = 2
NAMED = 10  # bad pictures named in the log

Points = list[list[float]]

log = logging.getLogger(__name__)


@dataclass
class Survey:
    """What a look at every picture found.

    Attributes:
        bad: index of a picture that cannot be used -> why, one line.
        points: with alignment, index of every other one -> five points of its largest face.
    """

    bad: dict[int, str] = field(default_factory=dict)
    points: dict[int, Points] = field(default_factory=dict)

    def good(self, total: int) -> list[int]:
        """Indices of the pictures that can be used, of `total`."""
        return [index for index in range(total) if index not in self.bad]


def look_through(
    total: int,
    look: Callable[[int], Points | None],
    state: object,
    *,
    aligned: bool = False,
    workers: int = 0,
    cache: Path | None = None,
) -> Survey:
    """Look at `total` pictures, with a progress bar, unless the cache knows what is found.

    Args:
        total: number of pictures.
        look: takes an index; raises a `UserError` for a bad picture, and returns the five points of
            its face if `aligned`.
        state: tells this set of pictures, and how they are looked at, from others.
        aligned: whether every good picture has points.
        workers: processes that look.
        cache: folder of the findings; None is the suite's cache folder.
    """
    digest = hashlib.sha256(repr((VERSION, state)).encode()).hexdigest()
    path = (cache or cache_dir()) / "images" / f"{digest[:16]}.json"
    survey = _read(path, total, aligned)
    if survey is None:
        survey = Survey()
        looks = DataLoader(_Looks(total, look), batch_size=None, num_workers=workers)
        for index, (reason, points) in enumerate(
            tracked(looks, "looking through the pictures", total)
        ):
            if reason:
                survey.bad[index] = reason
            elif aligned:
                survey.points[index] = points
        # without the cache it only takes longer
        with contextlib.suppress(OSError), atomic_write(path) as temporary:
            temporary.write_text(json.dumps(asdict(survey)))
    return survey


def require_good(
    survey: Survey, total: int, where: str, on_bad: OnBad, key: str, others: Sequence[str] = ()
) -> None:
    """Refuse the bad pictures of a survey, or say which are left out.

    Args:
        survey: of `total` pictures.
        total: their number.
        where: what holds them, for the line.
        on_bad: what is done.
        key: the key or option that says so, for the line.
        others: names of files there that are no pictures.

    Raises:
        UserError: there are some and they are refused, or there is no other picture.
    """
    bad = survey.bad
    if bad and (on_bad == "refuse" or len(bad) == total):
        hint = "" if len(bad) == total else f"; {key}=skip leaves them out"
        first = next(iter(bad.values()))
        raise UserError(
            f"{where}: {len(bad)} of {total} pictures cannot be used{hint}; the first: {first}"
        )
    say_left_out(where, list(bad.values()), total, others)


@rank_zero_only
def say_left_out(where: str, reasons: Sequence[str], total: int, others: Sequence[str]) -> None:
    """Log which of `total` pictures are left out, and how many files are no pictures."""
    if reasons:
        more = f"; and {len(reasons) - NAMED} more" if len(reasons) > NAMED else ""
        named = "; ".join(reasons[:NAMED])
        log.warning("%s: %d of %d pictures left out: %s%s", where, len(reasons), total, named, more)
    if others:
        count = f"{len(others)} file{'s' * (len(others) > 1)}"
        log.warning("%s: %s passed over, no pictures, such as %r", where, count, others[0])


class _Looks(Dataset[tuple[str, Points]]):
    """Of every picture why it is bad, or "", and its points."""

    def __init__(self, total: int, look: Callable[[int], Points | None]) -> None:
        self.total = total
        self.look = look

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, index: int) -> tuple[str, Points]:
        try:
            return "", self.look(index) or []
        except UserError as error:
            return str(error), []


def _read(path: Path, total: int, aligned: bool) -> Survey | None:
    """Return stored findings; None where there are none, or none that can be used."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        bad = {int(index): str(reason) for index, reason in stored["bad"].items()}
        points = {int(index): found for index, found in stored["points"].items()}
        right = all(torch.tensor(found).shape == (5, 2) for found in points.values())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    expected = set(range(total)) - set(bad) if aligned else set()
    return Survey(bad, points) if right and set(points) == expected else None
