"""EG3D as fixed cameras see it: a generator of images from stylecodes alone, as inversion takes."""

from __future__ import annotations

from torch import Tensor, nn

from gan3d_bench.generators import base
from gan3d_bench.generators.eg3d.cameras import require_cameras
from gan3d_bench.generators.eg3d.generator import EG3DGenerator, EG3DSynthesis


class CameraBound(base.Generator):
    """Stylecodes are drawn as the frontal camera conditions them, and seen by the cameras given.

    Copies own a copy of the generator: pivotal tuning leaves the original alone.

    Args:
        generator: EG3D, as `generator`.
        cameras: (B, 25), of the B images that are made at once.

    Raises:
        UserError: cameras that are none.
    """

    def __init__(self, generator: EG3DGenerator, cameras: Tensor) -> None:
        require_cameras(cameras, len(cameras))
        super().__init__(generator.z_dim, generator.w_dim)
        self.generator = generator
        self.mapping = _Told(generator)
        self.synthesis = _Seen(generator.synthesis, cameras)
        self.w_mean, self.w_std = generator.w_mean, generator.w_std

    def style_weights(self) -> list[Tensor]:
        return self.generator.style_weights()


class _Told(nn.Module):
    frontal: Tensor

    def __init__(self, generator: EG3DGenerator) -> None:
        super().__init__()
        self.network = generator.mapping
        frontal = generator.config.orbit.frontal().to(generator.w_mean)
        self.register_buffer("frontal", frontal, persistent=False)

    def forward(self, z: Tensor) -> Tensor:
        return self.network(z, self.frontal.expand(len(z), -1))


class _Seen(nn.Module):
    cameras: Tensor

    def __init__(self, network: EG3DSynthesis, cameras: Tensor) -> None:
        super().__init__()
        self.network, self.num_ws, self.image_size = network, network.num_ws, network.image_size
        self.register_buffer("cameras", cameras.detach(), persistent=False)

    def forward(self, w: Tensor) -> Tensor:
        return self.network(w, self.cameras)
