"""MobileStyleGAN (Belousov 2021, arXiv:2104.04767): StyleGAN2 FFHQ distilled, in plain PyTorch."""

from gan3d_bench.generators.mobilestylegan.checkpoint import load, load_teacher
from gan3d_bench.generators.mobilestylegan.generator import MobileStyleGAN, MobileStyleGANConfig

__all__ = ["MobileStyleGAN", "MobileStyleGANConfig", "load", "load_teacher"]
