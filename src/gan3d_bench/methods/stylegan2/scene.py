"""A generator as a scene: heads are turned by moving their latents."""

from __future__ import annotations

import torch
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.generators.stylegan2 import Generator
from gan3d_bench.generators.stylegan2.generator import normalize_latent
from gan3d_bench.geometry.views import View
from gan3d_bench.heads.sampling import (
    FIELD_OF_VIEW,
    LAYOUT,
    NUM_LATENTS,
    PITCH,
    ROLL,
    TRANSLATION,
    YAW,
)
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.rendering.shading import Light
from gan3d_bench.scenes.base import Scene

LIMIT = 3.0  # of a latent's entry: the generator has hardly seen larger ones
REACH = 3.0  # bound of a translation, in units of its scale


class GeneratedHeads(Scene):
    """Heads of a generator that was fitted to rendered heads, whose latents hold their view.

    RGB only. Views beyond what the generator has seen (about 42 degrees of yaw, 18 of pitch, 8 of
    roll) give the nearest one it has.

    Args:
        generator: fitted by the `regression` phase of `StyleGAN2`.
        latents: (B, z_dim), z_dim at least `NUM_LATENTS`.
    """

    def __init__(self, generator: Generator, latents: Tensor) -> None:
        if latents.shape[1] < NUM_LATENTS:
            raise UserError(
                f"network.z_dim={latents.shape[1]}: expected at least {NUM_LATENTS} for a scene "
                "of heads"
            )
        self.generator = generator
        self.latents = normalize_latent(latents)
        self.camera = PinholeCamera(generator.image_size, FIELD_OF_VIEW)

    @property
    def batch_size(self) -> int:
        return len(self.latents)

    @torch.no_grad()
    def _render(self, view: View, light: Light | None, camera: PinholeCamera) -> Rendering:
        """Generate the heads at the given views; see `Scene.render`. The mask is 1 everywhere."""
        latents = move(self.latents, view_latents(view.to(self.latents.device)))
        rgb = self.generator(latents).clamp(-1, 1)
        return Rendering(rgb=rgb, mask=torch.ones_like(rgb[:, :1]))


def view_latents(view: View) -> Tensor:
    """Return the entries (B, 6) of a normalised latent that show a head at `view`.

    The inverse of what `sample_heads` does, limited to +-3.
    """
    angles = (view.yaw, view.pitch, view.roll)
    entries = [
        torch.atanh((angle / bound).clamp(-0.999, 0.999)) * (bound / scale)
        for angle, (scale, bound) in zip(angles, (YAW, PITCH, ROLL), strict=True)
    ]
    steps = view.translation / view.translation.new_tensor(TRANSLATION)
    entries += list((REACH * torch.atanh((steps / REACH).clamp(-0.999, 0.999))).unbind(1))
    return torch.stack(entries, 1).clamp(-LIMIT, LIMIT)


def move(latents: Tensor, entries: Tensor) -> Tensor:
    """Replace the view of normalised latents, and scale the rest so that they stay normalised.

    Args:
        latents: (B, z_dim), root mean square 1.
        entries: (B, 6).
    """
    moved = latents.clone()
    moved[:, LAYOUT["view"]] = 0
    room = latents.shape[1] - entries.square().sum(1, keepdim=True)
    moved = moved * (room / moved.square().sum(1, keepdim=True)).sqrt()
    moved[:, LAYOUT["view"]] = entries
    return moved
