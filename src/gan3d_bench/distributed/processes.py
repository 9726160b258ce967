"""Which of the training's processes this is, and what they share and exchange."""

from __future__ import annotations

from typing import TypeVar

import torch.distributed as dist
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torch.distributed.nn.functional import all_reduce

Batch = TypeVar("Batch")
Item = TypeVar("Item")


def rank_and_size() -> tuple[int, int]:
    """Return this process's rank and how many there are; (0, 1) without a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def share(batch: Batch) -> Batch:
    """Return this process's part of something that was drawn for the whole batch.

    Every `processes`-th item, because images B/4 apart share a minibatch standard deviation
    (StyleGAN2's discriminator): the groups are then the same for any number of processes.

    Args:
        batch: a tensor, cut along its first dimension; a `range`; or such in lists, tuples and
            dictionaries, nested as you like. Anything else in these stays as it is.
    """
    rank, processes = rank_and_size()
    return apply_to_collection(batch, (Tensor, range), lambda whole: whole[rank::processes])


def from_rank_zero(value: Item) -> Item:
    """Return what process 0 has for `value`, a plain one; all processes must call it."""
    if rank_and_size()[1] == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def mean_over_processes(value: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes; differentiable."""
    processes = rank_and_size()[1]
    return all_reduce(value) / processes if processes > 1 else value
