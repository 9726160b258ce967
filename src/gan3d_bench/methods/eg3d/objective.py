"""The warm start's losses: heads as several exact cameras see them."""

from __future__ import annotations

from torch import Tensor, nn

from gan3d_bench.generators.eg3d import Pictures
from gan3d_bench.generators.eg3d.discriminator import raw_of
from gan3d_bench.generators.eg3d.superresolution import resize
from gan3d_bench.losses.perceptual import PerceptualLoss, build_perceptual
from gan3d_bench.losses.photometric import edge_loss
from gan3d_bench.methods.eg3d.config import RegressionConfig


class Reconstruction:
    """Weighted losses between generated and rendered images, of the final image and the raw one.

    Args:
        config: weights, and the network of the perceptual loss.
        image_size: S.

    Raises:
        UserError: the network's weights are missing, or the images are too small for it.
    """

    def __init__(self, config: RegressionConfig, image_size: int) -> None:
        self.config, self.image_size = config, image_size
        self.perceptual: PerceptualLoss | None = None
        if config.perceptual != "none":
            self.perceptual = build_perceptual(config.perceptual, image_size=image_size)

    def __call__(self, made: Pictures, images: Tensor) -> dict[str, Tensor]:
        """Terms by name.

        Args:
            made: of B samples.
            images: (B, 3, S, S) what they should look like.
        """
        image, raw = made.image.float(), made.volume.raw.float()
        terms = self._terms(image, images, perceptual=True)
        if self.config.raw > 0:
            target, both = raw_of(images, raw.shape[-1]), self.config.raw_perceptual
            found = self._terms(raw, target, perceptual=both)
            terms |= {f"raw_{key}": self.config.raw * value for key, value in found.items()}
        return terms

    def _terms(self, x: Tensor, y: Tensor, perceptual: bool) -> dict[str, Tensor]:
        config = self.config
        terms = {"pixel": config.pixel * (x - y).abs().mean()}
        if config.edges > 0:
            terms["edges"] = config.edges * edge_loss(x, y)
        if perceptual and self.perceptual is not None:
            if isinstance(self.perceptual, nn.Module):
                self.perceptual.to(x.device)
            # at the images' size: the network takes no smaller ones
            x, y = (resize(images, self.image_size) for images in (x, y))
            terms["perceptual"] = config.perceptual_weight * self.perceptual(x, y).mean()
        return terms
