"""The names of an EG3D generator's weights: ours, and NVlabs/eg3d's."""

from __future__ import annotations

from gan3d_bench.generators.eg3d.config import EG3DConfig
from gan3d_bench.generators.stylegan2.generator import resolutions
from gan3d_bench.generators.stylegan2.official_names import STYLED, generator_names

BACKBONE, DECODER, SUPER_RESOLUTION = "backbone.", "decoder.", "superresolution."
"""What the names of the parts begin with in released files."""

CLASSES = {
    "SuperresolutionHybrid8XDC": "hybrid-8xdc",
    "SuperresolutionHybrid8X": "hybrid-8x",
    "SuperresolutionHybrid4X": "hybrid-4x",
    "SuperresolutionHybrid2X": "hybrid-2x",
    "SuperresolutionHybridDeepfp32": "hybrid-4x",
}
"""Released class -> name in `superresolution.VARIANTS`."""
WITHOUT_ANTIALIAS = "SuperresolutionHybridDeepfp32"
WITHOUT_OWN_FILTER = "hybrid-8xdc"


def decoder_names() -> dict[str, str]:
    """Return ours -> released, within the decoder."""
    layers = {"hidden": "net.0", "out": "net.2"}
    return {
        f"{ours}.{part}": f"{name}.{part}"
        for ours, name in layers.items()
        for part in ("weight", "bias")
    }


def super_resolution_names() -> dict[str, str]:
    """Return ours -> released, within the super-resolution network."""
    layer = {a: c for a, _, c in STYLED} | {"bias": "bias"}
    conv = layer | {"noise_strength": "noise_strength", "noise": "noise_const"}
    parts = (("conv0", "conv0", conv), ("conv1", "conv1", conv), ("to_rgb", "torgb", layer))
    return {
        f"{block}.{ours}.{a}": f"{block}.{name}.{b}"
        for block in ("block0", "block1")
        for ours, name, weights in parts
        for a, b in weights.items()
    }


def all_names(config: EG3DConfig) -> dict[str, str]:
    """Return ours -> released, of a whole generator, without constant FIR kernels."""
    own = config.backbone
    names = {
        within_backbone(name.ours): BACKBONE + name.nvidia
        for name in generator_names(own.image_size, own.mapping_layers, True)
    }
    for prefix, released, part in (
        ("synthesis.decoder.", DECODER, decoder_names()),
        ("synthesis.super_resolution.", SUPER_RESOLUTION, super_resolution_names()),
    ):
        names |= {prefix + a: released + b for a, b in part.items()}
    return names


def within_backbone(name: str) -> str:
    """Return the name here of a weight of a StyleGAN2 generator that makes the planes."""
    first, _, rest = name.partition(".")
    return f"synthesis.backbone.{rest}" if first == "synthesis" else name


def kernel_names(config: EG3DConfig) -> list[str]:
    """Return the released names of a generator's constant FIR kernels, each of sum 1."""
    blocks = [f"{BACKBONE}synthesis.b{size}" for size in resolutions(config.backbone.image_size)]
    blocks += [f"{SUPER_RESOLUTION}block{i}" for i in range(2)]
    names = [
        f"{block}{layer}.resample_filter"
        for block in blocks
        for layer in (("", ".conv0", ".conv1") if not block.endswith(".b4") else ("", ".conv1"))
    ]
    if config.super_resolution != WITHOUT_OWN_FILTER:
        names.append(f"{SUPER_RESOLUTION}resample_filter")
    return names


def discriminator_kernel_names(image_size: int) -> list[str]:
    """Return the released names of a dual discriminator's constant FIR kernels, of sum 1."""
    names = ["resample_filter", f"b{image_size}.fromrgb.resample_filter", "b4.conv.resample_filter"]
    for size in resolutions(image_size)[1:]:
        layers = ("", ".conv0", ".conv1", ".skip")
        names += [f"b{size}{layer}.resample_filter" for layer in layers]
    return names
