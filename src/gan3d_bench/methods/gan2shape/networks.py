"""The five networks: D (depth), A (albedo), V (view), L (light) and E (latent offset).

One class serves one network and K independent networks at once: with ``instances=K`` every
convolution has K groups and every group norm K times the groups, so K networks run as one batched
model. Parameters of instance k are the k-th of K equal chunks along dimension 0, and with K = 1
the module is the plain official network: same keys, same shapes.

Widths (`width` is the number of channels after the first convolution; official: 64 at 64 px, 32
at 128 px): paper tables 6-8 as corrected by the released code (E's skip path sees relu(x)).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

CHANNELS_PER_NORM_GROUP = 4


class InstanceConv2d(nn.Conv2d):
    """`Conv2d` for K instances side by side in the channels."""

    def __init__(
        self, cin: int, cout: int, kernel: int, stride: int = 1, padding: int = 0, *,
        instances: int = 1, bias: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            cin * instances, cout * instances, kernel, stride, padding, groups=instances, bias=bias
        )
        self.cout = cout

    def forward(self, x: Tensor) -> Tensor:
        groups = self.weight.shape[0] // self.cout
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=groups)


class InstanceConvTranspose2d(nn.ConvTranspose2d):
    """Bias-free `ConvTranspose2d` for K instances side by side in the channels."""

    def __init__(
        self, cin: int, cout: int, kernel: int, stride: int = 1, padding: int = 0, *,
        instances: int = 1,
    ) -> None:  # fmt: skip
        super().__init__(
            cin * instances, cout * instances, kernel, stride, padding, groups=instances, bias=False
        )
        self.cin = cin
        self.side = padding

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        groups = self.weight.shape[0] // self.cin
        return F.conv_transpose2d(x, self.weight, None, self.stride, self.side, groups=groups)


class InstanceGroupNorm(nn.GroupNorm):
    """`GroupNorm` with four channels a group, for K instances side by side in the channels."""

    def __init__(self, channels: int, *, instances: int = 1) -> None:
        super().__init__(channels // CHANNELS_PER_NORM_GROUP * instances, channels * instances)

    def forward(self, x: Tensor) -> Tensor:
        groups = x.shape[1] // CHANNELS_PER_NORM_GROUP
        return F.group_norm(x, groups, self.weight, self.bias, self.eps)


class InstanceNetwork(nn.Module):
    """A sequential network, or K of them that share nothing but their shape.

    Attributes:
        instances: number K of independent networks held.
    """

    def __init__(self, layers: Sequence[nn.Module], instances: int) -> None:
        super().__init__()
        self.network = nn.Sequential(*layers)
        self.instances = instances

    def forward(self, x: Tensor, slots: Sequence[int] | None = None) -> Tensor:
        """Run image batches through their instances' networks.

        Args:
            x: (k * m, C, H, W), instance-major: the m images of the first instance come first.
                With one network held, any batch.
            slots: which networks the k blocks belong to; None means all K in order. Ignored when
                only one network is held.

        Returns:
            (k * m, ...), in the order of `x`.
        """
        # channels last: with few output channels grouped convolutions are ten times faster in it
        if self.instances == 1:
            return self.network(x.contiguous(memory_format=torch.channels_last))
        whole = slots is None or list(slots) == list(range(self.instances))
        count = self.instances if slots is None else len(slots)
        beside = _beside(x, count).contiguous(memory_format=torch.channels_last)
        if whole:
            out = self.network(beside)
        else:
            chosen = {
                name: value.unflatten(0, (self.instances, -1))[list(slots or ())].flatten(0, 1)
                for name, value in self.network.named_parameters()
            }
            out = functional_call(self.network, chosen, (beside,))
        return _stacked(out, count)

    def load_each(self, state: Mapping[str, Tensor]) -> None:
        """Give every instance the weights of one plain network (official keys).

        Raises:
            RuntimeError: keys or shapes do not fit.
        """
        spread = {
            key: value.repeat(self.instances, *[1] * (value.dim() - 1))
            for key, value in state.items()
        }
        self.load_state_dict(spread)

    def state_of(self, instance: int) -> dict[str, Tensor]:
        """Return one instance's weights (the only ones, where one network is held) as the state
        dict of a plain network."""
        instance = min(instance, self.instances - 1)
        return {
            key: value.unflatten(0, (self.instances, -1))[instance].clone()
            for key, value in self.state_dict().items()
        }


def _beside(x: Tensor, count: int) -> Tensor:
    """(k m, C, H, W) instance-major -> (m, k C, H, W)."""
    return x.unflatten(0, (count, -1)).transpose(0, 1).flatten(1, 2)


def _stacked(x: Tensor, count: int) -> Tensor:
    """(m, k C, H, W) -> (k m, C, H, W) instance-major."""
    return x.unflatten(1, (count, -1)).transpose(0, 1).flatten(0, 1)


def official_width(image_size: int) -> int:
    """Width of the released networks: 64 channels at 64 px, 32 at 128 px."""
    return max(4096 // image_size, 16)


def _levels(image_size: int) -> int:
    """Number of halvings from the image to 4 x 4."""
    levels = image_size.bit_length() - 3
    if image_size < 16 or image_size != 4 << levels:
        raise ValueError(f"image_size={image_size}: expected a power of two from 16")
    return levels


class AutoEncoder(InstanceNetwork):
    """D and A: an image to a map of `cout` channels, through a code of 1 x 1 pixel.

    Args:
        image_size: S, a power of two from 16.
        cout: 1 for raw depth (no output activation), 3 for albedo in [-1, 1] (tanh).
        width: channels after the first layer, a multiple of 4; None: the official width.
        tanh: squash the output. The released D has none (Table 6 shows one for both).
        instances: number of independent networks.
    """

    def __init__(
        self, image_size: int, cout: int, *, width: int | None = None, tanh: bool = False,
        instances: int = 1,
    ) -> None:  # fmt: skip
        n = instances
        levels = _levels(image_size)
        width = width or official_width(image_size)
        channels = [width << i for i in range(levels)]
        top = channels[-1]
        layers: list[nn.Module] = []
        for cin, c in zip([3, *channels], channels, strict=False):
            layers.append(InstanceConv2d(cin, c, 4, 2, 1, instances=n))
            if c != top:
                layers.append(InstanceGroupNorm(c, instances=n))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
        layers += [
            InstanceConv2d(top, top // 2, 4, instances=n),
            nn.ReLU(inplace=True),
            InstanceConvTranspose2d(top // 2, top, 4, instances=n),
            nn.ReLU(inplace=True),
            InstanceConv2d(top, top, 3, 1, 1, instances=n),
            nn.ReLU(inplace=True),
        ]
        for c in reversed(channels[:-1]):
            layers += [
                InstanceConvTranspose2d(2 * c, c, 4, 2, 1, instances=n),
                InstanceGroupNorm(c, instances=n),
                nn.ReLU(inplace=True),
                InstanceConv2d(c, c, 3, 1, 1, instances=n),
                InstanceGroupNorm(c, instances=n),
                nn.ReLU(inplace=True),
            ]
        layers += [
            nn.Upsample(scale_factor=2, mode="nearest"),
            InstanceConv2d(width, width, 3, 1, 1, instances=n),
            InstanceGroupNorm(width, instances=n),
            nn.ReLU(inplace=True),
            InstanceConv2d(width, width, 5, 1, 2, instances=n),
            InstanceGroupNorm(width, instances=n),
            nn.ReLU(inplace=True),
            InstanceConv2d(width, cout, 5, 1, 2, instances=n),
        ]
        if tanh:
            layers.append(nn.Tanh())
        super().__init__(layers, n)


class Regressor(InstanceNetwork):
    """V and L: an image to `cout` numbers in (-1, 1).

    Args:
        image_size: S, a power of two from 16.
        cout: 6 for views, 4 for lights.
        width: channels after the first layer; None: the official width.
        instances: number of independent networks.
    """

    def __init__(
        self, image_size: int, cout: int, *, width: int | None = None, instances: int = 1
    ) -> None:
        n = instances
        width = width or official_width(image_size)
        channels = [width << i for i in range(_levels(image_size))]
        top = channels[-1]
        layers: list[nn.Module] = []
        for cin, c in zip([3, *channels], channels, strict=False):
            layers += [InstanceConv2d(cin, c, 4, 2, 1, instances=n), nn.ReLU(inplace=True)]
        layers += [
            InstanceConv2d(top, top, 4, instances=n),
            nn.ReLU(inplace=True),
            InstanceConv2d(top, cout, 1, instances=n),
            nn.Tanh(),
        ]
        super().__init__(layers, n)

    def forward(self, x: Tensor, slots: Sequence[int] | None = None) -> Tensor:
        """(k * m, 3, S, S) -> (k * m, cout); see `InstanceNetwork.forward`."""
        return super().forward(x, slots).flatten(1)


class ResidualBlock(nn.Module):
    """Halves the resolution. Both paths see relu(x), as the released in-place ReLU makes it."""

    def __init__(self, cin: int, cout: int, *, instances: int = 1) -> None:
        super().__init__()
        self.conv1 = InstanceConv2d(cin, cout, 3, 2, 1, instances=instances)
        self.conv2 = InstanceConv2d(cout, cout, 3, 1, 1, instances=instances)
        self.conv_sc = InstanceConv2d(cin, cout, 1, instances=instances, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return self.conv2(F.relu(self.conv1(x))) + self.conv_sc(F.avg_pool2d(x, 2))


class OffsetEncoder(InstanceNetwork):
    """E: an image to a code of the mapping network's width.

    Args:
        image_size: S, a power of two from 16.
        cout: width of the code (512 for official teachers).
        width: channels after the first layer; None: 32, the official width.
        instances: number of independent networks.
    """

    def __init__(
        self, image_size: int, cout: int = 512, *, width: int | None = None, instances: int = 1
    ) -> None:
        n = instances
        channels = [(width or 32) << i for i in range(_levels(image_size))]
        top = channels[-1]
        layers: list[nn.Module] = [InstanceConv2d(3, channels[0], 4, 2, 1, instances=n)]
        for cin, c in pairwise(channels):
            layers.append(ResidualBlock(cin, c, instances=n))
        layers += [
            nn.ReLU(inplace=True),
            InstanceConv2d(top, 2 * top, 4, instances=n),
            nn.ReLU(inplace=True),
            InstanceConv2d(2 * top, cout, 1, instances=n),
        ]
        super().__init__(layers, n)

    def forward(self, x: Tensor, slots: Sequence[int] | None = None) -> Tensor:
        """(k * m, 3, S, S) -> (k * m, cout); see `InstanceNetwork.forward`."""
        return super().forward(x, slots).flatten(1)
