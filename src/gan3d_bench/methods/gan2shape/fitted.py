"""The result of a run: factors of the instances whose training has ended."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gan3d_bench.methods.gan2shape.factors import Factors, light_from_raw, view_from_raw
from gan3d_bench.methods.gan2shape.model import CHUNK, GAN2ShapeNetworks
from gan3d_bench.methods.gan2shape.photogeometry import Renderer


class FittedFactors(nn.Module):
    """Factors of N instances, as buffers: they outlive the networks of their group.

    Args:
        n: instances.
        size: side S of the maps.
    """

    known: Tensor  # (N,) bool: whose factors are there
    depth: Tensor  # (N, 1, S, S)
    albedo: Tensor  # (N, 3, S, S)
    view: Tensor  # (N, 6) raw, mean added
    light: Tensor  # (N, 4) raw, mean added

    def __init__(self, n: int, size: int) -> None:
        super().__init__()
        self.register_buffer("known", torch.zeros(n, dtype=torch.bool))
        self.register_buffer("depth", torch.ones(n, 1, size, size))
        self.register_buffer("albedo", torch.zeros(n, 3, size, size))
        self.register_buffer("view", torch.zeros(n, 6))
        self.register_buffer("light", torch.zeros(n, 4))

    @torch.no_grad()
    def store(
        self,
        instances: Sequence[int],
        networks: GAN2ShapeNetworks,
        images: Tensor,
        slots: Sequence[int],
    ) -> None:
        """Keep what the networks say about instances, computed in float32.

        Args:
            instances: k of the N.
            networks: trained.
            images: (k, 3, S, S), of the instances.
            slots: the k instances' slots.
        """
        with torch.autocast(images.device.type, enabled=False):
            for start in range(0, len(instances), CHUNK):
                part = slice(start, start + CHUNK)
                own, shown, chosen = list(instances[part]), images[part], slots[part]
                self.depth[own] = networks.depth(shown, chosen)
                self.albedo[own] = networks.albedo(shown, chosen)
                self.view[own] = networks.raw_view(shown, chosen)
                self.light[own] = networks.raw_light(shown, chosen)
        self.known[list(instances)] = True

    def factors(self, instances: Sequence[int], renderer: Renderer) -> Factors:
        """The factors kept of instances, with the normals `renderer` gives them."""
        index = list(instances)
        depth = self.depth[index]
        return Factors(
            depth,
            self.albedo[index],
            renderer.normals(depth),
            view_from_raw(self.view[index]),
            light_from_raw(self.light[index]),
        )
