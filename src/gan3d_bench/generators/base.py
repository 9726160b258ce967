"""What every teacher is: a generator of images from stylecodes."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from gan3d_bench.errors import UserError


class BlockState(NamedTuple):
    """Where synthesis stands between two blocks. Blocks never write into it: it can be used again.

    Attributes:
        features: (B, C, R, R) what the next block reads.
        image: (B, image_channels, R, R) the image so far, summed over the blocks' RGB layers;
            before the first block it has no pixels (R = 0).
    """

    features: Tensor
    image: Tensor


class BlockwiseSynthesis(nn.Module, abc.ABC):
    """A synthesis network that is a sequence of blocks, which can be run one by one.

    One after another they give what the network gives, to the bit::

        state = synthesis.begin(len(ws))
        for i, block in enumerate(synthesis.stages):
            state = block(state, ws[:, synthesis.ws_of(i)])
        images = state.image

    A block is called with a state and its rows of W+, (B, rows, w_dim), and returns the next state;
    it takes the same kinds of noise as the network. It can be run several times from one state.
    """

    @property
    @abc.abstractmethod
    def stages(self) -> Sequence[nn.Module]:
        """The blocks in order."""

    @abc.abstractmethod
    def begin(self, batch: int) -> BlockState:
        """Return the state before the first block, for `batch` images."""

    @abc.abstractmethod
    def ws_of(self, index: int) -> slice:
        """Return which rows of W+ the block `index` (negative from the end) takes.

        Rows may be shared: StyleGAN2's RGB layers take the row of the next block's first
        convolution.

        Raises:
            IndexError: no such block.
        """


class Generator(nn.Module, abc.ABC):
    """A frozen or trainable network z -> w -> image. Base of StyleGAN2, MobileStyleGAN and others.

    A subclass sets the two networks and fills the two buffers, which start as 0 and 1.

    Args:
        z_dim, w_dim: sizes of latents and stylecodes.
        label_dim: size of the labels that stylecodes depend on beside latents, such as a class or
            a camera; 0 for a generator that takes none.

    Attributes:
        mapping: latents (B, z_dim) -> stylecodes (B, w_dim), in float32. If `label_dim` is not 0,
            its second argument is labels (B, label_dim), which it requires.
        synthesis: stylecodes, (B, w_dim) for every layer or (B, num_ws, w_dim), -> images
            (B, image_channels, image_size, image_size), nominally in [-1, 1], not clamped. The same
            stylecodes give the same images: noise is fixed unless asked for otherwise. It has the
            attributes `num_ws` and `image_size`, and may be a `BlockwiseSynthesis`.
        w_mean: (w_dim,) mean of w; of a conditional generator over its labels, too.
        w_std: (w_dim,) standard deviation of w per channel; its norm is the scalar that GAN
            inversion scales its noise by.
    """

    mapping: nn.Module
    synthesis: nn.Module
    w_mean: Tensor
    w_std: Tensor

    def __init__(self, z_dim: int, w_dim: int, label_dim: int = 0) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.w_dim = w_dim
        self.label_dim = label_dim
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
    def image_rows(self) -> int:
        """Rows of the images: as many as columns, unless `synthesis` says otherwise."""
        return cast(int, getattr(self.synthesis, "image_rows", self.image_size))

    @property
    def image_channels(self) -> int:
        """Channels of the images: 3, RGB, unless a generator makes something else."""
        return 3

    @property
    def feature_channels(self) -> int:
        """Channels C of the features that `image_and_features` returns."""
        return self.image_channels

    @property
    def blocks(self) -> Sequence[nn.Module] | None:
        """The blocks of `synthesis` in order; None where it cannot be run block by block.

        How they are run: `BlockwiseSynthesis`.
        """
        return self.synthesis.stages if isinstance(self.synthesis, BlockwiseSynthesis) else None

    @abc.abstractmethod
    def style_weights(self) -> list[Tensor]:
        """Weights (C_i, w_dim) of the affine layers that take w into the network, in order.

        What SeFa factorises. Raw weights, without the learning rate's equalisation.
        """

    def forward(
        self,
        z: Tensor,
        psi: float = 1.0,
        cutoff: int | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Return images (B, image_channels, S, S) of latents z (B, z_dim), truncated by `psi`.

        Args:
            z: (B, z_dim).
            psi, cutoff: see `truncate`.
            labels: (B, label_dim), for a generator that takes labels.

        Raises:
            UserError: labels missing, of another shape, or not taken by this generator.
        """
        return self.synthesis(self.truncate(self.stylecodes(z, labels), psi, cutoff))

    def stylecodes(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map latents (B, z_dim) to stylecodes (B, w_dim), with labels where there are any.

        Raises:
            UserError: labels missing, of another shape, or not taken by this generator.
        """
        require_labels(labels, self.label_dim, len(z))
        return self.mapping(z) if labels is None else self.mapping(z, labels)

    def image_and_features(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Synthesise images and return the last features with them, in one pass.

        A generator that has no others to give returns its images as features.

        Args:
            w: (B, w_dim) or (B, num_ws, w_dim).

        Returns:
            images (B, image_channels, S, S), as of `synthesis`, and features (B, C, S, S), C
            being `feature_channels`; both with gradients to `w`.
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


def require_labels(labels: Tensor | None, label_dim: int, batch: int | None = None) -> None:
    """Check the labels that a network is given.

    Args:
        labels: what is given; None for nothing.
        label_dim: what the network takes; 0 for no labels.
        batch: samples that they are for, if that is known.

    Raises:
        UserError: labels missing, of another shape, or not taken.
    """
    if labels is None:
        if label_dim:
            raise UserError(f"labels: none given, expected {label_dim} numbers for each sample")
        return
    if not label_dim:
        raise UserError("labels: given to a network that takes none")
    if labels.ndim != 2 or labels.shape[1] != label_dim or batch not in (None, len(labels)):
        expected = f"({'B' if batch is None else batch}, {label_dim})"
        raise UserError(f"labels: {tuple(labels.shape)}, expected {expected}")


@dataclass(frozen=True)
class Teacher:
    """A frozen generator and, where there is one, the discriminator it was trained against.

    Attributes:
        name: what the user called it.
        generator: evaluation mode, float32, without gradients to its weights.
        discriminator: images (B, 3, S, S) -> logits (B, 1); None where it was not released.
    """

    name: str
    generator: Generator
    discriminator: nn.Module | None = None
