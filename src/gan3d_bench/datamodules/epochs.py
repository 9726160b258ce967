"""The order in which training sees a data set: whole epochs, each shuffled anew."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def shuffled_batches(count: int, batch: int, start: int, seed: int) -> Iterator[Tensor]:
    """Yield the indices (batch,) of step `start`, `start` + 1, ...: epochs of all images shuffled.

    Depends on `start` and `seed` only, so that a resumed run sees the same images.
    """
    position = start * batch
    epoch, order = -1, torch.empty(0, dtype=torch.long)
    while True:
        chosen = []
        for index in range(position, position + batch):
            if index // count != epoch:
                epoch = index // count
                rng = torch.Generator().manual_seed(1_000_003 * seed + epoch)
                order = torch.randperm(count, generator=rng)
            chosen.append(order[index % count])
        position += batch
        yield torch.stack(chosen)
