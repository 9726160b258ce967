"""The architecture of an EG3D generator, and those of the released ones."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from gan3d_bench.errors import UserError, unknown_name
from gan3d_bench.generators.eg3d.cameras import LABEL_DIM, LIMIT, CameraOrbit
from gan3d_bench.generators.eg3d.superresolution import VARIANTS
from gan3d_bench.generators.eg3d.triplanes import PLANE_AXES
from gan3d_bench.generators.eg3d.volume import VolumeConfig
from gan3d_bench.generators.stylegan2.generator import GeneratorConfig, channel_table

LARGEST_VOLUME = 1024  # pixels a side


def small_backbone() -> GeneratorConfig:
    """Return the backbone of small generators: three planes of 64 pixels and 16 channels."""
    channels = {4: 64, 8: 64, 16: 64, 32: 48, 64: 32}
    return GeneratorConfig(64, 64, 128, 2, channels, image_channels=48, label_dim=LABEL_DIM)


@dataclass(frozen=True)
class EG3DConfig:
    """Architecture of a generator. The defaults are a small one of 64-pixel images.

    Attributes:
        backbone: StyleGAN2 that makes the planes: three times their channels, labels of cameras.
        volume: how rays are sampled.
        volume_size: side in pixels of the volume's picture, unless another one is asked for.
        plane_axes: a name of `triplanes.PLANE_AXES`.
        features: colour features of the decoder.
        decoder_width: of its hidden layer.
        decoder_lr_mul: its learning-rate multiplier.
        super_resolution: a name of `superresolution.VARIANTS`.
        sr_clamp: limit of its activations, None for none.
        sr_noise: where its noise maps come from.
        sr_antialias: filter when the volume's picture is resized for it.
        label_scale: factor on the labels that the mapping network is given; 0 for a generator that
            takes no notice of them.
        orbit: where its cameras are.
    """

    backbone: GeneratorConfig = field(default_factory=small_backbone)
    volume: VolumeConfig = field(default_factory=lambda: VolumeConfig((2.25, 3.3), 1.0, 24, 24))
    volume_size: int = 32
    plane_axes: str = "corrected"
    features: int = 16
    decoder_width: int = 32
    decoder_lr_mul: float = 1.0
    super_resolution: str = "small-2x"
    sr_clamp: float | None = None
    sr_noise: Literal["none", "const", "random"] = "none"
    sr_antialias: bool = True
    label_scale: float = 1.0
    orbit: CameraOrbit = field(default_factory=CameraOrbit)

    def __post_init__(self) -> None:
        for key, value, known in (
            ("plane_axes", self.plane_axes, PLANE_AXES),
            ("super_resolution", self.super_resolution, VARIANTS),
            ("sr_noise", self.sr_noise, ("none", "const", "random")),
        ):
            if value not in known:
                raise unknown_name(key, str(value), known)
        if self.backbone.image_channels % 3 or self.backbone.label_dim != LABEL_DIM:
            raise UserError(
                f"backbone: {self.backbone.image_channels} channels and labels of "
                f"{self.backbone.label_dim} numbers, expected a multiple of 3 and {LABEL_DIM}"
            )
        if not 1 <= self.volume_size <= LARGEST_VOLUME:
            raise UserError(f"volume_size={self.volume_size}: expected 1 to {LARGEST_VOLUME}")
        if not abs(self.label_scale) < LIMIT:
            raise UserError(f"label_scale={self.label_scale}: expected a number below {LIMIT:g}")
        if self.sr_clamp is not None and not self.sr_clamp > 0:
            raise UserError(f"sr_clamp={self.sr_clamp}: expected a number above 0 or none")
        if self.features < 3 or self.decoder_width < 1:
            raise UserError(
                f"features={self.features}, decoder_width={self.decoder_width}: expected at least "
                "3 and 1"
            )

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return VARIANTS[self.super_resolution].output_size


_FFHQ = EG3DConfig(
    backbone=GeneratorConfig(
        256, 512, 512, 2, channel_table(256, 32768), image_channels=96, label_dim=LABEL_DIM
    ),
    volume=VolumeConfig(),
    volume_size=64,
    plane_axes="released",
    features=32,
    decoder_width=64,
    super_resolution="hybrid-8xdc",
    sr_clamp=256.0,
)

RELEASED: dict[str, EG3DConfig] = {
    "ffhq512": _FFHQ,
    "afhq512": replace(_FFHQ, orbit=CameraOrbit(2.7, (0.0, 0.0, -0.06))),
    "shapenet128": replace(
        _FFHQ,
        volume=VolumeConfig((0.1, 2.6), 1.6, 64, 64, white_back=True),
        super_resolution="hybrid-2x",
        label_scale=0.0,
        orbit=CameraOrbit(1.7, (0.0, 0.0, 0.0), 1.7074),
    ),
}
"""Name -> what the released train.py makes for these data, volume at 64 pixels."""
