"""Fits of many faces on disk, shard by shard: killed runs go on, processes share the work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from gan3d_bench.distributed.processes import rank_and_size
from gan3d_bench.errors import UserError
from gan3d_bench.faces.landmark_fit import LARGEST_ANGLE
from gan3d_bench.files.atomic import atomic_write, write_errors

Make = Callable[[range], Mapping[str, Tensor]]
"""Numbers of items -> tensors whose first axis they are: a `FaceFit`'s, and what belongs to it."""
LARGEST_ERROR = 8.0
"""Of landmarks, pixels of 256: about an eye's height. Fits beyond have missed the face."""
AT_CLAMP = 0.98  # of the largest yaw a fit may take


class FitStore:
    """Items 0 .. N-1 in files of `shard_size` items each, float32 as the fits are.

    Shard k is made by process k mod P of P. A file appears whole or not at all, and carries the
    fingerprint of what made it; one that carries another or is damaged counts as missing and is
    made anew. (A face of the bundled model with a stylecode takes 3 kB: no need for half floats.)

    Args:
        folder: of the files, on a disk that all processes share.
        fingerprint: identifies how items are made wholly: model, settings, pictures.
        shard_size: items a file.
    """

    def __init__(self, folder: Path, fingerprint: str, shard_size: int = 64) -> None:
        self.folder, self.fingerprint, self.shard_size = Path(folder), fingerprint, shard_size

    def shards(self, count: int) -> list[range]:
        """The items of each shard of `count` items."""
        starts = range(0, count, self.shard_size)
        return [range(start, min(start + self.shard_size, count)) for start in starts]

    def has(self, items: range) -> bool:
        """Whether the shard of these items is there, with this fingerprint."""
        try:
            with safe_open(self._path(items), framework="pt") as file:
                return (file.metadata() or {}).get("fingerprint") == self.fingerprint
        except (SafetensorError, OSError):  # missing or damaged
            return False

    def run(self, count: int, make: Make, most: int | None = None) -> list[range]:
        """Make those of this process's shards that are missing, `most` of them at most.

        Args:
            count: N.
            make: must not depend on which shards are there, for a resumed run to end in the same
                bits.
            most: None is all.

        Returns:
            the items of the shards made.

        Raises:
            UserError: a file cannot be written.
            ValueError: `make` gave tensors of another length.
        """
        rank, processes = rank_and_size()
        missing = [part for part in self.shards(count)[rank::processes] if not self.has(part)]
        for items in missing[:most]:
            # fields may be parts of one tensor, which a file cannot hold
            made = {k: v.detach().cpu().contiguous().clone() for k, v in make(items).items()}
            wrong = {name: len(value) for name, value in made.items() if len(value) != len(items)}
            if wrong:
                raise ValueError(f"{wrong} items made, expected {len(items)}")
            path = self._path(items)
            with write_errors(path), atomic_write(path) as temporary:
                save_file(made, temporary, {"fingerprint": self.fingerprint})
        return missing[:most]

    def read(self, items: range) -> dict[str, Tensor]:
        """One shard.

        Raises:
            UserError: it is missing, damaged or of something else.
        """
        path = self._path(items)
        if not self.has(items):
            raise UserError(f"{path}: missing, damaged or of other fits; the same run makes it")
        return load_file(path)

    def load(self, count: int) -> dict[str, Tensor]:
        """All shards of `count` items joined, once every process has run.

        Raises:
            UserError: as `read`.
        """
        parts = [self.read(items) for items in self.shards(count)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _path(self, items: range) -> Path:
        return self.folder / f"{items.start:08d}-{items.stop:08d}.safetensors"


@dataclass(frozen=True)
class FitSummary:
    """Which of N fits can be used, and what is wrong with the others.

    Attributes:
        usable: a face was found, and its fit is none of the following.
        missing: no face was found.
        broken: a number of the fit is NaN or infinite.
        far: the landmarks are further off than `LARGEST_ERROR`.
        turned: the yaw is as large as a fit's may be.
    """

    usable: Bool[Tensor, " N"]
    missing: Bool[Tensor, " N"]
    broken: Bool[Tensor, " N"]
    far: Bool[Tensor, " N"]
    turned: Bool[Tensor, " N"]

    @classmethod
    def of(cls, fits: Mapping[str, Tensor], largest_error: float = LARGEST_ERROR) -> FitSummary:
        """Of the tensors of a `FaceFit`, among others or not."""
        found = fits["found"]
        finite = torch.ones_like(found)
        for name in ("pose", "shape", "colour", "light", "landmark_error", "colour_error"):
            finite &= fits[name].reshape(len(found), -1).isfinite().all(1)
        whole = found & finite
        far = whole & (fits["landmark_error"] > largest_error)
        turned = whole & (fits["pose"][:, 0].abs() > AT_CLAMP * LARGEST_ANGLE)
        return cls(whole & ~far & ~turned, ~found, found & ~finite, far, turned)

    def counts(self) -> dict[str, int]:
        """How many of each, and the total as ``items``."""
        return {"items": len(self.usable)} | {k: int(v.sum()) for k, v in vars(self).items()}

    def status(self) -> list[str]:
        """A word for each fit: the first of these names that is true of it."""
        names = list(vars(self))
        first = torch.stack(list(vars(self).values())).to(torch.uint8).argmax(0)
        return [names[i] for i in first.tolist()]

    def __str__(self) -> str:
        n = self.counts()
        return (
            f"{n['usable']} of {n['items']} fits usable; no face in {n['missing']}, not finite "
            f"{n['broken']}, landmarks too far off {n['far']}, turned too far {n['turned']}"
        )
