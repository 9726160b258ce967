"""The `rendering_kwargs` of NVlabs/eg3d's generators, to our architecture and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.files.pickles import clip
from gan3d_bench.generators.eg3d.cameras import CameraOrbit
from gan3d_bench.generators.eg3d.config import RELEASED, EG3DConfig
from gan3d_bench.generators.eg3d.official_names import CLASSES
from gan3d_bench.generators.eg3d.triplanes import PLANE_AXES
from gan3d_bench.generators.eg3d.volume import VolumeConfig

Options = Mapping[str, Any]


def architecture(options: Options) -> dict[str, Any]:
    """Return what `rendering_kwargs` say of an `EG3DConfig`, by its fields.

    The focal length of the cameras is not among them: it is that of the released generator whose
    cameras are as far away.

    Raises:
        UserError: a key is missing, of another kind than expected, or says what ours cannot do.
    """
    if options.get("clamp_mode", "softplus") != "softplus":
        raise UserError(f"clamp_mode={_show(options['clamp_mode'])}, expected softplus")
    if _number(options, "density_noise", 0.0):
        raise UserError(f"density_noise={_show(options['density_noise'])}, expected 0")
    ends = options.get("ray_start"), options.get("ray_end")
    ray_range = (
        None
        if ends == ("auto", "auto")
        else (_number(options, "ray_start"), _number(options, "ray_end"))
    )
    noise = options.get("superresolution_noise_mode", "none")
    if noise not in ("none", "const", "random"):
        raise UserError(f"superresolution_noise_mode={_show(noise)}, expected none, const, random")
    conditioned = not _flag(options, "c_gen_conditioning_zero")
    return {
        "volume": VolumeConfig(
            ray_range,
            _number(options, "box_warp"),
            _count(options, "depth_resolution"),
            _count(options, "depth_resolution_importance"),
            _flag(options, "white_back"),
            _flag(options, "disparity_space_sampling"),
        ),
        "decoder_lr_mul": _number(options, "decoder_lr_mul", 1.0),
        "sr_noise": noise,
        "sr_antialias": _flag(options, "sr_antialias", True),
        # the released code multiplies labels by 0 where the scale is not stored
        "label_scale": _number(options, "c_scale", 0.0) if conditioned else 0.0,
        "orbit": _orbit(options),
    }


def rendering_kwargs(config: EG3DConfig) -> dict[str, Any]:
    """Return the `rendering_kwargs` of a generator; the inverse of `architecture`."""
    volume = config.volume
    start, end = volume.ray_range or ("auto", "auto")
    module = {ours: name for name, ours in reversed(CLASSES.items())}[config.super_resolution]
    return {
        "superresolution_module": f"training.superresolution.{module}",
        "superresolution_noise_mode": config.sr_noise,
        "sr_antialias": config.sr_antialias,
        "clamp_mode": "softplus",
        "disparity_space_sampling": volume.disparity,
        "depth_resolution": volume.coarse_samples,
        "depth_resolution_importance": volume.fine_samples,
        "ray_start": start,
        "ray_end": end,
        "box_warp": volume.box_warp,
        "white_back": volume.white_back,
        "avg_camera_radius": config.orbit.radius,
        "avg_camera_pivot": list(config.orbit.pivot),
        "c_gen_conditioning_zero": not config.label_scale,
        "c_scale": config.label_scale or 1.0,
        "decoder_lr_mul": config.decoder_lr_mul,
        "image_resolution": config.image_size,
    }


def plane_axes(matrices: Tensor) -> str:
    """Return the name of the axes that a renderer's `plane_axes` (3, 3, 3) are.

    Raises:
        UserError: they are none that is known.
    """
    for name in PLANE_AXES:
        expected = plane_matrices(name)
        if matrices.shape == expected.shape and torch.equal(matrices.float(), expected):
            return name
    shown = matrices.flatten().tolist()[:27]
    raise UserError(f"plane_axes={shown}: expected those of {' or '.join(PLANE_AXES)}")


def plane_matrices(name: str) -> Tensor:
    """Return a renderer's `plane_axes` (3, 3, 3): for each plane the axes along its width, its
    height and through it, as rows."""
    rows = [[a, b, 3 - a - b] for a, b in PLANE_AXES[name]]
    return torch.eye(3)[torch.tensor(rows)]


def _orbit(options: Options) -> CameraOrbit:
    radius = _number(options, "avg_camera_radius", 2.7)
    pivot = options.get("avg_camera_pivot", [0, 0, 0])
    if not (
        isinstance(pivot, list | tuple)
        and len(pivot) == 3
        and all(type(x) in (int, float) for x in pivot)
    ):
        raise UserError("avg_camera_pivot: expected three numbers")
    near = min((config.orbit for config in RELEASED.values()), key=lambda x: abs(x.radius - radius))
    return CameraOrbit(radius, tuple(map(float, pivot)), near.focal)  # type: ignore[arg-type]


def _number(options: Options, key: str, default: float | None = None) -> float:
    value = options.get(key, default)
    if type(value) not in (int, float):
        raise UserError(f"{key}={_show(value)}, expected a number")
    return float(value)  # type: ignore[arg-type]


def _count(options: Options, key: str) -> int:
    value = options.get(key)
    if type(value) is not int:
        raise UserError(f"{key}={_show(value)}, expected a whole number")
    return value


def _flag(options: Options, key: str, default: bool = False) -> bool:
    value = options.get(key, default)
    if value not in (True, False):  # 0 and 1, too
        raise UserError(f"{key}={_show(value)}, expected True or False")
    return bool(value)


def _show(value: Any) -> str:
    if type(value) is str:
        return clip(value)
    return str(value) if type(value) in (int, float, bool) else "something"
