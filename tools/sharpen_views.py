"""Teach V of a GAN2Shape start what the teacher's stylecodes know of views; nothing true is used.

    python tools/sharpen_views.py START OUT [--preset heads-64] [--samples 4096] [--steps 500]
        [--rounds 1]

What V says of one sample of the teacher is off by what it takes for a turn (light, background, the
shape of a head). Stylecodes hold views almost linearly, so a regression of V's views on stylecodes
is nearer to the truth than V is: what V errs by from sample to sample is averaged away. V then
learns these views from the samples, mirrored (yaw, roll and horizontal shift change sign) and moved
in the image plane, where roll and shifts change by known amounts. `--rounds` repeats it.

OUT is a folder that ``fit --method gan2shape start=OUT`` takes; the other networks are START's.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.progress import track
from sklearn.linear_model import Ridge
from torch import Tensor

from gan3d_bench.config import compose
from gan3d_bench.methods.gan2shape.checkpoint import save_networks
from gan3d_bench.methods.gan2shape.factors import ROTATION_RANGE, TRANSLATION_RANGE
from gan3d_bench.methods.gan2shape.method import GAN2Shape
from gan3d_bench.methods.gan2shape.model import CHUNK
from gan3d_bench.registry import registry
from gan3d_bench.rendering.cameras import PinholeCamera

RIDGE = 10.0
BATCH, RATE = 32, 5e-4
MIRRORED = (1.0, -1.0, -1.0, -1.0, 1.0)  # pitch, yaw, roll, shifts
SCALE = (0.13, 0.27, 0.05, 0.025, 0.025)  # of errors, raw units
ROLL, SHIFT = math.radians(6), 0.03  # deviations of moves: radians, raw units


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("start")
    parser.add_argument("out", type=Path)
    parser.add_argument("--preset", default="heads-64")
    parser.add_argument("--samples", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    keys = [f"start={options.start}", "instances=1"]
    method = GAN2Shape(compose(registry("methods").get("gan2shape"), options.preset, None, keys))  # type: ignore[arg-type]
    method.networks.load_means()
    method.networks.reset()
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        w = method.teacher.sample_w(options.samples, rng, method.config.warmup.truncation)
        parts = [method.teacher.generated(part).half() for part in track(w.split(CHUNK), "samples")]
    images = torch.cat(parts)
    for _ in range(options.rounds):
        sharpen(method, images, read_by_stylecode(method, images, w), options.steps, rng)
    save_networks(method.networks, options.out)


@torch.no_grad()
def read_by_stylecode(method: GAN2Shape, images: Tensor, w: Tensor) -> Tensor:
    """What V says of images (N, 3, S, S), as far as it is linear in their stylecodes: (N, 5)."""
    seen = [method.networks.raw_view(part.float(), [0])[:, :5] for part in images.split(CHUNK)]
    known, views = w.double().numpy(), torch.cat(seen).double().numpy()
    fit = Ridge(alpha=RIDGE).fit(known, views)
    return torch.from_numpy(fit.predict(known)).float()


def sharpen(
    method: GAN2Shape, images: Tensor, views: Tensor, steps: int, rng: torch.Generator
) -> None:
    """Let V learn raw views (N, 5) of images (N, 3, S, S), moved and mirrored."""
    net = method.networks.view_net.requires_grad_(True)
    adam = torch.optim.Adam(net.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    scale = views.new_tensor(SCALE)
    for _ in track(range(steps), "V"):
        index = torch.randint(len(images), (BATCH,), generator=rng)
        pictures, wanted = images[index].float(), views[index]
        turned = torch.rand(BATCH, generator=rng) < 0.5
        pictures = torch.where(turned[:, None, None, None], pictures.flip(-1), pictures)
        wanted = torch.where(turned[:, None], wanted * wanted.new_tensor(MIRRORED), wanted)
        roll = ROLL * torch.randn(BATCH, generator=rng)
        shift = SHIFT * torch.randn(BATCH, 2, generator=rng)
        pictures, wanted = moved(pictures, wanted, roll, shift)
        found = method.networks.raw_view(pictures, [0])[:, :5]
        adam.zero_grad()
        ((found - wanted) / scale).square().mean().backward()
        adam.step()
        schedule.step()


def moved(images: Tensor, views: Tensor, roll: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Move images in their plane, and say what their views then are.

    Args:
        images: (B, 3, S, S).
        views: (B, 5) raw.
        roll: (B,) radians, clockwise about the image's centre.
        shift: (B, 2) raw, after it.
    """
    cos, sin = roll.cos(), roll.sin()
    back = torch.stack((torch.stack((cos, sin), -1), torch.stack((-sin, cos), -1)), -2)
    half = math.tan(math.radians(PinholeCamera(images.shape[-1]).fov / 2))  # at depth 1
    centre = -(back @ (shift * TRANSLATION_RANGE / half)[..., None])
    grid = F.affine_grid(torch.cat((back, centre), -1), list(images.shape), align_corners=True)
    pictures = F.grid_sample(images, grid, padding_mode="border", align_corners=True)
    turned = (back.transpose(1, 2) @ views[:, 3:, None]).squeeze(-1) + shift
    rolled = views[:, 2:3] + (roll / math.radians(ROTATION_RANGE))[:, None]
    return pictures, torch.cat((views[:, :2], rolled, turned), 1)


if __name__ == "__main__":
    main()
