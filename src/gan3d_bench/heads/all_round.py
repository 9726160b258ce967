"""From standard normals to heads seen from all round, as cars are; see `heads.sampling`.

Layout of the latent (`LAYOUT`; `NUM_LATENTS` entries, all standard normal):

=========== ====== ==================================================================
entries     number meaning
=========== ====== ==================================================================
view        4      azimuth, the direction of two entries; elevation; shift along z
identity    80     as those of `heads.sampling`, and so are the others
expression  16
albedo      32
light       4
background  8
=========== ====== ==================================================================

Heads neither roll nor lie off the middle: a camera on a sphere around them has no more than that
(StyleGAN-R, section 3.3).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.geometry.views import View
from gan3d_bench.heads import sampling
from gan3d_bench.heads.sampling import CENTRE_DEPTH, TRANSLATION, HeadParameters, layout

ELEVATION = (0.0, 30.0)  # degrees, as the cars'
_PARTS = ("identity", "expression", "albedo", "light", "background")

LAYOUT: dict[str, slice] = layout(
    (("view", 4), *((n, sampling.LAYOUT[n].stop - sampling.LAYOUT[n].start) for n in _PARTS))
)
NUM_LATENTS: int = max(entries.stop for entries in LAYOUT.values())


@dataclass(frozen=True)
class HeadsAllRound:
    """Everything that makes B pictures of heads from all round.

    Attributes:
        heads: the heads at their views.
        azimuth: (B,) degrees in [0, 360): how far the camera has gone round the head towards the
            image's right; at 0 it faces the camera.
        elevation: (B,) degrees, how high the camera is.
    """

    heads: HeadParameters
    azimuth: Tensor
    elevation: Tensor


def sample_all_round(latents: Tensor, model: MorphableModel | None = None) -> HeadsAllRound:
    """Map standard normals to heads from all round; azimuth and elevation are uniform.

    Factors of a latent as a whole, which StyleGAN2's mapping network takes away, do not change the
    azimuth.

    Args:
        latents: (B, NUM_LATENTS); what is beyond is not looked at.
        model: the head model; None loads the bundled one.

    Raises:
        ValueError: too few latents.
    """
    if latents.shape[1] < NUM_LATENTS:
        raise ValueError(f"expected at least {NUM_LATENTS} latents, got {latents.shape[1]}")
    view = latents[:, LAYOUT["view"]].float()
    frontal = view.new_zeros(len(view), sampling.NUM_LATENTS)
    for name in _PARTS:
        frontal[:, sampling.LAYOUT[name]] = latents[:, LAYOUT[name]].float()
    azimuth = torch.atan2(view[:, 1], view[:, 0]).rad2deg() % 360
    low, high = ELEVATION
    elevation = low + (high - low) * torch.special.ndtr(view[:, 2])
    seen = View.from_orbit(azimuth, elevation, centre_depth=CENTRE_DEPTH)
    shift = torch.zeros_like(view[:, :3])
    shift[:, 2] = 3 * torch.tanh(view[:, 3] / 3) * TRANSLATION[2]
    heads = replace(
        sampling.sample_heads(frontal, model),
        angles=torch.stack((seen.yaw, seen.pitch, seen.roll), 1),
        translation=shift,
    )
    return HeadsAllRound(heads, azimuth, elevation)
