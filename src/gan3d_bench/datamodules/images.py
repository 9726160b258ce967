"""Pictures from a folder, a zip file or a list, as squares or as FFHQ-aligned faces.

Every picture is decoded once before anything uses it, see `survey`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gan3d_bench.config import require
from gan3d_bench.datamodules.base import (
    DataModule,
    Item,
    Split,
    require_counts,
    require_items,
)
from gan3d_bench.datamodules.specs import ON_BAD, OnBad
from gan3d_bench.datamodules.survey import Points, Survey, look_through, require_good
from gan3d_bench.errors import UserError, unknown_name
from gan3d_bench.faces.ffhq import PhotographAligner, cut, no_face, recipe
from gan3d_bench.faces.scrfd import FaceDetector
from gan3d_bench.files.photographs import centre, decode, square, to_tensor
from gan3d_bench.files.picture_sources import PictureSource, open_source

Align = Literal["none", "ffhq"]
CHOICES = {"align": ("none", "ffhq"), "on_bad": ON_BAD}


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
        points: dict[int, Points] | None = None,
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
        require("image_size", image_size, least=8, most=2048)
        require_counts(train_size=train_size, val_size=val_size, test_size=test_size)
        self.images = str(images)
        self.source = open_source(images, recursive=recursive)
        self.image_size = image_size
        self.align: Align = align
        self.on_bad = on_bad
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

        Centred squares, with their ``original``. Only these pictures are looked at, or all where
        bad ones are skipped, which then have no number.
        """
        skips = self.on_bad == "skip"
        known = self._good() if skips else range(len(self.source))
        require_items(numbers, len(known), repr(self.images), "good images" if skips else "images")
        items = []
        for number in (known[number] for number in numbers):
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
            survey, total = self._look(), len(self.source)
            others = self.source.passed_over
            require_good(survey, total, repr(self.images), self.on_bad, self.on_bad_key, others)
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
        return self.survey().good(len(self.source))

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

    def _look(self) -> Survey:
        detector = (self._detector or FaceDetector()) if self.align == "ffhq" else None
        found_by = (
            (detector.weights.sha256, detector.threshold, detector.overlap) if detector else None
        )
        return look_through(
            len(self.source),
            _Look(self.source, detector),
            (self.source.fingerprint(), found_by),
            aligned=detector is not None,
            # onnxruntime does not survive in forked workers
            workers=0 if detector else self.num_workers,
            cache=self.cache,
        )


class _Look:
    """Decodes a picture, and finds the five points of its largest face where that is asked for."""

    def __init__(self, source: PictureSource, detector: FaceDetector | None) -> None:
        self.source = source
        self.aligner = PhotographAligner(detector) if detector else None

    def __call__(self, index: int) -> Points | None:
        name = self.source.names[index]
        picture = decode(self.source.read(index), name)
        if self.aligner is None:
            return None
        faces: list[tuple[Tensor, float]] = self.aligner.locate(to_tensor(picture))
        if not faces:
            raise UserError(no_face(name, self.aligner.detector))
        return faces[0][0].tolist()


def _has_pictures(path: str) -> bool:
    """Whether a path can be opened without the folders within it."""
    try:
        return bool(open_source(path))
    except UserError:
        return not Path(path).is_dir()
