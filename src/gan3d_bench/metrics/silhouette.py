"""How well a rendered silhouette covers the true one."""

from __future__ import annotations

from torch import Tensor

from gan3d_bench.metrics.instances import InstanceMean


class MaskIoU(InstanceMean):
    """2D intersection over union of masks, averaged over images; 1 is perfect.

    Source: StyleGAN-R (Zhang et al. 2021), Table 1b: the mask of the reconstruction, rendered in
    the input view, against the image's mask.

    Args:
        threshold: a pixel belongs to a mask above this coverage.
    """

    higher_is_better = True

    def __init__(self, threshold: float = 0.5, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.threshold = threshold

    def instances(self, mask: Tensor, target: Tensor) -> Tensor:
        """Return the IoU per image, (B,) in [0, 1]; NaN where both masks are empty.

        Raises:
            ValueError: masks of different shapes.
        """
        if mask.shape != target.shape:
            raise ValueError(f"masks differ in shape: {tuple(mask.shape)}, {tuple(target.shape)}")
        a, b = mask > self.threshold, target > self.threshold
        return (a & b).sum((1, 2, 3)) / (a | b).sum((1, 2, 3))

    def update(self, mask: Tensor, target: Tensor) -> None:
        """Add masks (B, 1, H, W) in [0, 1], predicted and true."""
        super().update(self.instances(mask, target))
