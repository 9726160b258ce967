"""The five networks of a run as one module: images to factors, and E's codes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from gan3d_bench.methods.gan2shape.checkpoint import ENTRIES, States, read_start
from gan3d_bench.methods.gan2shape.config import GAN2ShapeConfig
from gan3d_bench.methods.gan2shape.factors import (
    Factors,
    clamp_border,
    depth_from_raw,
    join_factors,
)
from gan3d_bench.methods.gan2shape.networks import (
    AutoEncoder,
    InstanceNetwork,
    OffsetEncoder,
    Regressor,
)
from gan3d_bench.methods.gan2shape.photogeometry import Renderer
from gan3d_bench.methods.gan2shape.sampling import load_statistics

# Images handled at once where nothing is trained.
CHUNK = 64


class GAN2ShapeNetworks(nn.Module):
    """D, A, V, L and E, each for the K instances of a group, and the means of views and lights.

    With independent weights, a group's instance has a slot of every network; with shared weights
    there is one slot, and slots that are asked for are ignored. Images are instance-major: m images
    of the first slot, then m of the second.

    Args:
        config: of the run.
        code_size: length of E's codes.
        renderer: whose camera and normals factors have.
    """

    depth_net: InstanceNetwork
    albedo_net: InstanceNetwork
    view_net: InstanceNetwork
    light_net: InstanceNetwork
    encoder: InstanceNetwork
    view_mean: Tensor  # (6,) raw
    light_mean: Tensor  # (4,) raw

    def __init__(self, config: GAN2ShapeConfig, code_size: int, renderer: Renderer) -> None:
        super().__init__()
        self.config = config
        self.code_size = code_size
        self.renderer = renderer
        for name, network in self._build(config.group_size).items():
            self.add_module(name, network)
        self.register_buffer("view_mean", torch.zeros(6))
        self.register_buffer("light_mean", torch.zeros(4))

    def _build(self, instances: int) -> dict[str, InstanceNetwork]:
        """Fresh networks for a number of instances, by attribute name."""
        config, size, width = self.config, self.config.image_size, self.config.width
        shape, pose = width.shape or None, width.pose or None

        def copies(network: str) -> int:
            return 1 if config.weights == "shared" or network in config.share else instances

        return {
            "depth_net": AutoEncoder(size, 1, width=shape, instances=copies("depth")),
            "albedo_net": AutoEncoder(size, 3, width=shape, tanh=True, instances=copies("albedo")),
            "view_net": Regressor(size, 6, width=pose, instances=copies("view")),
            "light_net": Regressor(size, 4, width=pose, instances=copies("light")),
            "encoder": OffsetEncoder(
                size, self.code_size, width=width.encoder or None, instances=copies("encoder")
            ),
        }

    # -- where training starts ------------------------------------------------------------------

    def load_means(self) -> None:
        """Read the means of the data set's views and lights.

        Raises:
            UserError: a file of statistics is missing or damaged.
        """
        self.view_mean.copy_(load_statistics(self.config.view.statistics, 6).mean)
        self.light_mean.copy_(load_statistics(self.config.light.statistics, 4).mean)

    @cached_property
    def start(self) -> States:
        """Weights every slot starts from, by attribute name: `start`'s, or random by the seed.

        Raises:
            UserError: `start` is unreadable or does not fit the config.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            networks = self._build(1)
        if self.config.start:
            return read_start(self.config.start, networks)
        return {name: network.state_dict() for name, network in networks.items()}

    def reset(self) -> None:
        """Return all networks to the start.

        Raises:
            UserError: see `start`.
        """
        for name in ENTRIES.values():
            getattr(self, name).load_each(self.start[name])

    # -- images to factors ----------------------------------------------------------------------

    def depth(self, images: Tensor, slots: Sequence[int]) -> Tensor:
        """Canonical depth (B, 1, S, S) of images (B, 3, S, S), border step done."""
        return clamp_border(depth_from_raw(self.depth_net(images, slots).float()))

    def albedo(self, images: Tensor, slots: Sequence[int]) -> Tensor:
        """Albedo (B, 3, S, S) in [-1, 1] of images (B, 3, S, S)."""
        return self.albedo_net(images, slots).float()

    def raw_view(self, images: Tensor, slots: Sequence[int]) -> Tensor:
        """Raw views (B, 6) of images (B, 3, S, S), mean added."""
        return self.view_net(images, slots).float() + self.view_mean

    def raw_light(self, images: Tensor, slots: Sequence[int]) -> Tensor:
        """Raw lights (B, 4) of images (B, 3, S, S), mean added."""
        return self.light_net(images, slots).float() + self.light_mean

    def factors(self, images: Tensor, slots: Sequence[int]) -> Factors:
        """The four factors of images (B, 3, S, S)."""
        return Factors.from_raw(
            self.depth_net(images, slots),
            self.albedo_net(images, slots),
            self.raw_view(images, slots),
            self.raw_light(images, slots),
            camera=self.renderer.camera,
            normal_epsilon=self.renderer.normal_epsilon,
        )

    @torch.no_grad()
    def fixed_factors(self, images: Tensor, slots: Sequence[int]) -> Factors:
        """The factors of one image a slot, without gradient, however many there are."""
        parts = [range(len(slots))[i : i + CHUNK] for i in range(0, len(slots), CHUNK)]
        return join_factors(
            [self.factors(images[list(part)], [slots[i] for i in part]) for part in parts]
        )
