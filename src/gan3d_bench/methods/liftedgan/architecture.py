"""The architecture of the four networks: its sizes as a type, and told from somebody's weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from gan3d_bench.errors import UserError
from gan3d_bench.files.weights import Shapes, require_weights, shapes_of
from gan3d_bench.methods.liftedgan.networks import (
    DepthDecoder,
    StyleDecomposition,
    StyleManipulation,
    TransformationDecoder,
)

State = Mapping[str, Tensor]
States = Mapping[str, State]

NETWORKS = ("depth", "transformation", "decomposition", "manipulation")
MAX_BLOCKS = 7  # up to 1024 pixels


@dataclass(frozen=True)
class Architecture:
    """Sizes of the networks; see their classes. The defaults are the released ones at 256 px.

    Attributes:
        image_size: S in pixels.
        w_dim: width of stylecodes.
        inject_channels: of the teacher's last feature map.
        depth_channels, depth_most, depth_hidden: widths of the depth decoder.
        map_channels, map_most, map_hidden: widths of the transformation decoder.
        decomposition_hidden, manipulation_hidden: widths of the other two.
    """

    image_size: int = 256
    w_dim: int = 512
    inject_channels: int = 16
    depth_channels: int = 16
    depth_most: int = 512
    depth_hidden: int = 512
    map_channels: int = 16
    map_most: int = 512
    map_hidden: int = 16
    decomposition_hidden: int = 512
    manipulation_hidden: int = 512

    @property
    def blocks(self) -> int:
        """Number of upsampling blocks between 4x4 and S/2."""
        return self.image_size.bit_length() - 4

    def build(self) -> dict[str, nn.Module]:
        """Return new networks by name.

        Raises:
            ValueError: sizes that they cannot have.
        """
        size, w_dim = self.image_size, self.w_dim
        return {
            "depth": DepthDecoder(
                size, w_dim, self.inject_channels, self.depth_channels, self.depth_most,
                self.depth_hidden,
            ),
            "transformation": TransformationDecoder(
                size, w_dim, self.map_channels, self.map_most, self.map_hidden
            ),
            "decomposition": StyleDecomposition(w_dim, self.decomposition_hidden),
            "manipulation": StyleManipulation(w_dim, self.manipulation_hidden),
        }  # fmt: skip

    def shapes(self) -> dict[str, Shapes]:
        """Return the shapes of the networks' state dicts, without making room for them.

        Raises:
            ValueError: see `build`.
        """
        with torch.device("meta"):
            networks = self.build()
        return {name: shapes_of(network) for name, network in networks.items()}


def architecture_of(
    states: States, name: Callable[[str, str], str] = "{}.{}".format
) -> Architecture:
    """Tell the architecture from weights, and check every weight against it.

    Args:
        states: name of the network -> state dict, see `NETWORKS`.
        name: what errors call a weight, from its network and key.

    Raises:
        UserError: missing, unknown or non-finite weights, or ones of other shapes.
    """

    def side(network: str, key: str, axis: int) -> int:
        value = states.get(network, {}).get(key)
        if value is None:
            raise UserError(f"'{name(network, key)}' is missing, expected four networks")
        if axis >= value.ndim or not value.numel():
            shape = tuple(value.shape)
            raise UserError(f"'{name(network, key)}' is {shape}, expected a layer's weights")
        return value.shape[axis]

    blocks = sum(f"ups.{i}.conv.weight" in states.get("depth", {}) for i in range(MAX_BLOCKS))
    architecture = Architecture(
        image_size=8 << blocks,
        w_dim=side("depth", "mapping.layers.0.weight", 1),
        inject_channels=side("depth", "inject.weight", 1),
        depth_channels=side("depth", "inject.weight", 0),
        depth_most=side("depth", "start.weight", 1),
        depth_hidden=side("depth", "mapping.layers.0.weight", 0),
        map_channels=side("transformation", "to_map.weight", 1),
        map_most=side("transformation", "start.weight", 1),
        map_hidden=side("transformation", "mapping.layers.0.weight", 0),
        decomposition_hidden=side("decomposition", "light.layers.0.weight", 0),
        manipulation_hidden=side("manipulation", "to_w.layers.0.weight", 0),
    )
    try:
        expected = architecture.shapes()
    except (ValueError, RuntimeError) as error:
        raise UserError(f"its networks are none of LiftedGAN's: {error}") from error
    require_shapes(states, expected, name)
    return architecture


def require_shapes(
    states: States, expected: Mapping[str, Shapes], name: Callable[[str, str], str] = "{}.{}".format
) -> None:
    """Check weights against the shapes of networks.

    Args:
        states, name: see `architecture_of`.
        expected: name of the network -> key -> shape.

    Raises:
        UserError: missing, unknown or non-finite weights, or ones of other shapes.
    """
    for network, shapes in expected.items():
        require_weights(states.get(network, {}), shapes, partial(name, network))
