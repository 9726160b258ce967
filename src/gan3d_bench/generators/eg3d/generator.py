"""The generator: mapping by latents and a camera, tri-planes, volume rendering, super-resolution.

Source: Chan et al. 2022 (arXiv:2112.07945), section 4; training/triplane.py of NVlabs/eg3d.
Parity: vectors ``eg3d_generator`` and ``eg3d_generator_128``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gan3d_bench.generators import base
from gan3d_bench.generators.eg3d.cameras import require_cameras
from gan3d_bench.generators.eg3d.config import EG3DConfig
from gan3d_bench.generators.eg3d.superresolution import SuperResolution
from gan3d_bench.generators.eg3d.triplanes import Decoder, TriplaneField
from gan3d_bench.generators.eg3d.volume import (
    POINTS_AT_ONCE,
    Jitter,
    camera_rays,
    depth_of,
    render_rays,
)
from gan3d_bench.generators.stylegan2 import ops
from gan3d_bench.generators.stylegan2.generator import Mapping, Noise, Synthesis


class VolumePicture(NamedTuple):
    """What cameras see of a volume, R x R pixels.

    Attributes:
        features: (B, F, R, R) in [-1, 1]; the first three channels are the raw image.
        distance: (B, 1, R, R) along the rays, scene units, as released.
        depth: (B, 1, R, R) z in camera space, scene units.
        opacity: (B, 1, R, R) in [0, 1].
    """

    features: Tensor
    distance: Tensor
    depth: Tensor
    opacity: Tensor

    @property
    def raw(self) -> Tensor:
        """(B, 3, R, R) the image before super-resolution."""
        return self.features[:, :3]


class Pictures(NamedTuple):
    """Attributes: image (B, 3, S, S), nominally in [-1, 1], and the volume's picture beside it."""

    image: Tensor
    volume: VolumePicture


class CameraMapping(Mapping):
    """StyleGAN2's mapping network, with labels scaled by `label_scale`."""

    def __init__(self, config: EG3DConfig) -> None:
        own = config.backbone
        super().__init__(own.z_dim, own.w_dim, own.mapping_layers, own.label_dim)
        self.label_scale = config.label_scale

    def forward(self, z: Tensor | None, labels: Tensor | None = None) -> Tensor:
        """See `Mapping.forward`."""
        return super().forward(z, None if labels is None else labels * self.label_scale)


class EG3DSynthesis(nn.Module):
    """Stylecodes and cameras -> images.

    Attributes:
        points_at_once: bound of the points of the volume that are looked at together.
    """

    def __init__(self, config: EG3DConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Synthesis(config.backbone)
        self.decoder = Decoder(
            config.backbone.image_channels // 3,
            config.decoder_width,
            config.features,
            config.decoder_lr_mul,
        )
        self.super_resolution = SuperResolution(
            config.super_resolution,
            config.features,
            config.backbone.w_dim,
            config.sr_clamp,
            config.sr_antialias,
        )
        self.num_ws = self.backbone.num_ws
        self.image_size = config.image_size
        self.points_at_once = POINTS_AT_ONCE

    def forward(self, w: Tensor, cameras: Tensor | None = None, noise: Noise = "const") -> Tensor:
        """Return images (B, 3, S, S) alone, without jitter; see `run`."""
        return self.run(w, cameras, noise).image

    def run(
        self,
        w: Tensor,
        cameras: Tensor | None = None,
        noise: Noise = "const",
        *,
        volume_size: int | None = None,
        rng: torch.Generator | Jitter | None = None,
    ) -> Pictures:
        """Make images and what they were made from.

        Args:
            w: (B, w_dim), used by every layer, or (B, num_ws, w_dim). The last row also drives the
                super-resolution.
            cameras: (B, 25); None for the frontal camera.
            noise: of the backbone.
            volume_size: side of the volume's picture; None for the config's.
            rng: jitters the samples along the rays, as in training, or says where they lie; None:
                they are fixed.

        Raises:
            UserError: cameras that are none.
        """
        if cameras is None:
            cameras = self.config.orbit.frontal(len(w)).to(w.device)
        require_cameras(cameras, len(w))
        volume = self.render(self.planes(w, noise), cameras, volume_size=volume_size, rng=rng)
        return Pictures(self.upscale(volume.features, w if w.ndim == 2 else w[:, -1]), volume)

    def planes(self, w: Tensor, noise: Noise = "const") -> Tensor:
        """Stylecodes (B, w_dim) or (B, num_ws, w_dim) -> planes (B, 3, C, H, W)."""
        return self.backbone(w, noise).unflatten(1, (3, -1))

    def field(self, planes: Tensor) -> TriplaneField:
        """What planes (B, 3, C, H, W) stand for."""
        config = self.config
        return TriplaneField(
            planes.float(), self.decoder, config.volume.box_warp, config.plane_axes
        )

    def render(
        self,
        planes: Tensor,
        cameras: Tensor,
        *,
        volume_size: int | None = None,
        rng: torch.Generator | Jitter | None = None,
    ) -> VolumePicture:
        """Render planes (B, 3, C, H, W) as cameras (B, 25) see them, in float32; see `run`."""
        size = self.config.volume_size if volume_size is None else volume_size
        with ops.full_precision(planes.device):
            cameras = cameras.to(planes.device, torch.float32)
            rays = camera_rays(cameras, size)
            seen = render_rays(
                self.field(planes), rays, self.config.volume, rng, self.points_at_once
            )
            depth = depth_of(seen.distance, cameras, rays)
        features = seen.features.transpose(1, 2).unflatten(2, (size, size))
        maps = (x.view(-1, 1, size, size) for x in (seen.distance, depth, seen.opacity))
        return VolumePicture(features, *maps)

    def upscale(self, features: Tensor, w: Tensor) -> Tensor:
        """Features (B, F, R, R) of a volume's picture, stylecodes (B, w_dim) -> images."""
        return self.super_resolution(features, w, self.config.sr_noise)


class EG3DGenerator(base.Generator):
    """EG3D.

    Labels are the 25 numbers of a camera: what the mapping network is conditioned on, and what the
    volume is seen by, unless other cameras are given.
    """

    mapping: CameraMapping
    synthesis: EG3DSynthesis

    def __init__(self, config: EG3DConfig | None = None) -> None:
        config = config or EG3DConfig()
        own = config.backbone
        super().__init__(own.z_dim, own.w_dim, own.label_dim)
        self.config = config
        self.mapping = CameraMapping(config)
        self.synthesis = EG3DSynthesis(config)

    def style_weights(self) -> list[Tensor]:
        """Of the backbone, as of StyleGAN2: of the first ToRGB layer, too, but of no other."""
        backbone = self.synthesis.backbone
        return [x.affine.weight for x in (*backbone.convs, backbone.stages[0].to_rgb)]

    def forward(
        self,
        z: Tensor,
        psi: float = 1.0,
        cutoff: int | None = None,
        labels: Tensor | None = None,
        cameras: Tensor | None = None,
        noise: Noise = "const",
    ) -> Tensor:
        """Return images (B, 3, S, S) of latents (B, z_dim).

        Args:
            z, psi, cutoff: as of `base.Generator`.
            labels: (B, 25) cameras that the mapping network is conditioned on.
            cameras: (B, 25) that the images are seen by; None takes `labels`.
            noise: of the backbone.

        Raises:
            UserError: labels missing or of another shape; cameras that are none.
        """
        ws = self.truncate(self.stylecodes(z, labels), psi, cutoff)
        return self.synthesis(ws, labels if cameras is None else cameras, noise)
