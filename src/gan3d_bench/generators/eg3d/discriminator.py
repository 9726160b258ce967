"""Dual discrimination: the image is judged together with the volume's picture, and by a camera."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from gan3d_bench.errors import UserError
from gan3d_bench.generators.eg3d.cameras import LABEL_DIM
from gan3d_bench.generators.eg3d.superresolution import resize
from gan3d_bench.generators.stylegan2 import Discriminator, DiscriminatorConfig


class DualDiscriminator(nn.Module):
    """StyleGAN2's discriminator of six channels: the image, and the raw one at its size.

    Args:
        config: of the discriminator; channels of the images and size of labels are set here.

    Source: Chan et al. 2022, section 4.3; class DualDiscriminator in
    training/dual_discriminator.py of NVlabs/eg3d.
    """

    def __init__(self, config: DiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.network = Discriminator(
            replace(config or DiscriminatorConfig(), image_channels=6, label_dim=LABEL_DIM)
        )

    @property
    def config(self) -> DiscriminatorConfig:
        return self.network.config

    @property
    def image_size(self) -> int:
        return self.config.image_size

    def forward(self, images: tuple[Tensor, Tensor], cameras: Tensor) -> Tensor:
        """Return logits (B, 1), high for real images.

        Args:
            images: (B, 3, S, S) in [-1, 1], and the volume's pictures (B, 3, R, R) of them; for a
                real image `raw_of` makes one.
            cameras: (B, 25) that they are seen by.

        Raises:
            UserError: another number of images, or labels of another shape.
        """
        if len(images) != 2:
            raise UserError(f"images: {len(images)} of a sample, expected an image and a raw one")
        image, raw = images
        return self.network(torch.cat((image, resize(raw, image.shape[-1])), 1), cameras)


def raw_of(images: Tensor, volume_size: int) -> Tensor:
    """Real images (B, 3, S, S) as pictures of a volume (B, 3, R, R): resized, antialiased."""
    return resize(images, volume_size)
