"""State of a run: teacher, view codes, the networks of all phases, and the mesh renderer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gan3d_bench.generators.latents import numbered_z
from gan3d_bench.generators.names import teacher_hash
from gan3d_bench.losses.perceptual import PerceptualLoss, build_perceptual
from gan3d_bench.methods.base import require_images
from gan3d_bench.methods.lifting import LiftingMethod
from gan3d_bench.methods.stylegan_r.cameras import CENTRE_DEPTH, Orbit, ViewCameras
from gan3d_bench.methods.stylegan_r.config import StyleGANRConfig
from gan3d_bench.methods.stylegan_r.dataset import Pictures
from gan3d_bench.methods.stylegan_r.mapping import ContentCodes, MappingNetwork
from gan3d_bench.methods.stylegan_r.masks import open_masks
from gan3d_bench.methods.stylegan_r.networks import InverseGraphics, Properties
from gan3d_bench.methods.stylegan_r.objective import disagreement
from gan3d_bench.methods.stylegan_r.style_space import (
    CentralRows,
    StyleSynthesis,
    style_codes,
    synthesis_of,
)
from gan3d_bench.methods.stylegan_r.template import SphereTemplate
from gan3d_bench.methods.stylegan_r.views import view_set
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.images import central_rows
from gan3d_bench.rendering.mesh import MeshRendering, render_mesh
from gan3d_bench.rendering.silhouette import SoftSilhouette

STATISTICS = 2048  # stylecodes whose styles' mean and deviation are taken
_REFINEMENT_RATE = 0.02  # of Adam on a given picture's camera, radians


@dataclass(frozen=True)
class Seen:
    """What is seen in B pictures.

    Attributes:
        images: (B, 3, R, S) in [-1, 1]; R rows are looked at, S but for `image_rows`.
        mask: (B, 1, R, S) in [0, 1], the object.
        properties: shapes and textures.
        camera: the cameras.
    """

    images: Tensor
    mask: Tensor
    properties: Properties
    camera: Orbit

    @property
    def background(self) -> Tensor:
        """B of section 3.3: the pictures without the object, 0 in its place."""
        return without_object(self.images, self.mask)

    def __getitem__(self, index: slice | Tensor) -> Seen:
        """Choose some of the B."""
        properties, camera = self.properties[index], self.camera[index]
        return Seen(self.images[index], self.mask[index], properties, camera)


def without_object(images: Tensor, mask: Tensor) -> Tensor:
    """Pictures (B, 3, R, S) that are 0, mid-grey, where the mask (B, 1, R, S) is 1."""
    return images * (1 - mask)


class StyleGANRModel(LiftingMethod):
    """Networks, teacher and renderers.

    Attributes:
        pictures: the multi-view data set.
        inverse_graphics: f.
        cameras: V, one for each view code.
        mapping: g_v, g_s, g_t, g_b and s.
        stylegan: the generator in fine-tuning, which is given w* itself.
        background_judge: g_b as it was when fine-tuning began.

    Raises:
        UserError: teacher, views, masks or perceptual network missing, or they do not fit.
    """

    config: StyleGANRConfig

    def __init__(self, config: StyleGANRConfig) -> None:
        super().__init__(config)
        network, generator = config.network, self.generator
        synthesis = synthesis_of(generator, f"teacher={config.teacher}")
        if config.image_rows:
            generator.synthesis = CentralRows(synthesis, config.image_rows)
        self.frozen["teacher_styles"] = StyleSynthesis(synthesis, config.rows)
        self.views = view_set(config, generator)
        self.pictures = Pictures(
            config, generator, self.views, open_masks(config.masks, config.detector)
        )
        self.perceptual = self._build_perceptual()
        self._template = SphereTemplate.make(network.level, network.texture_size, network.radius)
        picture_size = config.rows, config.image_size
        self.inverse_graphics = InverseGraphics(network, picture_size, self._template)
        self.cameras = ViewCameras(self.views.azimuths, self.views.elevations)
        self.stylegan = StyleSynthesis(synthesis, config.rows)
        self.mapping = self._build_mapping()
        self.background_judge = self._build_mapping().background

    def _build_perceptual(self) -> PerceptualLoss | None:
        if not self.config.losses.perceptual:
            return None
        discriminator = self.teacher.discriminator
        if discriminator is not None:
            self.frozen["teacher_discriminator"] = discriminator
        loss = build_perceptual(self.config.perceptual, discriminator, self.config.rows)  # type: ignore[arg-type]
        if isinstance(loss, nn.Module):
            self.frozen["perceptual"] = loss
        return loss

    @torch.no_grad()
    def _build_mapping(self) -> MappingNetwork:
        config, z_dim = self.config, self.generator.z_dim
        w = self.styles(numbered_z("statistics", range(STATISTICS), z_dim))
        deviation, mean = torch.std_mean(self.style_codes(w), 0)
        return MappingNetwork(
            config.mapping,
            (config.rows, config.image_size),
            config.network.texture_size,
            len(self._template.vertices),
            mean,
            deviation.clamp(min=1e-6),
            self.stylegan.view_size,
        )

    # -- what the networks say ------------------------------------------------------------------

    def style_codes(self, w: Tensor) -> Tensor:
        """The teacher's w* (B, D_v + D) of stylecodes (B, w_dim) or (B, num_ws, w_dim)."""
        return style_codes(synthesis_of(self.generator, "teacher"), w)

    def teacher_image(self, codes: Tensor) -> Tensor:
        """The teacher's pictures (B, 3, R, S) of w* (B, D_v + D)."""
        return self.frozen["teacher_styles"](codes).float()

    @property
    def template(self) -> SphereTemplate:
        """The sphere, on this method's device."""
        if self._template.vertices.device != self.device:
            self._template = self._template.to(self.device)
        return self._template

    @property
    def camera(self) -> PinholeCamera:
        """What pictures are taken with."""
        size = self.config.rows, self.config.image_size
        return PinholeCamera(size, self.config.cameras.fov)

    def styles(self, z: Tensor) -> Tensor:
        """Stylecodes (N, w_dim) of latents (N, z_dim), truncated as in training."""
        w = self.generator.mapping(z.to(self.generator.w_mean.device))
        return self.generator.truncate(w, self.config.truncation)

    def points(self, properties: Properties) -> Tensor:
        """Vertices (B, V, 3) about the subject's centre, in scene units."""
        half_width = CENTRE_DEPTH * math.tan(math.radians(self.config.cameras.fov) / 2)
        return half_width * (self.template.vertices + properties.move)

    def draw(self, properties: Properties, camera: Orbit, supersample: int = 1) -> MeshRendering:
        """The meshes (B) as the cameras (B) see them, unlit, with soft silhouettes (DIB-R)."""
        return render_mesh(
            camera.transform(self.points(properties)),
            self.template.faces,
            self.template.surface(properties.texture),
            self.camera,
            supersample=supersample,
            soft=SoftSilhouette(),
            cull_backfaces=True,
        )

    def own_mask(self, properties: Properties, camera: Orbit) -> Tensor:
        """Silhouettes (B, 1, R, S), 0 or 1, of meshes as the cameras see them; no gradient."""
        with torch.no_grad():
            return (self.draw(properties, camera).mask > 0.5).float()

    def synthesise(self, camera: Orbit, codes: ContentCodes) -> Tensor:
        """StyleGAN-R's pictures (B, 3, R, S), not clamped, of cameras and codes (B)."""
        return self.stylegan(self.mapping(camera, codes)).float()

    def codes_of(self, seen: Seen) -> ContentCodes:
        """The codes (B) of what is seen."""
        return self.mapping.content_codes(seen.properties, seen.background)

    def content(self, images: Tensor) -> Tensor:
        """The rows that are looked at (B, 3, R, S), of whole pictures (B, 3, S, S) too.

        Raises:
            UserError: images of another size than the run's.
        """
        width, rows = self.config.image_size, self.config.rows
        if images.shape[-2:] == (width, width):
            images = central_rows(images, rows)
        require_images(images, width, rows)
        return images

    def embed(self, images: Tensor) -> Tensor:
        """See `LiftingMethod.embed`; of whole pictures the rows that are looked at."""
        return super().embed(self.content(images))

    @torch.no_grad()
    def seen(self, images: Tensor) -> Seen:
        """What is seen in pictures of which nothing is known.

        Cameras are the best of the view codes', and then refined, see `find_cameras`.

        Args:
            images: (B, 3, R, S) in [-1, 1], or whole (B, 3, S, S).

        Raises:
            UserError: images of another size than the run's.
        """
        images = self.content(images).to(self.device)
        mask = self.pictures.masks(images).mask
        properties = self.inverse_graphics(images)
        return Seen(images, mask, properties, self.find_cameras(properties, images, mask))

    @torch.no_grad()
    def seen_of(self, objects: Tensor, views: Tensor) -> Seen:
        """What is seen in the teacher's pictures of objects from views (B,), numbers.

        Their cameras are the view codes'.
        """
        images, found = self.pictures.picture(objects, views)
        camera = self.cameras()[views.to(self.device)]
        return Seen(images, found.mask.to(images), self.inverse_graphics(images), camera)

    def find_cameras(self, properties: Properties, images: Tensor, mask: Tensor) -> Orbit:
        """Cameras (B) from which meshes look as the pictures: silhouette and colours.

        The learnt cameras are tried one after another; then azimuth, elevation and distance of the
        best take `cameras.refinement` steps of Adam. No picture depends on another.
        """
        known, losses = self.cameras().detach(), self.config.losses
        with torch.no_grad():
            errors = [
                disagreement(
                    self.draw(properties, known[torch.full((len(images),), k)]),
                    images,
                    mask,
                    losses,
                )
                for k in range(len(known))
            ]
        best = known[torch.stack(errors).argmin(0)]
        with torch.enable_grad():
            parts = [
                part.clone().requires_grad_()
                for part in (best.azimuth, best.elevation, best.log_distance)
            ]
            optimizer = torch.optim.Adam(parts, _REFINEMENT_RATE)
            for _ in range(self.config.cameras.refinement):
                optimizer.zero_grad()
                drawn = self.draw(properties, Orbit(*parts))
                disagreement(drawn, images, mask, losses).sum().backward()
                optimizer.step()
        return Orbit(*parts).detach()

    def extra_metadata(self) -> Mapping[str, Any]:
        """See `Method.extra_metadata`."""
        return {
            "teacher": self.config.teacher,
            "teacher_sha256": teacher_hash(self.config.teacher),
            "views": len(self.views),
            "azimuths_from": self.views.annotated,
            "masks": self.pictures.masks_name,
            "masks_of_given_pictures": self.pictures.masks.name,
            "perceptual": self.config.perceptual if self.perceptual is not None else "none",
            "view_code": self.stylegan.view_size,
            "content_code": self.stylegan.content_size,
            "parameters": {
                name: sum(p.numel() for p in module.parameters())
                for name, module in self.named_children()
                if any(True for _ in module.parameters()) and name != "background_judge"
            },
        }
