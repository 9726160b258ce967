"""EG3D networks under the names of NVlabs/eg3d, for its own classes to load.

The released pickles hold the source of their classes, which is not ours to copy; what is exported
are the weights, and the arguments that the released classes are to be made with.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.generators.eg3d.cameras import LABEL_DIM
from gan3d_bench.generators.eg3d.discriminator import DualDiscriminator
from gan3d_bench.generators.eg3d.generator import EG3DGenerator
from gan3d_bench.generators.eg3d.official import ORIGIN
from gan3d_bench.generators.eg3d.official_names import (
    CLASSES,
    all_names,
    discriminator_kernel_names,
    kernel_names,
)
from gan3d_bench.generators.eg3d.official_options import plane_matrices, rendering_kwargs
from gan3d_bench.generators.stylegan2 import ops
from gan3d_bench.generators.stylegan2.generator import channel_table
from gan3d_bench.generators.stylegan2.official_names import discriminator_names

SR_CLAMP = 256.0


def export_generator(generator: EG3DGenerator) -> dict[str, Tensor]:
    """Return a state dict under the released names, with its constant FIR kernels.

    Raises:
        UserError: an architecture that the released classes do not have.
    """
    _require_released(generator)
    state, names = generator.state_dict(), all_names(generator.config)
    exported = {name: state[ours].detach().clone() for ours, name in names.items()}
    return exported | {name: ops.binomial_kernel() for name in kernel_names(generator.config)}


def export_discriminator(discriminator: DualDiscriminator) -> dict[str, Tensor]:
    """Return a state dict under the released names, with its constant FIR kernels."""
    config, state = discriminator.config, discriminator.network.state_dict()
    names = discriminator_names(config.image_size, config.mapping_layers, True)
    exported = {name.nvidia: state[name.ours].detach().clone() for name in names}
    kernels = discriminator_kernel_names(config.image_size)
    return exported | {name: ops.binomial_kernel() for name in kernels}


def generator_arguments(generator: EG3DGenerator) -> dict[str, Any]:
    """Return what to make ``TriPlaneGenerator(**arguments)`` with.

    Raises:
        UserError: channels by no base and maximum.
    """
    config = generator.config
    own = config.backbone
    base, most = _channel_rule(own.channels)
    return {
        "z_dim": own.z_dim,
        "c_dim": own.label_dim,
        "w_dim": own.w_dim,
        "img_resolution": config.image_size,
        "img_channels": 3,
        "sr_num_fp16_res": 4 if config.sr_clamp else 0,
        "mapping_kwargs": {"num_layers": own.mapping_layers},
        "rendering_kwargs": rendering_kwargs(config),
        "sr_kwargs": {
            "channel_base": base,
            "channel_max": most,
            "fused_modconv_default": "inference_only",
        },
        "channel_base": base,
        "channel_max": most,
        "num_fp16_res": 0,
        "conv_clamp": own.conv_clamp,
    }


def discriminator_arguments(discriminator: DualDiscriminator) -> dict[str, Any]:
    """Return what to make ``DualDiscriminator(**arguments)`` with, and what importing it needs.

    Raises:
        UserError: channels by no base and maximum.
    """
    config = discriminator.config
    base, most = _channel_rule(config.channels)
    return {
        "c_dim": LABEL_DIM,
        "img_resolution": config.image_size,
        "img_channels": 3,
        "channel_base": base,
        "channel_max": most,
        "num_fp16_res": 4 if config.conv_clamp else 0,
        "conv_clamp": config.conv_clamp,
        "cmap_dim": config.cmap_dim,
        "mapping_kwargs": {"num_layers": config.mapping_layers},
        "epilogue_kwargs": {"mbstd_group_size": config.stddev_group},
    }


def export_networks(
    generator: EG3DGenerator, discriminator: DualDiscriminator | None
) -> dict[str, Any]:
    """Return all that is exported: G_ema, D if there is one, and what their classes need.

    Raises:
        UserError: an architecture that the released classes do not have.
    """
    content: dict[str, Any] = {
        "G_ema": export_generator(generator),
        "G_init_kwargs": generator_arguments(generator),
        "rendering_kwargs": rendering_kwargs(generator.config),
        "neural_rendering_resolution": generator.config.volume_size,
        "plane_axes": plane_matrices(generator.config.plane_axes),
    }
    if discriminator is not None:
        content["D"] = export_discriminator(discriminator)
        content["D_init_kwargs"] = discriminator_arguments(discriminator)
    return content


def _require_released(generator: EG3DGenerator) -> None:
    config = generator.config
    own = config.backbone
    for key, found, expected in (
        ("super_resolution", config.super_resolution, tuple(dict.fromkeys(CLASSES.values()))),
        ("image_size of the planes", own.image_size, (256,)),
        ("channels of the planes", own.image_channels, (96,)),
        ("w_dim", own.w_dim, (512,)),
        ("features", config.features, (32,)),
        ("decoder_width", config.decoder_width, (64,)),
        ("sr_clamp", config.sr_clamp, (None, SR_CLAMP)),
    ):
        if found not in expected:
            shown = " or ".join(map(str, expected))
            raise UserError(f"{key}={found}: expected {shown}, as {ORIGIN} has them")


def _channel_rule(channels: dict[int, int]) -> tuple[int, int]:
    """`channel_base` and `channel_max` that give these channels."""
    size = max(channels)
    base, most = channels[size] * size, max(channels.values())
    if channels != channel_table(size, base, most):
        raise UserError(
            f"channels={channels}: expected min(base // size, most) for each size, as {ORIGIN} has "
            "them"
        )
    return base, most
