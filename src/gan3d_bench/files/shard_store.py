"""Tensors of many numbered items on disk, shard by shard: killed runs go on, processes share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gan3d_bench.distributed.processes import rank_and_size
from gan3d_bench.errors import UserError
from gan3d_bench.files.atomic import atomic_write, write_errors

Make = Callable[[range], Mapping[str, Tensor]]
"""Numbers of items -> tensors whose first axis they are."""


class ShardStore:
    """Items 0 .. N-1 in files of `shard_size` items each, of the types they are made in.

    Shard k is made by process k mod P of P. A file appears whole or not at all, and carries the
    fingerprint of what made it; one that carries another or is damaged counts as missing and is
    made anew.

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

    def read(self, items: range, names: Collection[str] | None = None) -> dict[str, Tensor]:
        """One shard.

        Args:
            items: of the shard.
            names: which of its tensors; None is all.

        Raises:
            UserError: it is missing, damaged or of something else.
        """
        with self._opened(items) as file:
            return {
                name: file.get_tensor(name)
                for name in file.keys()  # noqa: SIM118  # it is no mapping
                if names is None or name in names
            }

    def load(self, count: int, names: Collection[str] | None = None) -> dict[str, Tensor]:
        """All shards of `count` items joined, once every process has run.

        Raises:
            UserError: as `read`.
        """
        parts = [self.read(items, names) for items in self.shards(count)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def rows(self, count: int, numbers: Sequence[int]) -> dict[str, Tensor]:
        """Some of `count` items by number, at least one, reading no others.

        Raises:
            UserError: as `read`.
        """
        shards, found = self.shards(count), []
        for number in numbers:
            items = shards[number // self.shard_size]
            row = number - items.start
            with self._opened(items) as file:
                found.append({name: file.get_slice(name)[row : row + 1] for name in file.keys()})  # noqa: SIM118
        return {name: torch.cat([part[name] for part in found]) for name in found[0]}

    @contextmanager
    def _opened(self, items: range) -> Iterator[Any]:
        path = self._path(items)
        if not self.has(items):
            raise UserError(f"{path}: missing, damaged or of another run; the same run makes it")
        with safe_open(path, framework="pt") as file:
            yield file

    def _path(self, items: range) -> Path:
        return self.folder / f"{items.start:08d}-{items.stop:08d}.safetensors"
