"""The images a run is fitted to, as buffers: a checkpoint needs no data set."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan3d_bench.errors import UserError
from gan3d_bench.geometry.depth_prior import Extent, mask_extent, prior_depth
from gan3d_bench.methods.gan2shape.config import GAN2ShapeConfig
from gan3d_bench.methods.gan2shape.data import Instances

# An image is an instance when they differ by less than 8-bit rounding on average.
SAME_IMAGE = 2 / 255


class FittedImages(nn.Module):
    """N images, their whole originals and their masks.

    Args:
        config: of the run.
        whole_size: side T of the originals.
    """

    targets: Tensor  # (N, 3, S, S) in [-1, 1]
    originals: Tensor  # (N, 3, T, T) uint8
    masks: Tensor  # (N, 1, S, S) in [0, 1], or (0, 1, S, S) without masks
    loaded: Tensor  # () bool

    def __init__(self, config: GAN2ShapeConfig, whole_size: int) -> None:
        super().__init__()
        self.config = config
        n, s, t = config.instances, config.image_size, whole_size
        self.register_buffer("targets", torch.zeros(n, 3, s, s))
        self.register_buffer("originals", torch.zeros(n, 3, t, t, dtype=torch.uint8))
        self.register_buffer("masks", torch.zeros(n if config.masks else 0, 1, s, s))
        self.register_buffer("loaded", torch.zeros((), dtype=torch.bool))

    def fill(self, instances: Instances) -> None:
        """Take over what was loaded."""
        self.targets.copy_(instances.images)
        self.originals.copy_(instances.originals)
        if instances.masks is not None:
            self.masks.copy_(instances.masks)
        self.loaded.fill_(True)

    def find(self, image: Tensor) -> int | None:
        """Number of the instance that shows `image` (3, S, S), if any does."""
        distance = (self.targets - image).abs().flatten(1).mean(1)
        best = int(distance.argmin())
        return best if self.loaded and distance[best] < SAME_IMAGE else None

    def require(self, images: Tensor) -> list[int]:
        """Numbers of the instances that images (B, 3, S, S) show.

        Raises:
            UserError: an image shows none.
        """
        found = [self.find(image) for image in images]
        known = [i for i in found if i is not None]
        if len(known) < len(found):
            raise UserError("an image that this run was not fitted to has no stylecode in it")
        return known

    def target_masks(self, instances: list[int]) -> Tensor:
        """Where k targets count, (k or 1, 1, S, S): the paper leaves nothing out."""
        if self.config.mask_target:
            return self.masks[instances]
        return self.targets.new_ones(1, 1, 1, 1)

    def prior(self, instance: int) -> Tensor:
        """The weak shape prior of an instance (S, S), over its mask or over `prior.box` (3.1)."""
        config, size = self.config.prior, self.config.image_size
        if len(self.masks):
            extent = mask_extent(self.masks[instance, 0], config.category)
        else:
            extent = Extent(*(fraction * (size - 1) for fraction in config.box))
        prior = prior_depth(extent, size, config.near, config.far, config.shape)
        return prior.to(self.targets.device)
