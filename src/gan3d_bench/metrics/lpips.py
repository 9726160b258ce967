"""The mean LPIPS distance over image pairs."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gan3d_bench.losses.perceptual import LPIPS, Images, LPIPSLoss, Net
from gan3d_bench.metrics.instances import InstanceMean

Mask = Float[Tensor, "B 1 H W"]


class MeanLPIPS(InstanceMean):
    """LPIPS (v0.1; Zhang et al. 2018) averaged over pairs of images; 0 is equal.

    Args:
        net: ``alex`` (what papers report as a metric) or ``vgg``.
        lpips: the network, if it is loaded already.
        kwargs: of ``torchmetrics.Metric``.

    Raises:
        UserError: the network's asset is missing or damaged.
    """

    higher_is_better = False

    def __init__(self, net: Net = "alex", lpips: LPIPS | None = None, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.distance = LPIPSLoss(net, lpips)

    @property
    def name(self) -> str:
        """What results call it."""
        return f"LPIPS ({self.distance.lpips.net})"

    @torch.no_grad()
    def instances(
        self, images: Images, targets: Images, mask: Mask | None = None
    ) -> Float[Tensor, " B"]:
        """Return the distance of each pair.

        With a mask both images are mid-grey outside it; the mean over positions stays that of the
        whole image, so that a small mask makes small distances.
        """
        return self.distance(images, targets, mask)

    def update(self, images: Images, targets: Images, mask: Mask | None = None) -> None:
        """Add pairs of images in [-1, 1], with a mask in [0, 1] or without."""
        super().update(self.instances(images, targets, mask))
