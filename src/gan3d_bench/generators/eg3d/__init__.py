"""EG3D (Chan et al. 2022, arXiv:2112.07945): tri-planes of StyleGAN2, rendered as a volume."""

from gan3d_bench.generators.eg3d.cameras import CameraOrbit
from gan3d_bench.generators.eg3d.checkpoint import (
    load_discriminator,
    load_generator,
    save_discriminator,
    save_generator,
)
from gan3d_bench.generators.eg3d.config import RELEASED, EG3DConfig
from gan3d_bench.generators.eg3d.discriminator import DualDiscriminator
from gan3d_bench.generators.eg3d.generator import EG3DGenerator, Pictures, VolumePicture

__all__ = [
    "RELEASED",
    "CameraOrbit",
    "DualDiscriminator",
    "EG3DConfig",
    "EG3DGenerator",
    "Pictures",
    "VolumePicture",
    "load_discriminator",
    "load_generator",
    "save_discriminator",
    "save_generator",
]
