"""Heads as several exact cameras see them: what a generator of volumes is warmed up on.

A head's latents here are those of `heads.sampling` without the view, normalised as the mapping
network does: shape and colour cannot depend on the camera. Its first camera is its own. The light
of the data is in camera space, as a photographer's; so it is set by the head's own camera, and then
stays with the head while other cameras go round it (`heads.scene` does the same). The background is
a picture's, whatever the camera.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gan3d_bench.generators.eg3d import CameraOrbit
from gan3d_bench.generators.stylegan2.generator import normalize_latent
from gan3d_bench.heads.sampling import (
    FIELD_OF_VIEW,
    LAYOUT,
    NUM_LATENTS,
    HeadParameters,
    render_heads,
    sample_heads,
)
from gan3d_bench.rendering.cameras import PinholeCamera

VIEW = LAYOUT["view"]
VIEW_LATENTS = VIEW.stop - VIEW.start


def draw_latents(
    count: int, z_dim: int, views: int, spread: float, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw heads and the cameras that see them.

    Args:
        count: N.
        z_dim: length of the latents; what is beyond those of a head is not used.
        views: K.
        spread: standard deviation of the entries of all but the first view.
        rng: on the CPU.

    Returns:
        normalised latents (N, z_dim), and latents of the views (N, K, 6).
    """
    latents = normalize_latent(torch.randn(count, z_dim, generator=rng))
    seen = torch.randn(count, views, VIEW_LATENTS, generator=rng)
    seen[:, 1:] *= spread
    return latents, seen


def seen_heads(latents: Tensor, views: Tensor) -> HeadParameters:
    """Heads (B) at K views each, as B K heads: all of a head's views in a row.

    Args:
        latents: (B, z_dim), of a head without its view.
        views: (B, K, 6) latents of its views; the first is its own, whose camera has set the light.
    """
    count = views.shape[1]
    whole = latents.new_zeros(len(latents), count, NUM_LATENTS)
    whole[:, :, : VIEW.start] = latents[:, None, : VIEW.start]
    whole[:, :, VIEW] = views
    whole[:, :, VIEW.stop :] = latents[:, None, VIEW.start : NUM_LATENTS - VIEW_LATENTS]
    heads = sample_heads(whole.flatten(0, 1))
    own = torch.arange(len(latents)).repeat_interleave(count) * count
    light = heads.light.in_scene(heads.view)[own].in_camera(heads.view)
    return replace(heads, light_direction=light.direction)


def cameras_of(heads: HeadParameters, orbit: CameraOrbit, image_size: int) -> Tensor:
    """The exact cameras (B, 25) that see heads as they are rendered at that size."""
    return orbit.labels(heads.view, PinholeCamera(image_size, FIELD_OF_VIEW))


@torch.no_grad()
def photographed(
    latents: Tensor, views: Tensor, orbit: CameraOrbit, image_size: int
) -> tuple[Tensor, Tensor]:
    """Render what `seen_heads` says.

    Returns:
        images (B, K, 3, S, S) in [-1, 1], and the cameras (B, K, 25).
    """
    heads = seen_heads(latents, views)
    shape = views.shape[:2]
    images = render_heads(heads, image_size)["image"].unflatten(0, shape)
    return images, cameras_of(heads, orbit, image_size).unflatten(0, shape)
