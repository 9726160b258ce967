"""PSNR and SSIM of image pairs, over the whole image or inside a mask."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from gan3d_bench.metrics.instances import InstanceMean, masked_mean

Images = Float[Tensor, "B 3 H W"]
Mask = Float[Tensor, "B 1 H W"]

MAX_PSNR = 100.0
"""PSNR of equal images, dB: infinity would make every mean infinite."""


def psnr(images: Images, targets: Images, mask: Mask | None = None) -> Float[Tensor, " B"]:
    """Peak signal-to-noise ratio per pair, dB, at most `MAX_PSNR`.

    Args:
        images, targets: in [-1, 1]; values beyond are clamped.
        mask: in [0, 1], the weight of each pixel; None is 1 everywhere.

    Returns:
        (B,); NaN where the mask is empty.
    """
    x, y, mask = _prepared(images, targets, mask)
    error = masked_mean((x - y).square(), mask)  # of a range of 1
    return (-10 * error.log10()).clamp(max=MAX_PSNR)


def ssim(images: Images, targets: Images, mask: Mask | None = None) -> Float[Tensor, " B"]:
    """Structural similarity per pair (Wang et al. 2004), 1 for equal images.

    Torchmetrics' SSIM of images in [0, 1]: Gaussian windows of deviation 1.5, mean over channels.
    With a mask, both images are mid-grey outside it, so that nothing there counts, and the map of
    similarities is averaged inside it.

    Args, Returns: as for `psnr`; at least 6 pixels a side.
    """
    x, y, mask = _prepared(images, targets, mask)
    x, y = (0.5 + (values - 0.5) * mask for values in (x, y))
    similarity = structural_similarity_index_measure(
        x, y, data_range=1.0, reduction="none", return_full_image=True
    )
    return masked_mean(similarity[1], mask)


def _prepared(images: Tensor, targets: Tensor, mask: Tensor | None) -> tuple[Tensor, ...]:
    if images.shape != targets.shape:
        raise ValueError(f"images differ in shape: {tuple(images.shape)}, {tuple(targets.shape)}")
    if mask is None:
        mask = torch.ones_like(images[:, :1])
    # [0, 1], because SSIM depends on where zero is
    x, y = ((values.float().clamp(-1, 1) + 1) / 2 for values in (images, targets))
    return x, y, mask.float()


class PSNR(InstanceMean):
    """Peak signal-to-noise ratio in dB, averaged over pairs; higher is closer, see `psnr`."""

    higher_is_better = True

    def instances(
        self, images: Images, targets: Images, mask: Mask | None = None
    ) -> Float[Tensor, " B"]:
        """Return the PSNR per pair, dB; NaN where the mask is empty."""
        return psnr(images, targets, mask)

    def update(self, images: Images, targets: Images, mask: Mask | None = None) -> None:
        """Add pairs of images in [-1, 1], compared inside the mask if there is one."""
        super().update(self.instances(images, targets, mask))


class SSIM(InstanceMean):
    """Structural similarity, averaged over pairs; higher is closer, 1 is equal, see `ssim`."""

    higher_is_better = True

    def instances(
        self, images: Images, targets: Images, mask: Mask | None = None
    ) -> Float[Tensor, " B"]:
        """Return the SSIM per pair; NaN where the mask is empty."""
        return ssim(images, targets, mask)

    def update(self, images: Images, targets: Images, mask: Mask | None = None) -> None:
        """Add pairs of images in [-1, 1], compared inside the mask if there is one."""
        super().update(self.instances(images, targets, mask))
