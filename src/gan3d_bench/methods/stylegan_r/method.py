"""StyleGAN-R: what a run gives once it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from gan3d_bench.errors import unknown_name
from gan3d_bench.files.run_folder import write_json
from gan3d_bench.generators.latents import sample_z
from gan3d_bench.generators.stylegan2.latents import mix_styles
from gan3d_bench.methods.stylegan_r import figures
from gan3d_bench.methods.stylegan_r.cameras import CENTRE_DEPTH
from gan3d_bench.methods.stylegan_r.config import CLASSES
from gan3d_bench.methods.stylegan_r.model import Seen
from gan3d_bench.methods.stylegan_r.scene import DeformedSphere, MixedScene, NeuralScene
from gan3d_bench.methods.stylegan_r.spec import MIXING, NEURAL
from gan3d_bench.methods.stylegan_r.style_space import VIEW_ROWS
from gan3d_bench.methods.stylegan_r.subjects import shown_by
from gan3d_bench.methods.stylegan_r.swaps import Renderer, What, mixed, swapped
from gan3d_bench.methods.stylegan_r.training import StyleGANRTraining
from gan3d_bench.pictures.scene_sheets import Sheet
from gan3d_bench.scenes.base import Scene
from gan3d_bench.scenes.preview import Preview


class StyleGANR(StyleGANRTraining):
    """A StyleGAN2 as a 3D neural renderer, and single-image reconstruction learnt from it."""

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> DeformedSphere:
        """Reconstruct `n` samples of the teacher, from view codes drawn by lot."""
        content = self.styles(sample_z(n, self.generator.z_dim, generator))
        views = torch.randint(len(self.views), (n,), generator=generator)
        view = self.pictures.view_codes.to(content)[views]
        codes = mix_styles(view, content, VIEW_ROWS, self.generator.num_ws)
        images = self.generator.synthesis(codes).float().clamp(-1, 1)
        camera = self.cameras()[views.to(self.device)].detach()
        found = self.inverse_graphics(images)
        return DeformedSphere(self, Seen(images, self.own_mask(found, camera), found, camera))

    def reconstruct(self, images: Tensor) -> DeformedSphere:
        """Meshes of `images` (B, 3, S, S) in [-1, 1], whose cameras are found by trying.

        Of them the middle rows are looked at that `image_rows` says; (B, 3, R, S) is taken, too.

        Raises:
            UserError: another image size.
        """
        return DeformedSphere(self, self.seen(images))

    def row_scene(self, kind: str, images: Tensor) -> Scene:
        """See `Method.row_scene`; and ``NEURAL``: by StyleGAN-R, ``MIXING``: by its teacher."""
        if kind == NEURAL:
            return self.neural(self.seen(images))
        if kind == MIXING:
            with torch.no_grad():
                return MixedScene(self, self.embed(images), self.seen(images).camera)
        return super().row_scene(kind, images)

    @torch.no_grad()
    def neural(self, seen: Seen) -> NeuralScene:
        """The subjects of pictures, drawn by StyleGAN-R."""
        return NeuralScene(self, self.codes_of(seen), seen.camera)

    # -- swaps ----------------------------------------------------------------------------------

    @torch.no_grad()
    def swap(
        self, images: Tensor, others: Tensor, what: What, renderer: Renderer = "neural"
    ) -> Tensor:
        """Pictures with the shape, the texture or the background of others (Figures 10 and M).

        Args:
            images: (B, 3, S, S) in [-1, 1].
            others: (B or 1, 3, S, S), where `what` comes from.
            what: ``shape``, ``texture`` or ``background``.
            renderer: ``neural``, StyleGAN-R; ``mesh``, the mesh before the picture's own background
                filled up; ``mixing``, the baseline: the teacher's own style mixing of both
                pictures' inverted stylecodes, in those numbers of W* that s (Eq. 4) gives to `what`
                more than to anything else.

        Returns:
            (B, 3, R, S) in [-1, 1].

        Raises:
            UserError: another word, or images of another size.
        """
        for name, given, known in (
            ("part to swap", what, get_args(What)),
            ("renderer", renderer, get_args(Renderer)),
        ):
            if given not in known:
                raise unknown_name(name, given, known)
        if renderer == "mixing":
            return mixed(self, self.embed(images), self.embed(others), what)
        return swapped(self, self.seen(images), self.seen(others), what, renderer)

    # -- what a run leaves ----------------------------------------------------------------------

    def write_results(self, folder: Path) -> None:
        """Write ``cameras.json``: each view code's bin, its camera, and the true one where known.

        Azimuths and elevations in degrees, distances in scene units.
        """
        learnt, views = self.cameras().detach(), self.views
        columns = {
            "bin_azimuth": list(views.azimuths),
            "azimuth": learnt.azimuth.rad2deg().tolist(),
            "elevation": learnt.elevation.rad2deg().tolist(),
            "distance": (CENTRE_DEPTH * learnt.log_distance.exp()).tolist(),
        }
        if self.config.views in CLASSES:
            true = shown_by(self.config.views, self.generator, views.numbers, views.numbers)
            columns["true_azimuth"] = true.azimuth.tolist()
            columns["true_elevation"] = true.elevation.tolist()
        rows = zip(*columns.values(), strict=True)
        write_json(folder / "cameras.json", [dict(zip(columns, row, strict=True)) for row in rows])

    # -- what a run shows -----------------------------------------------------------------------

    @torch.no_grad()
    def preview(self) -> Preview:
        """Objects that are in no data set: pictures, meshes and StyleGAN-R at their cameras."""
        seen = self._shown(self.config.samples)
        drawn = self.draw(seen.properties, seen.camera, supersample=2)
        images = {
            "input": seen.images,
            "mask": 2 * seen.mask.expand(-1, 3, -1, -1) - 1,
            "mesh": drawn.over(1.0).clamp(-1, 1),
            "neural": self.synthesise(seen.camera, self.codes_of(seen)).clamp(-1, 1),
            "texture": seen.properties.texture,
        }
        return Preview(images, DeformedSphere(self, seen))

    def _shown(self, count: int) -> Seen:
        """The first objects after those of the data set, each from another view."""
        first = self.config.dataset.objects
        objects = torch.arange(first, first + count)
        # views next to each other may be of one azimuth
        views = torch.arange(count) * max(1, len(self.views) // count) % len(self.views)
        return self.seen_of(objects, views)

    @torch.no_grad()
    def figures(
        self,
        count: int,
        generator: torch.Generator,
        images: Tensor | None = None,
        styles: Tensor | None = None,
    ) -> Mapping[str, Sheet]:
        """See `Method.figures`; and ``views`` (Figure 2), ``blocks`` (A), ``reconstruction`` (4),
        ``camera`` (7, 9, L), ``optimised`` (8), ``swaps`` (10, 11 and M) and ``mixing``, the
        baseline of the swaps.
        """
        sheets = super().figures(count, generator, images, styles)
        seen = self._shown(count) if images is None else self.seen(images)
        codes = self.embed(seen.images)
        return {
            **sheets,
            "views": figures.view_sheet(self, min(count, 4)),
            "blocks": figures.block_sheet(self, codes[:4]),
            "reconstruction": figures.reconstruction_sheet(DeformedSphere(self, seen)),
            "camera": figures.camera_sheet(DeformedSphere(self, seen), self.neural(seen)),
            "optimised": figures.optimised_sheet(self, seen, codes),
            **figures.swap_sheets(self, seen, codes),
        }
