"""What changes in the course of adversarial training: swapped cameras, blur, size of the volume.

Source: training/loss.py and training/training_loop.py of NVlabs/eg3d.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.methods.eg3d.config import VolumeFade


def fade(start: float, end: float, images: float, kimg: float) -> float:
    """From `start` to `end` in a line over `kimg` thousand images, of which `images` are seen."""
    if kimg <= 0:
        return end
    return start + (end - start) * min(1.0, images / (1000 * kimg))


def swapped(
    cameras: Tensor, probability: float, rng: torch.Generator, *, together: bool = False
) -> Tensor:
    """Cameras (B, 25) to tell the generator: each with a probability that of its neighbour.

    The neighbour is the sample before it, of the whole batch.

    Args:
        cameras: that the samples are seen by, of all processes.
        probability: of a swap.
        rng: draws who is swapped.
        together: whether all are swapped or none.

    Source: section 4.4 of the paper; StyleGAN2Loss.run_G, and of density regularisation.
    """
    drawn = torch.rand((1 if together else len(cameras), 1), generator=rng)
    return torch.where((drawn < probability).to(cameras.device), cameras.roll(1, 0), cameras)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Images (B, C, S, S) under a filter of taps 2^-(k / sigma)^2, |k| <= 3 sigma; zeros outside.

    Source: StyleGAN2Loss.run_D; upfirdn2d.filter2d pads by zeros.
    """
    reach = math.floor(3 * sigma)
    if reach < 1:
        return images
    k = torch.arange(-reach, reach + 1, dtype=torch.float32, device=images.device)
    taps = torch.exp2(-((k / sigma) ** 2))
    taps = (taps / taps.sum()).to(images.dtype)
    flat = images.flatten(0, 1)[:, None]
    flat = F.conv2d(flat, taps[None, None, None], padding=(0, reach))
    flat = F.conv2d(flat, taps[None, None, :, None], padding=(reach, 0))
    return flat.view_as(images)


def volume_size(config: VolumeFade, full: int, images: float) -> int:
    """Side of the volume's picture after so many images of a phase."""
    start = config.start_volume_size or full
    return round(fade(start, full, images, config.volume_fade_kimg))
