"""Batch normalisation over the whole batch of several processes, on any device.

PyTorch's `SyncBatchNorm` refuses tensors on the CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from gan3d_bench.distributed.processes import rank_and_size


class SharedBatchNorm(nn.BatchNorm2d):
    """`BatchNorm1d` or `BatchNorm2d` whose statistics in training are those of all processes.

    Gradients pass through them to every process. Each process's loss must count alike, so a mean
    over its own pictures has to be weighted by their number first.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, C) or (B, C, H, W) -> the same shape."""
        if not self.training or rank_and_size()[1] == 1:
            return super().forward(input)
        x = input.float()
        over = [0, *range(2, x.ndim)]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        own = x.new_tensor([x.numel() / x.shape[1]])
        *total, count = all_reduce(torch.cat([x.sum(over), own])).split([x.shape[1], 1])
        mean = total[0] / count
        centred = x - mean.view(shape)
        # of the centred values: the mean of squares less the squared mean would lose digits
        variance = all_reduce(centred.square().sum(over)) / count
        self._update(mean.detach(), (variance * count / (count - 1)).detach())
        normed = centred * (variance + self.eps).rsqrt().view(shape)
        return (normed * self.weight.view(shape) + self.bias.view(shape)).to(input.dtype)

    def _update(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance, self.momentum)

    def _check_input_dim(self, input: Tensor) -> None:
        """Two dimensions are as good as four."""


def share_statistics(network: nn.Module) -> None:
    """Put a `SharedBatchNorm` with the same weights in the place of every normalisation."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                shared = SharedBatchNorm(child.num_features, child.eps, child.momentum)
                shared.load_state_dict(child.state_dict())
                setattr(module, name, shared)
