"""Fits of a morphable model to numbered pictures, each made once and kept in the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gan3d_bench.assets.store import cache_dir
from gan3d_bench.faces.morphable_fit import FaceFit, MorphableFit
from gan3d_bench.files.atomic import atomic_write, write_errors

BATCH = 8
Pictures = Callable[[Sequence[int]], Tensor]
"""Numbers of items -> their pictures (B, 3, S, S) in [-1, 1]."""


class References:
    """The fits of numbered pictures.

    Args:
        fit: fits those that the cache lacks.
        pictures: makes them.
        source: identifies the pictures wholly: generator, its hash, truncation, size.
        root: folder of caches; None is the suite's.
    """

    def __init__(
        self, fit: MorphableFit, pictures: Pictures, source: str, root: Path | None = None
    ) -> None:
        self.fit = fit
        self.pictures = pictures
        key = hashlib.sha256(f"{fit.fingerprint}\n{source}".encode()).hexdigest()[:16]
        self.folder = (root or cache_dir()) / "face-fits" / key

    def __call__(self, items: Sequence[int]) -> FaceFit:
        """Return the fits of items, on the CPU.

        Raises:
            UserError: the cache cannot be written.
        """
        known = {item: self._read(item) for item in items}
        missing = [item for item, fit in known.items() if fit is None]
        for start in range(0, len(missing), BATCH):
            chosen = missing[start : start + BATCH]
            fits = self.fit(self.pictures(chosen)).to("cpu")
            for number, item in enumerate(chosen):
                known[item] = fit = fits[number : number + 1]
                path = self._path(item)
                # fields may be parts of one tensor, which a file cannot hold
                apart = {name: value.clone() for name, value in fit.tensors().items()}
                with write_errors(path), atomic_write(path) as temporary:
                    save_file(apart, temporary)
        return FaceFit.join([fit for fit in known.values() if fit is not None])

    def found(self, items: Sequence[int]) -> list[int]:
        """Return the items whose pictures show a face; fits none."""
        known = {item: self._read(item) for item in items}
        shown = {item: bool(fit.found[0]) for item, fit in known.items() if fit is not None}
        missing = [item for item in items if item not in shown]
        for start in range(0, len(missing), BATCH):
            chosen = missing[start : start + BATCH]
            shown |= zip(chosen, self.fit.source(self.pictures(chosen))[1].tolist(), strict=True)
        return [item for item in items if shown[item]]

    def _path(self, item: int) -> Path:
        return self.folder / f"{item:06d}.safetensors"

    def _read(self, item: int) -> FaceFit | None:
        path = self._path(item)
        if not path.is_file():
            return None
        try:
            return FaceFit(**load_file(path))
        except (SafetensorError, OSError, TypeError):  # damaged: made anew
            return None


def framed(depth: Tensor, mask: Tensor, far: float, frame: Callable[[Tensor], Tensor]) -> Tensor:
    """A depth map in a method's own frame.

    Args:
        depth, mask: (B, 1, T, T); a mask of 1 where the subject covers the pixel.
        far: depth of what lies off the subject.
        frame: `Method.framed`.

    Returns:
        (B, 1, S, S), `far` in pixels that the subject does not cover wholly.
    """
    near = frame(torch.cat((depth * mask, mask, mask), 1))
    covered = near[:, 1:2] > 0.99
    return torch.where(covered, near[:, :1] / near[:, 1:2].clamp(min=0.5), far)
