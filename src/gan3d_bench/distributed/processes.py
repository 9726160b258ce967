"""Which of the training's processes this is."""

from __future__ import annotations

import torch.distributed as dist


def rank_and_size() -> tuple[int, int]:
    """Return this process's rank and how many there are; (0, 1) without a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
