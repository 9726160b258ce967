"""Pictures of many people: of the head model, or of a folder with a subfolder for each."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from gan3d_bench.assets.store import cache_dir
from gan3d_bench.datamodules.base import DataModule, Split
from gan3d_bench.datamodules.heads import HeadsConfig, head_latents
from gan3d_bench.datamodules.images import ImageFolderDataset
from gan3d_bench.datamodules.shards import Shard, write_shard
from gan3d_bench.errors import UserError
from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.heads.sampling import LAYOUT, HeadParameters, render_heads, sample_heads
from gan3d_bench.progress import tracked
from gan3d_bench.rendering.images import from_uint8, to_uint8

YAW, PITCH = 60.0, 30.0  # degrees; views are uniform within
BRIGHTNESS = 2.0  # factor on that of backgrounds, so that a renderer's plain white is among them
IDENTITY = ("identity", "albedo")  # parts of the latents that one person keeps
SHARD_SIZE = 512
RENDER_BATCH = 32


class People(Protocol):
    """Pictures of people.

    Attributes:
        person: (N,) whose picture each is, from 0.
    """

    person: Tensor

    @property
    def yaw(self) -> Tensor | None:
        """(N,) degrees; None where it is not known."""
        ...

    def read(self, indices: Sequence[int]) -> Tensor:
        """Return pictures (B, 3, S, S) in [-1, 1].

        Raises:
            UserError: one of them is missing or damaged.
        """
        ...


class HeadPeople:
    """People of the head model: shape and skin are one's own, everything else is drawn.

    A person is an identity of the split of the same name (`datamodules.heads`). Yaw and pitch are
    uniform within 60 and 30 degrees; expression, roll, shift, light and background are distributed
    as those of the heads, with brighter and darker backgrounds. Rendered once and cached.

    Args:
        split: train or val.
        people: number of people.
        pictures: of each.
        image_size: S.
        seed: of the heads.
    """

    def __init__(
        self, split: Split, people: int, pictures: int, image_size: int, seed: int = 0
    ) -> None:
        self.model = MorphableModel.load_heads()
        self.image_size = image_size
        self.person = torch.arange(people).repeat_interleave(pictures)
        self.parameters = _draw(split, people, pictures, seed, self.model)
        settings = f"{HeadsConfig.version} {split} {pictures} {image_size} {seed} {SHARD_SIZE}"
        digest = hashlib.sha256(settings.encode())
        for tensor in self.model.tensors():
            digest.update(tensor.contiguous().numpy().tobytes())
        name = f"{image_size}px-{digest.hexdigest()[:16]}"
        self.folder = cache_dir() / "heads-people" / name / split
        self._open: dict[int, Shard] = {}

    @property
    def yaw(self) -> Tensor:
        """(N,) degrees."""
        return self.parameters.angles[:, 0]

    def prepare(self) -> None:
        """Render what the cache lacks."""
        missing = [n for n in range(self._shards) if not self._path(n).is_file()]
        if not missing:
            return
        for number in tracked(missing, "rendering people", len(missing)):
            start, stop = self._bounds(number)
            firsts = range(start, stop, RENDER_BATCH)
            parts = [self.render(range(i, min(i + RENDER_BATCH, stop))) for i in firsts]
            write_shard(self._path(number), {"image": to_uint8(torch.cat(parts))})

    def render(self, indices: Sequence[int]) -> Tensor:
        """Return pictures (B, 3, S, S) anew, without the cache."""
        chosen = self.parameters[torch.tensor(indices)]
        with torch.inference_mode():
            image = render_heads(chosen, self.image_size, model=self.model)["image"]
        return image.clone()

    def read(self, indices: Sequence[int]) -> Tensor:
        """See `People`; needs `prepare`."""
        return from_uint8(torch.stack([self._read(index) for index in indices]))

    def _read(self, index: int) -> Tensor:
        number, offset = divmod(index, SHARD_SIZE)
        if number not in self._open:
            start, stop = self._bounds(number)
            self._open[number] = Shard(self._path(number), stop - start, ("image",))
        return self._open[number][offset]["image"]

    @property
    def _shards(self) -> int:
        return math.ceil(len(self.person) / SHARD_SIZE)

    def _bounds(self, number: int) -> tuple[int, int]:
        return number * SHARD_SIZE, min((number + 1) * SHARD_SIZE, len(self.person))

    def _path(self, number: int) -> Path:
        start, stop = self._bounds(number)
        return self.folder / f"{start:07d}-{stop:07d}.safetensors"


def _draw(
    split: Split, people: int, pictures: int, seed: int, model: MorphableModel
) -> HeadParameters:
    own = head_latents(split, range(people), seed).repeat_interleave(pictures, 0)
    # other latents than any head's of this seed, or a person would share its view and light
    latents = head_latents(split, range(people * pictures), seed + 1)
    for part in IDENTITY:
        latents[:, LAYOUT[part]] = own[:, LAYOUT[part]]
    heads = sample_heads(latents, model)
    uniform = torch.erf(latents[:, LAYOUT["view"]][:, :2] / math.sqrt(2))  # in (-1, 1)
    angles = torch.cat([uniform * torch.tensor([YAW, PITCH]), heads.angles[:, 2:]], 1)
    background = heads.background.clone()
    background[:, 0] *= BRIGHTNESS
    return replace(heads, angles=angles, background=background)


class FolderPeople:
    """Pictures of people from a folder or zip file, a subfolder for each person.

    Args:
        items: the pictures; the first part of a name is whose.
        first, people: who: `people` of them from number `first`, in the order of `items`.
        pictures: of each, the first ones; 0 takes all.
        key: what errors call the folder.

    Raises:
        UserError: too few people, or a picture that lies beside the subfolders.
    """

    def __init__(
        self, items: ImageFolderDataset, first: int, people: int, pictures: int, key: str
    ) -> None:
        self.items = items
        folders: dict[str, list[int]] = {}
        for index, name in enumerate(items.names):
            folder, slash, _ = name.partition("/")
            if not slash:
                raise UserError(f"{key}: {name!r} is nobody's; expected a subfolder a person")
            folders.setdefault(folder, []).append(index)
        self.numbers, self.person = _choose(list(folders.values()), first, people, pictures, key)

    @property
    def yaw(self) -> None:
        """Not known."""
        return None

    def read(self, indices: Sequence[int]) -> Tensor:
        """See `People`."""
        return torch.stack([self.items[self.numbers[index]]["image"] for index in indices])


class ModulePeople:
    """People of a data module's split, whoever they are.

    Args:
        data: its items have ``image`` and ``person`` (`datamodules.specs.KEYS`).
        split: train or val.
        people: how many, the first ones.
        pictures: of each, the first ones; 0 takes all.
        key: what errors call the data.

    Raises:
        UserError: too few people.
    """

    def __init__(
        self, data: DataModule, split: Split, people: int, pictures: int, key: str
    ) -> None:
        self.items = data.dataset(split)
        whose: Tensor = self.items.person
        folders = [(whose == person).nonzero()[:, 0].tolist() for person in whose.unique()]
        self.numbers, self.person = _choose(folders, 0, people, pictures, key)

    @property
    def yaw(self) -> None:
        """Not known."""
        return None

    def read(self, indices: Sequence[int]) -> Tensor:
        """See `People`."""
        return torch.stack([self.items[self.numbers[index]]["image"] for index in indices])


def _choose(
    folders: list[list[int]], first: int, people: int, pictures: int, key: str
) -> tuple[list[int], Tensor]:
    """Numbers of the chosen pictures, and (N,) whose each is, from 0."""
    if first + people > len(folders):
        raise UserError(
            f"{key}: {len(folders)} people in it, expected at least {first + people} "
            "(people.train + people.val)"
        )
    chosen = [numbers[: pictures or None] for numbers in folders[first : first + people]]
    counts = torch.tensor([len(numbers) for numbers in chosen])
    numbers = [number for one in chosen for number in one]
    return numbers, torch.arange(people).repeat_interleave(counts)
