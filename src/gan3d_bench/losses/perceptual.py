"""Perceptual losses: LPIPS with a VGG16 or AlexNet trunk, and discriminator features.

LPIPS (Zhang et al. 2018, eq. 1, version 0.1) compares channel-normalised activations ``f`` and
``g`` of a fixed network at five layers, each channel weighted by a learned ``w >= 0``::

    d(x, y) = sum_layers mean_HW sum_c w_c (f_c / |f| - g_c / |g|)^2

Its weights are assets (``vgg16-lpips``, ``alexnet-lpips``). Where they are absent, the features of
a teacher's discriminator can stand in; a run states by name which loss it used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gan3d_bench.assets.store import asset_path
from gan3d_bench.errors import UserError, unknown_name
from gan3d_bench.files.array_pickles import load_array_pickle

Images = Float[Tensor, "B 3 H W"]
Net = Literal["vgg", "alex"]
Distance = Callable[[Tensor], Tensor]
"""From images (B, 3, H, W) in [-1, 1] to their distances (B,) from fixed ones."""


class _Conv(NamedTuple):
    """Convolution + ReLU, after a max pool of `pool` (kernel) if not zero."""

    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    pool: int = 0
    tap: bool = False


class _Trunk(NamedTuple):
    asset: str
    key: str
    convs: tuple[_Conv, ...]


# torchvision's vgg16 and alexnet up to the last layer LPIPS looks at; taps are after the ReLU.
_TRUNKS: dict[Net, _Trunk] = {
    "vgg": _Trunk(
        "vgg16-lpips",
        "VGG16_0",
        (
            _Conv(64),
            _Conv(64, tap=True),
            _Conv(128, pool=2),
            _Conv(128, tap=True),
            _Conv(256, pool=2),
            _Conv(256),
            _Conv(256, tap=True),
            _Conv(512, pool=2),
            _Conv(512),
            _Conv(512, tap=True),
            _Conv(512, pool=2),
            _Conv(512),
            _Conv(512, tap=True),
        ),
    ),
    "alex": _Trunk(
        "alexnet-lpips",
        "AlexNet_0",
        (
            _Conv(64, kernel=11, stride=4, padding=2, tap=True),
            _Conv(192, kernel=5, padding=2, pool=3, tap=True),
            _Conv(384, pool=3, tap=True),
            _Conv(256, tap=True),
            _Conv(256, tap=True),
        ),
    ),
}


LAYERS = 5


def least_size(net: Net, layers: int = LAYERS) -> int:
    """Return the pixels a side that the first `layers` activations of an LPIPS network need."""
    size = 1
    for conv in reversed(_up_to(net, layers)):
        size = max(1, (size - 1) * conv.stride + conv.kernel - 2 * conv.padding)
        size = (size - 1) * 2 + conv.pool if conv.pool else size
    return size


def _up_to(net: Net, layers: int) -> tuple[_Conv, ...]:
    """The convolutions up to the last of `layers` taps."""
    convs = _TRUNKS[net].convs
    taps = [index for index, conv in enumerate(convs) if conv.tap]
    return convs[: taps[layers - 1] + 1]


class LPIPS(nn.Module):
    """The LPIPS distance with frozen weights, differentiable in both images.

    Computes in float32 also under autocast. Its weights are left out of ``state_dict``: they are
    an asset, so checkpoints of a run need not carry them.

    Args:
        net: ``vgg`` or ``alex``.
        weights: the asset's tree of arrays; None reads the asset.

    Raises:
        UserError: unknown `net`, or the asset is missing or damaged.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, net: Net = "vgg", weights: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        if net not in _TRUNKS:
            raise unknown_name("LPIPS network", net, _TRUNKS)
        self.net: Net = net
        self.trunk = _TRUNKS[net]
        self._load(weights or load_array_pickle(asset_path(self.trunk.asset)))
        # ImageNet mean and deviation, expressed for images in [-1, 1] (Zhang et al. 2018)
        for name, values in (("shift", (-0.030, -0.088, -0.188)), ("scale", (0.458, 0.448, 0.450))):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def _load(self, weights: Mapping[str, Any]) -> None:
        """Take kernels (HWIO arrays) and biases into buffers, checking every shape."""
        channels = 3
        try:
            for index, conv in enumerate(self.trunk.convs):
                arrays = weights[self.trunk.key][f"Conv_{index}"]
                kernel = torch.from_numpy(arrays["kernel"]).permute(3, 2, 0, 1).contiguous()
                bias = torch.from_numpy(arrays["bias"]).clone()
                shape = (conv.channels, channels, conv.kernel, conv.kernel)
                if kernel.shape != shape or bias.shape != shape[:1]:
                    raise ValueError(f"layer {index}: {tuple(kernel.shape)}, expected {shape}")
                self.register_buffer(f"kernel_{index}", kernel, persistent=False)
                self.register_buffer(f"bias_{index}", bias, persistent=False)
                channels = conv.channels
            for index, conv in enumerate(c for c in self.trunk.convs if c.tap):
                head = torch.from_numpy(weights[f"NetLinLayer_{index}"]["Conv_0"]["kernel"])
                head = head.reshape(1, conv.channels, 1, 1).clone()
                self.register_buffer(f"head_{index}", head, persistent=False)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"the LPIPS '{self.net}' weights do not fit: {error}") from error

    def features(self, images: Images, layers: int = LAYERS) -> list[Tensor]:
        """Return the first activations after ReLU, each (B, C, h, w), of images in [-1, 1].

        Args:
            images: (B, 3, H, W), at least `least_size` pixels a side.
            layers: how many, of five; what lies behind them is not computed.

        Raises:
            ValueError: images are not (B, 3, H, W), or smaller than these layers can take.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images: expected (B, 3, H, W), got {tuple(images.shape)}")
        least = least_size(self.net, layers)
        if min(images.shape[-2:]) < least:
            raise ValueError(
                f"images: LPIPS '{self.net}' needs at least {least} pixels a side, got "
                f"{tuple(images.shape[-2:])}"
            )
        taps = []
        with torch.autocast(images.device.type, enabled=False):
            x = (images.float() - self.shift) / self.scale
            for index, conv in enumerate(_up_to(self.net, layers)):
                if conv.pool:
                    x = F.max_pool2d(x, conv.pool, stride=2)
                kernel, bias = self.get_buffer(f"kernel_{index}"), self.get_buffer(f"bias_{index}")
                x = F.relu(F.conv2d(x, kernel, bias, conv.stride, conv.padding), inplace=True)
                if conv.tap:
                    taps.append(x)
        return taps

    def layers(self, x: Images, y: Images) -> Float[Tensor, "B 5"]:
        """Return the five terms of the distance between images in [-1, 1], in network order."""
        if x.shape != y.shape:
            raise ValueError(f"images differ in shape: {tuple(x.shape)} and {tuple(y.shape)}")
        return self._layers(self._unit_features(x), self._unit_features(y))

    def against(self, y: Images) -> Distance:
        """Return ``x -> self(x, y)``, the activations of `y` computed once, without gradient."""
        with torch.no_grad():
            features = self._unit_features(y)
        return lambda x: self._layers(self._unit_features(x), features).sum(1)

    def _unit_features(self, images: Images) -> list[Tensor]:
        with torch.autocast(images.device.type, enabled=False):
            return [_unit(f) for f in self.features(images)]

    def _layers(self, x: list[Tensor], y: list[Tensor]) -> Float[Tensor, "B 5"]:
        with torch.autocast(x[0].device.type, enabled=False):
            terms = [
                ((f - g).square() * self.get_buffer(f"head_{index}")).sum(1).mean((-2, -1))
                for index, (f, g) in enumerate(zip(x, y, strict=True))
            ]
        return torch.stack(terms, dim=1)

    def forward(self, x: Images, y: Images) -> Float[Tensor, " B"]:
        """Return the distance of each pair of images in [-1, 1]."""
        return self.layers(x, y).sum(1)


def _unit(features: Tensor) -> Tensor:
    """Normalise over channels. The gradient where all channels are zero is zero, not NaN."""
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-10)


class PerceptualLoss(Protocol):
    """Distance of image pairs, one number a pair, called ``loss(x, y, mask=None)``.

    Images (B, 3, H, W) in [-1, 1]; mask (B, 1, H, W) in [0, 1] or None; returns (B,) float32.
    `name` is what results call it.
    """

    name: str

    def __call__(self, x: Tensor, y: Tensor, mask: Tensor | None = None) -> Tensor: ...

    def against(self, y: Tensor) -> Distance:
        """Return ``x -> loss(x, y)``, cheaper for many `x`; no gradient reaches `y`."""
        ...

    def prepare(self, y: Tensor) -> list[Tensor]:
        """Return what is the same for every `x` and mask, each (B, C, h, w), without gradient."""
        ...

    def prepared(self, x: Tensor, y: list[Tensor], mask: Tensor | None = None) -> Tensor:
        """Return ``loss(x, y, mask)`` of images y that `prepare` has seen."""
        ...


class FeatureExtractor(Protocol):
    """What a discriminator must offer: its first `n` activations (B, C, h, w), finest first."""

    def features(self, images: Tensor, n: int) -> Sequence[Tensor]: ...


class LPIPSLoss(nn.Module):
    """LPIPS as a loss: both images are multiplied by the mask first (as GAN2Shape)."""

    def __init__(self, net: Net = "vgg", lpips: LPIPS | None = None) -> None:
        super().__init__()
        self.lpips = lpips or LPIPS(net)
        self.name = f"lpips-{self.lpips.net}"

    def forward(
        self, x: Images, y: Images, mask: Float[Tensor, "B 1 H W"] | None = None
    ) -> Float[Tensor, " B"]:
        """Return the distance of each pair; see :class:`PerceptualLoss`."""
        if mask is not None:
            x, y = x * mask, y * mask
        return self.lpips(x, y)

    def against(self, y: Images) -> Distance:
        """See :class:`PerceptualLoss`."""
        return self.lpips.against(y)

    def prepare(self, y: Images) -> list[Tensor]:
        """See :class:`PerceptualLoss`: the images themselves, as masks change what LPIPS sees."""
        return [y.detach()]

    def prepared(self, x: Images, y: list[Tensor], mask: Tensor | None = None) -> Tensor:
        """See :class:`PerceptualLoss`."""
        return self(x, y[0], mask)


class DiscriminatorFeatureLoss(nn.Module):
    """Distance between the activations of a frozen discriminator, summed over its layers.

    ``l1`` is GAN2Shape's loss (Pan et al. 2021, eq. 5; gan2shape/losses.py): the mean over
    channels and the mask's pixels of ``|f - g|``. ``unit`` is LPIPS's form without learned heads:
    the squared distance of channel-normalised activations, averaged over the mask and over the
    layers, so that its scale (0 to 4) depends on no discriminator's magnitude.

    The mask is average-pooled to each layer's size. `discriminator` is called as it is: its owner
    freezes it.

    Args:
        discriminator: anything with ``features(images, n)``, finest first.
        distance: ``l1`` or ``unit``.
        layers: how many of the activations count, from the first.
    """

    def __init__(
        self,
        discriminator: FeatureExtractor,
        distance: Literal["l1", "unit"] = "unit",
        layers: int = 4,
    ) -> None:
        super().__init__()
        self.distance = distance
        self.layers = layers
        self.name = "discriminator" if distance == "unit" else "discriminator-l1"
        # In a tuple, so that the discriminator is neither saved nor trained with the loss's owner.
        self._discriminator = (discriminator,)

    def forward(
        self, x: Images, y: Images, mask: Float[Tensor, "B 1 H W"] | None = None
    ) -> Float[Tensor, " B"]:
        """Return the distance of each pair; see :class:`PerceptualLoss`."""
        return self._distance(self._features(x), self._features(y), mask)

    def against(self, y: Images) -> Distance:
        """See :class:`PerceptualLoss`."""
        features = self.prepare(y)
        return lambda x: self.prepared(x, features)

    @torch.no_grad()
    def prepare(self, y: Images) -> list[Tensor]:
        """See :class:`PerceptualLoss`: the activations."""
        return self._features(y)

    def prepared(self, x: Images, y: list[Tensor], mask: Tensor | None = None) -> Tensor:
        """See :class:`PerceptualLoss`."""
        return self._distance(self._features(x), y, mask)

    def _distance(self, x: list[Tensor], y: list[Tensor], mask: Tensor | None) -> Tensor:
        # The network may run in the caller's reduced precision; distances do not.
        with torch.autocast(x[0].device.type, enabled=False):
            terms = [self._term(f, g, mask) for f, g in zip(x, y, strict=True)]
        total = torch.stack(terms).sum(0)
        return total / len(terms) if self.distance == "unit" else total

    def _features(self, images: Tensor) -> list[Tensor]:
        features = self._discriminator[0].features(images.float(), self.layers)
        with torch.autocast(images.device.type, enabled=False):
            return [_unit(f.float()) if self.distance == "unit" else f.float() for f in features]

    def _term(self, f: Tensor, g: Tensor, mask: Tensor | None) -> Tensor:
        if self.distance == "unit":
            distance = (f - g).square().sum(1, keepdim=True)
        else:
            distance = (f - g).abs().mean(1, keepdim=True)
        if mask is None:
            return distance.mean((1, 2, 3))
        weight = F.adaptive_avg_pool2d(mask.float(), (f.shape[-2], f.shape[-1]))
        return (distance * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp_min(1e-7)


_LPIPS: dict[str, Net] = {"lpips-vgg": "vgg", "lpips-alex": "alex"}
PERCEPTUAL_LOSSES = ("lpips-vgg", "lpips-alex", "discriminator", "discriminator-l1")


def build_perceptual(
    name: str, discriminator: FeatureExtractor | None = None, image_size: int | None = None
) -> PerceptualLoss:
    """Return the perceptual loss called `name`.

    Args:
        name: ``lpips-vgg``, ``lpips-alex`` (assets), ``discriminator`` or ``discriminator-l1``.
        discriminator: needed by the last two; the teacher's.
        image_size: pixels a side of the images that it will compare; None: not known yet.

    Raises:
        UserError: unknown name; the asset is missing (with the command that gets it); no
            discriminator was given; the images are too small for it.
    """
    if name not in PERCEPTUAL_LOSSES:
        raise unknown_name("perceptual loss", name, PERCEPTUAL_LOSSES)
    if name in _LPIPS:
        _require_size(name, image_size, least_size(_LPIPS[name]))
        return LPIPSLoss(_LPIPS[name])
    if discriminator is None:
        raise UserError(f"perceptual loss '{name}' needs a teacher with a discriminator")
    loss = DiscriminatorFeatureLoss(
        discriminator, distance="unit" if name == "discriminator" else "l1"
    )
    # each block halves the images; a discriminator of small ones has few
    blocks = len(getattr(discriminator, "blocks", range(loss.layers)))
    _require_size(name, image_size, 2 ** min(loss.layers, blocks))
    return loss


def _require_size(name: str, image_size: int | None, least: int) -> None:
    if image_size is not None and image_size < least:
        raise UserError(
            f"perceptual loss '{name}' of images of {image_size} pixels: expected at least {least}"
        )
