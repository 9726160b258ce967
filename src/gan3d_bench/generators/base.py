"""What every teacher is: a generator of images from stylecodes."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn


class Generator(nn.Module, abc.ABC):
    """A frozen or trainable network z -> w -> image. Base of StyleGAN2, MobileStyleGAN and others.

    A subclass sets the two networks and fills the two buffers, which start as 0 and 1.

    Args:
        z_dim, w_dim: sizes of latents and stylecodes.

    Attributes:
        mapping: latents (B, z_dim) -> stylecodes (B, w_dim), in float32.
        synthesis: stylecodes, (B, w_dim) for every layer or (B, num_ws, w_dim), -> images
            (B, 3, image_size, image_size), nominally in [-1, 1], not clamped. The same stylecodes
            give the same images: noise is fixed unless asked for otherwise. It has the attributes
            `num_ws` and `image_size`.
        w_mean: (w_dim,) mean of w.
        w_std: (w_dim,) standard deviation of w per channel; its norm is the scalar that GAN
            inversion scales its noise by.
    """

    mapping: nn.Module
    synthesis: nn.Module
    w_mean: Tensor
    w_std: Tensor

    def __init__(self, z_dim: int, w_dim: int) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.w_dim = w_dim
        self.register_buffer("w_mean", torch.zeros(w_dim))
        self.register_buffer("w_std", torch.ones(w_dim))

    @property
    def num_ws(self) -> int:
        """Stylecodes per image in W+."""
        return cast(int, self.synthesis.num_ws)

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return cast(int, self.synthesis.image_size)

    @property
    def feature_channels(self) -> int:
        """Channels C of the features that `image_and_features` returns."""
        return 3

    @abc.abstractmethod
    def style_weights(self) -> list[Tensor]:
        """Weights (C_i, w_dim) of the affine layers that take w into the network, in order.

        What SeFa factorises. Raw weights, without the learning rate's equalisation.
        """

    def forward(self, z: Tensor, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """Return images (B, 3, S, S) of latents z (B, z_dim), truncated by `psi`."""
        return self.synthesis(self.truncate(self.mapping(z), psi, cutoff))

    def image_and_features(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Synthesise images and return the last features with them, in one pass.

        A generator that has no others to give returns its images as features.

        Args:
            w: (B, w_dim) or (B, num_ws, w_dim).

        Returns:
            images (B, 3, S, S), as of `synthesis`, and features (B, C, S, S), C being
            `feature_channels`; both with gradients to `w`.
        """
        images = self.synthesis(w)
        return images, images

    def truncate(self, w: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
        """Move stylecodes towards the mean: w_mean + psi (w - w_mean).

        Args:
            w: (B, w_dim) or (B, num_ws, w_dim).
            psi: 1 changes nothing, 0 gives the mean.
            cutoff: only the first `cutoff` layers are moved; None moves all.

        Returns:
            the shape of `w`; (B, num_ws, w_dim) if `cutoff` is given.
        """
        if psi == 1.0:
            return w
        moved = self.w_mean.lerp(w, psi)
        if cutoff is None:
            return moved
        if w.ndim == 2:
            w, moved = (x[:, None].expand(-1, self.num_ws, -1) for x in (w, moved))
        return torch.cat([moved[:, :cutoff], w[:, cutoff:]], dim=1)


@dataclass(frozen=True)
class Teacher:
    """A frozen generator and, where there is one, the discriminator it was trained against.

    Attributes:
        name: what the user called it.
        generator: evaluation mode, float32, without gradients to its weights.
        discriminator: images (B, 3, S, S) -> logits (B,); None where it was not released.
    """

    name: str
    generator: Generator
    discriminator: nn.Module | None = None
