"""Pictures from a folder, a zip file or a list, as squares or as FFHQ-aligned faces.

Every picture is decoded once before anything uses it, so that what is wrong with the data is said
at the start. The findings are cached: a set that did not change is not looked through again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gan3d_bench.assets.store import cache_dir
from gan3d_bench.datamodules.base import DataModule, Item, Split, require_items
from gan3d_bench.errors import UserError, unknown_name
from gan3d_bench.faces.ffhq import PhotographAligner, cut, no_face, recipe
from gan3d_bench.faces.scrfd import FaceDetector
from gan3d_bench.files.atomic import atomic_write
from gan3d_bench.files.photographs import centre, decode, square, to_tensor
from gan3d_bench.files.picture_sources import PictureSource, open_source

Align = Literal["none", "ffhq"]
OnBad = Literal["refuse", "skip"]
CHOICES = {"align": ("none", "ffhq"), "on_bad": ("refuse", "skip")}

# Raise it when reading or finding faces changes, so that old findings are not believed.
SURVEY_VERSION = 1
NAMED = 10  # bad pictures named in the log

log = logging.getLogger(__name__)


@dataclass
class Survey:
    """What a look at every picture found.

    Attributes:
        bad: index of a picture that cannot be used -> why, one line.
        points: with alignment, index of every other one -> five points of its largest face.
    """

    bad: dict[int, str] = field(default_factory=dict)
    points: dict[int, list[list[float]]] = field(default_factory=dict)


class ImageFolderDataset(Dataset[dict[str, Any]]):
    """Pictures read when they are asked for.

    Items: ``image`` (3, S, S) in [-1, 1]; ``name``, as `PictureSource.names` has it.

    Args:
        source: the pictures.
        image_size: S.
        indices: which of them, in order; None is all.
        points: index -> five points of the face to align as FFHQ's; None cuts the centred square.

    Raises:
        UserError: on reading, a picture that is missing or damaged.
    """

    def __init__(
        self,
        source: PictureSource,
        image_size: int,
        indices: Sequence[int] | None = None,
        points: dict[int, list[list[float]]] | None = None,
    ) -> None:
        self.source = source
        self.image_size = image_size
        self.indices = list(range(len(source)) if indices is None else indices)
        self.points = points

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def names(self) -> list[str]:
        """Of the pictures, in order."""
        return [self.source.names[number] for number in self.indices]

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = self.indices[index]
        name = self.source.names[number]
        picture = decode(self.source.read(number), name)
        if self.points is None:
            image = to_tensor(square(picture, self.image_size))
        else:
            matrix = recipe(torch.tensor(self.points[number]), self.image_size)
            image = cut(to_tensor(picture), matrix, self.image_size)
        return {"image": image, "name": name}


class ImageFolderDataModule(DataModule[ImageFolderDataset]):
    """Somebody's own pictures.

    `predict_dataloader` gives all of them in the natural order of their names (a list: in its own).
    The splits part them: val and test take as many as they are told, chosen by a hash of the names,
    and train has the rest.

    Args:
        images: a folder, a zip file, a text list of paths, or one picture; see `open_source`.
        image_size: pixels a side, 8 to 2048.
        recursive: also the folders within a folder.
        align: ``none`` cuts the centred square, ``ffhq`` the largest face as FFHQ's were; a picture
            without a face is a bad one then.
        on_bad: ``refuse`` stops with one line at the first bad picture, counting the others;
            ``skip`` leaves them out and logs how many and which (`skipped`).
        train_size: pictures at most, the first ones; None takes all the rest.
        val_size, test_size: numbers of pictures.
        batch_size: images a batch.
        num_workers: worker processes of each loader.
        cache: folder of the findings; None is the suite's cache folder.
        detector: for ``align="ffhq"``; None opens the asset ``scrfd-500m``.

    Raises:
        UserError: a setting out of range; no pictures; on `prepare_data` and `setup`, bad pictures,
            fewer than val and test need, or a missing asset.
    """

    def __init__(
        self,
        images: str | Path,
        *,
        image_size: int = 256,
        recursive: bool = False,
        align: Align = "none",
        on_bad: OnBad = "refuse",
        train_size: int | None = None,
        val_size: int = 0,
        test_size: int = 0,
        batch_size: int = 32,
        num_workers: int = 0,
        cache: Path | None = None,
        detector: FaceDetector | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers)
        for key, value in (("align", align), ("on_bad", on_bad)):
            if value not in CHOICES[key]:
                raise unknown_name(key, value, CHOICES[key])
        if not 8 <= image_size <= 2048:
            raise UserError(f"image_size={image_size}; expected 8 to 2048")
        for key, value in (
            *(("train_size", train_size), ("val_size", val_size), ("test_size", test_size)),
        ):
            if value is not None and value < 0:
                raise UserError(f"{key}={value}; expected 0 or more")
        self.images = str(images)
        self.source = open_source(images, recursive=recursive)
        self.image_size = image_size
        self.align: Align = align
        self.on_bad: OnBad = on_bad
        self.train_size = train_size
        self.sizes: dict[Split, int] = {"val": val_size, "test": test_size}
        self.cache = cache
        self._detector = detector
        self._survey: Survey | None = None

    @classmethod
    def open(
        cls, path: str, image_size: int, *, counts: Mapping[Split, int], seed: int
    ) -> ImageFolderDataModule:
        """See `DataModule.open`. Centred squares; nothing is drawn.

        Of a folder without pictures of its own those of the folders within are taken.
        """
        sizes: dict[str, Any] = {f"{split}_size": count for split, count in counts.items()}
        return cls(path, image_size=image_size, recursive=not _has_pictures(path), **sizes)

    def prepare(self, split: Split) -> None:
        """Look through the pictures, with a progress bar, unless the cache knows them."""
        self.survey()

    def read(self, split: Split, numbers: Sequence[int]) -> list[Item]:
        """Pictures by their numbers in the whole source, which has no splits of its own.

        Centred squares, with their ``original``; only these pictures are looked at.
        """
        require_items(numbers, len(self.source), repr(self.images), "images")
        items = []
        for number in numbers:
            name = self.source.names[number]
            picture = decode(self.source.read(number), name)
            image, original = (
                to_tensor(square(picture, self.image_size)),
                to_tensor(centre(picture)),
            )
            items.append({"image": image, "name": name, "original": original})
        return items

    def survey(self) -> Survey:
        """What is wrong with which pictures; looked for once.

        Raises:
            UserError: bad pictures with ``on_bad="refuse"``, or no good one.
        """
        if self._survey is None:
            survey = self._look()
            self._judge(survey)
            self._survey = survey
        return self._survey

    @property
    def skipped(self) -> dict[str, str]:
        """Name of each picture that is left out -> why."""
        return {self.source.names[i]: reason for i, reason in self.survey().bad.items()}

    def build(self, split: Split) -> ImageFolderDataset:
        """The data set of a split."""
        return self._subset(self._parts()[split])

    def everything(self) -> ImageFolderDataset:
        """All good pictures in order."""
        return self._subset(self._good())

    def predict_dataloader(self) -> DataLoader[dict[str, Any]]:
        return DataLoader(
            self.everything(), batch_size=self.batch_size, num_workers=self.num_workers
        )

    def _subset(self, indices: list[int]) -> ImageFolderDataset:
        points = self.survey().points if self.align == "ffhq" else None
        return ImageFolderDataset(self.source, self.image_size, indices, points)

    def _good(self) -> list[int]:
        bad = self.survey().bad
        return [i for i in range(len(self.source)) if i not in bad]

    def _parts(self) -> dict[Split, list[int]]:
        good = self._good()
        val, test = self.sizes["val"], self.sizes["test"]
        if val + test > len(good):
            raise UserError(
                f"val_size={val} test_size={test}: {self.images!r} has only {len(good)} pictures"
            )
        names = self.source.names
        drawn = sorted(good, key=lambda i: hashlib.sha256(names[i].encode()).digest())
        return {
            "test": sorted(drawn[:test]),
            "val": sorted(drawn[test : test + val]),
            "train": sorted(drawn[test + val :])[: self.train_size],
        }

    def _judge(self, survey: Survey) -> None:
        bad, total = survey.bad, len(self.source)
        if not bad:
            return
        first = next(iter(bad.values()))
        if self.on_bad == "refuse" or len(bad) == total:
            hint = "" if len(bad) == total else "; on_bad=skip leaves them out"
            raise UserError(
                f"images={self.images!r}: {len(bad)} of {total} pictures cannot be used{hint}; "
                f"the first: {first}"
            )
        _report(self.images, list(bad.values()), total)

    def _look(self) -> Survey:
        detector = (self._detector or FaceDetector()) if self.align == "ffhq" else None
        state = (
            SURVEY_VERSION,
            self.source.fingerprint(),
            (detector.weights.sha256, detector.threshold, detector.overlap) if detector else None,
        )
        digest = hashlib.sha256(repr(state).encode()).hexdigest()
        path = (self.cache or cache_dir()) / "images" / f"{digest[:16]}.json"
        survey = _read_survey(path, len(self.source), detector is not None)
        if survey is None:
            survey = self._examine(detector)
            # without the cache it only takes longer
            with contextlib.suppress(OSError), atomic_write(path) as temporary:
                temporary.write_text(json.dumps(asdict(survey)))
        return survey

    def _examine(self, detector: FaceDetector | None) -> Survey:
        survey = Survey()
        # onnxruntime does not survive in forked workers; they only decode where faces are sought
        workers = 0 if detector else self.num_workers
        looks = DataLoader(_Looks(self.source, detector), batch_size=None, num_workers=workers)
        found = track(looks, "looking through the pictures", len(self.source), transient=True)
        for index, (reason, points) in enumerate(found):
            if reason:
                survey.bad[index] = reason
            elif detector:
                survey.points[index] = points
        return survey


class _Looks(Dataset[tuple[str, list[list[float]]]]):
    """Of every picture why it is bad, or "", and the five points of its largest face."""

    def __init__(self, source: PictureSource, detector: FaceDetector | None) -> None:
        self.source = source
        self.aligner = PhotographAligner(detector) if detector else None

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[str, list[list[float]]]:
        name = self.source.names[index]
        try:
            picture = decode(self.source.read(index), name)
        except UserError as error:
            return str(error), []
        if self.aligner is None:
            return "", []
        faces: list[tuple[Tensor, float]] = self.aligner.locate(to_tensor(picture))
        if not faces:
            return no_face(name, self.aligner.detector), []
        return "", faces[0][0].tolist()


def _has_pictures(path: str) -> bool:
    """Whether a path can be opened without the folders within it."""
    try:
        return bool(open_source(path))
    except UserError:
        return not Path(path).is_dir()


def _read_survey(path: Path, total: int, aligned: bool) -> Survey | None:
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


@rank_zero_only
def _report(images: str, reasons: list[str], total: int) -> None:
    more = f"; and {len(reasons) - NAMED} more" if len(reasons) > NAMED else ""
    named = "; ".join(reasons[:NAMED])
    log.warning(
        "images=%r: %d of %d pictures left out: %s%s", images, len(reasons), total, named, more
    )
