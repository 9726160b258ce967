"""Perceptual distances from images that stay the same for a whole phase."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gan3d_bench.losses.perceptual import PerceptualLoss

MAX_BYTES = 1 << 30


class TargetDistances:
    """Distances from fixed images, of which the loss prepares each once (`PerceptualLoss.prepare`).

    An instance's images are prepared together when the first of them is asked for, whatever step
    or process asks: a resumed run gets the same bits. Where the activations of all instances would
    take more than `max_bytes`, nothing is kept.

    Args:
        loss: the perceptual loss.
        images: slot -> the instance's images (P, 3, S, S), as many for each.
        instances: number of slots.
        max_bytes: bound on the memory.
    """

    def __init__(
        self,
        loss: PerceptualLoss,
        images: Callable[[int], Tensor],
        instances: int,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.loss = loss
        self.images = images
        self.instances = instances
        self.max_bytes = max_bytes
        self._kept: dict[int, list[Tensor]] = {}
        self._fits: bool | None = None

    @classmethod
    def of(
        cls, loss: PerceptualLoss, targets: Tensor, samples: Tensor | None = None
    ) -> TargetDistances:
        """From the targets (k, 3, S, S) and, after each, its samples (k, P, 3, S, S), if given."""

        def images(slot: int) -> Tensor:
            target = targets[slot][None]
            return target if samples is None else torch.cat((target, samples[slot].float()))

        return cls(loss, images, len(targets))

    def __call__(self, slots: Sequence[int], rows: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the distance, of images (k * m, 3, S, S) and masks (k * m, 1, S, S), from images.

        Args:
            slots: the k instances.
            rows: (k, m) which of each instance's images.
        """
        if self._fits is None:
            size = sum(x.nbytes for x in self._prepared(slots[0]))
            self._fits = size * self.instances <= self.max_bytes
            if not self._fits:
                self._kept.clear()
        if self._fits:
            parts = [
                [x[row] for x in self._prepared(i)] for i, row in zip(slots, rows, strict=True)
            ]
            # back to what convolutions give: channels first in shape, last in memory
            chosen = [torch.cat(part).movedim(-1, 1) for part in zip(*parts, strict=True)]
        else:
            images = [self.images(i)[row] for i, row in zip(slots, rows, strict=True)]
            chosen = self.loss.prepare(torch.cat(images))
        return lambda x, mask: self.loss.prepared(x, chosen, mask)

    def _prepared(self, slot: int) -> list[Tensor]:
        """Each (P, h, w, C): rows are then copied in the order of memory."""
        if slot not in self._kept:
            prepared = self.loss.prepare(self.images(slot))
            self._kept[slot] = [x.movedim(1, -1).contiguous() for x in prepared]
        return self._kept[slot]


def first_rows(slots: Sequence[int]) -> Tensor:
    """Rows (k, 1) of the k instances' first images, their targets."""
    return torch.zeros(len(slots), 1, dtype=torch.int64)
