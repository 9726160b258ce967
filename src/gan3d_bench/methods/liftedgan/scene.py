"""Lifted subjects as scenes."""

from __future__ import annotations

from torch import Tensor

from gan3d_bench.methods.liftedgan.image_formation import (
    CanonicalFactors,
    Geometry,
    Lifter,
    light_from_raw,
    view_from_raw,
)
from gan3d_bench.scenes.depth_map import DepthMapScene


def lift(lifter: Lifter, w: Tensor) -> DepthMapScene:
    """The scene of stylecodes (B, w_dim), with the views and lights they show as input."""
    light, view = lifter.decompose(w)
    return scene_from_factors(lifter.canonical(w, light), light, view, lifter.geometry)


def scene_from_factors(
    canonical: CanonicalFactors, light: Tensor, view: Tensor, geometry: Geometry
) -> DepthMapScene:
    """The scene of B subjects with raw lights (B, 4) and raw views (B, 6) of their own."""
    return DepthMapScene(
        canonical.depth,
        canonical.albedo,
        light_from_raw(light),
        view_from_raw(view),
        depth_range=(geometry.near, geometry.far),
        blend=canonical.blend,
    )
