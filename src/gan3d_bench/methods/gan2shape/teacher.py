"""The frozen teacher: what makes images of stylecodes and what compares them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan3d_bench.errors import UserError
from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.latents import sample_z
from gan3d_bench.generators.stylegan2.discriminator import Discriminator
from gan3d_bench.generators.stylegan2.generator import Mapping
from gan3d_bench.generators.teachers import load_teacher
from gan3d_bench.losses.perceptual import PerceptualLoss, build_perceptual
from gan3d_bench.methods.gan2shape.config import GAN2ShapeConfig
from gan3d_bench.methods.gan2shape.latents import LatentOffset
from gan3d_bench.rendering.images import frame


class FrozenTeacher(nn.Module):
    """The 2D GAN a run learns from, and its perceptual losses.

    Args:
        config: of the run.

    Attributes:
        generator: G, with StyleGAN's mapping network F.
        discriminator: G's; None where none was released.
        offset: E's codes to offsets of w.

    Raises:
        UserError: the teacher is missing or does not fit the config.
    """

    generator: Generator
    discriminator: Discriminator | None

    def __init__(self, config: GAN2ShapeConfig) -> None:
        super().__init__()
        self.config = config
        loaded = load_teacher(
            config.teacher, config.original_size if config.crop else config.image_size
        )
        if loaded.discriminator is None and config.projection == "discriminator":
            raise UserError(
                f"projection=discriminator: teacher={config.teacher} has none; expected "
                "projection=perceptual"
            )
        _require_fit(loaded.generator, config)
        self.generator = loaded.generator
        self.discriminator = loaded.discriminator  # type: ignore[assignment]
        self._perceptual = nn.ModuleDict()
        mapped = config.offset.regularise == "mapping"
        self.offset = LatentOffset(self.mapping, config.offset.depth if mapped else None)

    @property
    def mapping(self) -> Mapping:
        """F: latents z to stylecodes w."""
        return self.generator.mapping  # type: ignore[return-value]

    @property
    def code_size(self) -> int:
        """Length of E's codes: of z where F1 is the whole of F, else of w."""
        whole = self.offset.depth == len(self.mapping.layers)
        return self.generator.z_dim if whole else self.generator.w_dim

    @property
    def projection_discriminator(self) -> Discriminator | None:
        """Whose features compare pseudo and projected samples; None: the perceptual loss does."""
        return None if self.config.projection == "perceptual" else self.discriminator

    def perceptual(self, name: str = "") -> PerceptualLoss:
        """The perceptual loss called `name` (by default the run's), built once.

        Raises:
            UserError: its asset is missing, or the run's images are too small for it.
        """
        name = name or self.config.perceptual
        if name not in self._perceptual:
            config, sizes = self.config, []
            if name == config.perceptual:
                sizes.append(config.image_size)
            if name == config.inversion.perceptual:
                sizes.append(min(self.generator.image_size, config.inversion.compare_size))
            loss = build_perceptual(name, self.discriminator, min(sizes, default=None))
            self._perceptual[name] = loss.to(self.generator.w_mean.device)  # type: ignore[attr-defined]
        return self._perceptual[name]  # type: ignore[return-value]

    def sample_w(self, count: int, rng: torch.Generator, truncation: float) -> Tensor:
        """Draw stylecodes (count, w_dim), truncated to the mean by `truncation` (1: not)."""
        z = sample_z(count, self.generator.z_dim, rng).to(self.generator.w_mean.device)
        return self.generator.truncate(self.generator.mapping(z), truncation)

    def generated(self, w: Tensor) -> Tensor:
        """Images (B, 3, S, S) of stylecodes (B, w_dim) in the frame of the targets."""
        return self.framed(self.generator.synthesis(w).float().clamp(-1, 1))

    def framed(self, pictures: Tensor) -> Tensor:
        """Whole pictures (B, 3, T, T) in the frame of the targets: the crop, at their size."""
        config = self.config
        return frame(pictures, config.image_size, config.crop, config.original_size)


def _require_fit(generator: Generator, config: GAN2ShapeConfig) -> None:
    if config.image_size > generator.image_size:
        raise UserError(
            f"image_size={config.image_size}: expected at most {generator.image_size}, "
            f"the size of the images of teacher={config.teacher}"
        )
    if not isinstance(generator.mapping, Mapping):
        raise UserError(
            f"teacher={config.teacher}: expected StyleGAN's mapping network, of which F1 is a part"
        )
    layers, depth = len(generator.mapping.layers), config.offset.depth
    if not 0 <= depth <= layers:
        raise UserError(
            f"offset.depth={depth}: expected 0 to {layers}, the layers of the teacher's "
            "mapping network"
        )
