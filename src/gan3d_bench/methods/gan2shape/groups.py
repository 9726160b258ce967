"""Groups of instances: those that are trained at once, one group after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from gan3d_bench.distributed.processes import share


@dataclass(frozen=True)
class Groups:
    """N instances in groups of at most K.

    With independent weights, instance i of a group has slot i of every network and of every buffer
    of the group.

    Attributes:
        instances: number N.
        size: number K.
    """

    instances: int
    size: int

    def __len__(self) -> int:
        return -(-self.instances // self.size)

    def __getitem__(self, index: int) -> range:
        """Instances of a group.

        Raises:
            IndexError: no such group.
        """
        start = range(0, self.instances, self.size)[index]
        return range(start, min(start + self.size, self.instances))

    def __iter__(self) -> Iterator[range]:
        return (self[index] for index in range(len(self)))

    def slots(self, instances: Sequence[int]) -> list[int]:
        """Positions of instances in their group."""
        return [i % self.size for i in instances]

    def prefix(self, index: int) -> str:
        """What the names of a group's phases begin with; "" where there is one group."""
        return f"group {index + 1}/{len(self)}, " if len(self) > 1 else ""


def active_part(
    group: range, count: int, step: int, rng: Callable[[int], torch.Generator]
) -> list[int]:
    """Instances of a step: all of the group, or the next `count` of a shuffled pass.

    Args:
        group: instances.
        count: of a step; 0: all.
        step: of the phase.
        rng: number of a pass -> what shuffles it.
    """
    if not 0 < count < len(group):
        return list(group)
    epoch, part = divmod(step, len(group) // count)
    return shuffled_part(group, part, count, rng(epoch))


def shuffled_part(group: Sequence[int], part: int, count: int, rng: torch.Generator) -> list[int]:
    """The `part`-th `count` instances of a shuffled group, sorted.

    Args:
        group: instances.
        part: from 0; ``(part + 1) * count`` is at most the group's size.
        count: instances of a part.
        rng: shuffles; the same for all parts of a pass.
    """
    order = torch.randperm(len(group), generator=rng)
    return sorted(group[int(i)] for i in order[part * count : (part + 1) * count])


def own_share(items: Sequence[int]) -> list[int]:
    """This process's part of a step's items, every `processes`-th."""
    return [items[i] for i in share(range(len(items)))]
