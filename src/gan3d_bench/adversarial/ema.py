"""The running average of a generator's weights, which is the generator to use."""

from __future__ import annotations

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Tensors = tuple[Tensor, ...] | list[Tensor]


class ExponentialMovingAverage(AveragedModel):
    """Follows a network's weights; its buffers are copied.

    The half-life is counted in images, whatever the batch size (Karras et al. 2018, section 4.1;
    ramp-up as in stylegan2-ada-pytorch, training/training_loop.py). Call `update_parameters`
    with the network after each step.

    Attributes:
        module: the network with averaged weights, frozen and in evaluation mode.
        n_averaged: () steps averaged so far, and one for the weights at the start.

    Args:
        network: copied.
        batch: images a step, over all processes.
        kimg: half-life in thousand images.
        rampup: the half-life is at most this part of the images seen so far; 0: no limit.
    """

    def __init__(self, network: nn.Module, batch: int, kimg: float, rampup: float = 0.0) -> None:
        super().__init__(network, multi_avg_fn=self._average)
        self.batch, self.kimg, self.rampup = batch, kimg, rampup
        self.n_averaged += 1  # or else the first update would copy
        self.eval().requires_grad_(False)

    def decay(self, steps: int) -> float:
        """What is kept of the average in step number `steps`, from 1."""
        half_life = 1000 * self.kimg
        if self.rampup > 0:
            half_life = min(half_life, self.rampup * steps * self.batch)
        return 0.5 ** (self.batch / max(half_life, 1e-8))

    def _average(self, averages: Tensors, values: Tensors, steps: Tensor | int) -> None:
        get_ema_multi_avg_fn(self.decay(int(steps)))(averages, values, steps)
