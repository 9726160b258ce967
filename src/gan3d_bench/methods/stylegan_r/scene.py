"""What is seen in pictures, as scenes of either renderer: a textured mesh, or StyleGAN-R."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gan3d_bench.generators.stylegan2.latents import mix_styles
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.stylegan_r.cameras import CENTRE_DEPTH, Orbit
from gan3d_bench.methods.stylegan_r.mapping import ContentCodes
from gan3d_bench.methods.stylegan_r.style_space import VIEW_ROWS
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.rendering.shading import Light
from gan3d_bench.scenes.base import Scene
from gan3d_bench.scenes.mesh import MeshScene

if TYPE_CHECKING:
    from gan3d_bench.methods.stylegan_r.model import Seen, StyleGANRModel

SUPERSAMPLE = 2


class DeformedSphere(MeshScene):
    """B meshes with texture maps, in the frame of the suite's cars, drawn by DIB-R.

    The texture holds the light of the pictures: it is no albedo, and the scene is not relit.
    `background` is the pictures.

    Args:
        model: draws them.
        seen: what is seen in B pictures.
    """

    capabilities = frozenset({"depth", "normal", "mesh"})

    def __init__(self, model: StyleGANRModel, seen: Seen) -> None:
        points = model.points(seen.properties)
        template = model.template
        super().__init__(
            points + points.new_tensor([0.0, 0.0, CENTRE_DEPTH]),
            template.faces,
            template.surface(seen.properties.texture),
            model.camera,
            input_view=seen.camera.view,
            centre_depth=CENTRE_DEPTH,
            supersample=SUPERSAMPLE,
            cull_backfaces=True,
        )
        self.background = seen.images


class NeuralScene(Scene):
    """B subjects by their codes, drawn by StyleGAN-R, background and all: RGB only.

    A view's azimuth, elevation and distance count; its roll and shifts aside do not, as the
    camera's V has none (section 3.3). Views far from those of the chosen view codes were never
    seen.

    Args:
        model: draws them.
        codes: of B subjects.
        camera: at which they were seen.
    """

    def __init__(self, model: StyleGANRModel, codes: ContentCodes, camera: Orbit) -> None:
        self.model, self.codes = model, codes
        self.camera = model.camera
        self.input_view = camera.view

    @property
    def batch_size(self) -> int:
        return len(self.codes.shape)

    @torch.no_grad()
    def _render(self, view: View, light: Light | None, camera: object) -> Rendering:
        """See `Scene.render`. The mask is 1 everywhere."""
        orbit = Orbit.of_view(view.to(self.codes.shape.device))
        rgb: Tensor = self.model.synthesise(orbit, self.codes).clamp(-1, 1)
        return Rendering(rgb=rgb, mask=torch.ones_like(rgb[:, :1]))


class MixedScene(Scene):
    """B subjects by their stylecodes, drawn by the teacher's own style mixing: the baseline.

    From each view it shows the view code whose camera looks from nearest to there; distance and
    whatever lies between view codes it does not have. RGB only.

    Args:
        model: whose teacher, view codes and cameras.
        w: (B, w_dim) stylecodes, for the layers of the content.
        camera: at which the subjects were seen.
    """

    def __init__(self, model: StyleGANRModel, w: Tensor, camera: Orbit) -> None:
        self.model, self.w = model, w
        self.camera = model.camera
        self.input_view = camera.view

    @property
    def batch_size(self) -> int:
        return len(self.w)

    @torch.no_grad()
    def _render(self, view: View, light: Light | None, camera: object) -> Rendering:
        """See `Scene.render`. The mask is 1 everywhere."""
        model, generator = self.model, self.model.generator
        asked = Orbit.of_view(view.to(self.w.device)).direction()
        nearest = (asked @ model.cameras().direction().T).argmax(1)
        views = model.pictures.view_codes.to(self.w)[nearest]
        codes = mix_styles(views, self.w, VIEW_ROWS, generator.num_ws)
        rgb = generator.synthesis(codes).float().clamp(-1, 1)
        return Rendering(rgb=rgb, mask=torch.ones_like(rgb[:, :1]))
