"""EG3D training as a method: what a run shows and leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.generators.eg3d import save_discriminator, save_generator
from gan3d_bench.generators.eg3d.scene import TriplaneScene
from gan3d_bench.generators.eg3d.teacher import DISCRIMINATOR, GENERATOR
from gan3d_bench.generators.latents import sample_z
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.eg3d import data
from gan3d_bench.methods.eg3d.data import Posed
from gan3d_bench.methods.eg3d.training import EG3DTraining
from gan3d_bench.scenes.preview import Preview

SHOWN = 8  # subjects of a preview
TURNS = (-45.0, -22.5, 0.0, 22.5, 45.0)  # degrees of yaw in a preview


class EG3D(EG3DTraining):
    """EG3D's training, with scenes of its volumes."""

    def sample(self, n: int, generator: torch.Generator) -> TriplaneScene:
        """Draw `n` subjects, conditioned on the frontal camera."""
        return self.scene(sample_z(n, self.generator.z_dim, generator))

    @torch.no_grad()
    def scene(self, z: Tensor, labels: Tensor | None = None) -> TriplaneScene:
        """The subjects of latents (B, z_dim).

        Args:
            z: latents.
            labels: (B, 25) cameras that the generator is told; None for the frontal one.
        """
        generator = self.generator_ema
        if labels is None:
            labels = generator.config.orbit.frontal(len(z))
        w = generator.mapping(z.to(self.device), labels.to(self.device))
        return TriplaneScene.of_stylecodes(generator, w)

    @torch.no_grad()
    def preview(self) -> Preview:
        """New subjects turned by 45 degrees to either side, real images beside their likenesses."""
        z_dim = self.generator.z_dim
        # not the seed of the rendered heads, or these would be the training latents
        rng = torch.Generator().manual_seed(self.config.seed + 1)
        scene = self.sample(SHOWN, rng)
        turned = [scene.render(View.from_angles(yaw)).rgb for yaw in TURNS]
        shown = {"views": torch.stack(turned, 1).flatten(0, 1).cpu()}
        images = self._shown_images
        if images is not None:
            real = images.read(torch.arange(min(SHOWN, len(images))))
            shown["real"] = real.images.flatten(0, 1)
            if real.latents is not None and real.latents.shape[1] == z_dim:
                own = self.scene(real.latents, real.cameras[:, 0])
                shown["reconstructed"] = self._likenesses(own, real).cpu()
        return Preview(shown, scene)

    def _likenesses(self, scene: TriplaneScene, real: Posed) -> Tensor:
        """Heads as each of their cameras sees them, in the order of their pictures."""
        orbit = self.generator.config.orbit
        seen = [scene.render(orbit.view(cameras)).rgb for cameras in real.cameras.unbind(1)]
        return torch.stack(seen, 1).flatten(0, 1)

    @property
    def _shown_images(self) -> data.Images | None:
        """The real images, unless they are gone or have to be rendered first."""
        if self._images is None and self.config.uses_heads and not self._heads.there:
            return None
        try:
            return self.images
        except UserError:
            return None

    def write_results(self, folder: Path) -> None:
        """Write the networks: a folder that ``eg3d:FOLDER`` stands for as a teacher."""
        save_generator(self.generator_ema, folder / GENERATOR, dtype=torch.float32)
        save_discriminator(self.discriminator, folder / DISCRIMINATOR, dtype=torch.float32)

    def extra_metadata(self) -> Mapping[str, Any]:
        """See `Method.extra_metadata`."""
        parameters = {
            name: sum(p.numel() for p in getattr(self, name).parameters())
            for name in ("generator", "discriminator")
        }
        return {"parameters": parameters, "perceptual": self.config.regression.perceptual}
