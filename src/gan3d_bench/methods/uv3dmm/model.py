"""State of a run: teacher, morphable model, the networks of all phases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gan3d_bench.adversarial.ema import ExponentialMovingAverage
from gan3d_bench.adversarial.step import AdversarialStep
from gan3d_bench.faces.face_model import FaceModel
from gan3d_bench.generators.names import teacher_hash
from gan3d_bench.generators.stylegan2 import Discriminator, DiscriminatorConfig
from gan3d_bench.generators.stylegan2.generator import channel_table
from gan3d_bench.geometry.basel import open_model
from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.geometry.uv_atlas import UVAtlas
from gan3d_bench.losses.perceptual import PerceptualLoss, build_perceptual
from gan3d_bench.methods.lifting import LiftingMethod
from gan3d_bench.methods.uv3dmm.coefficients import REST, Coefficients
from gan3d_bench.methods.uv3dmm.config import UV3DMMConfig
from gan3d_bench.methods.uv3dmm.networks import StyleToCoefficients, hidden_layers
from gan3d_bench.methods.uv3dmm.rotation import StyleRotation
from gan3d_bench.methods.uv3dmm.textured_face import FaceRenderer
from gan3d_bench.methods.uv3dmm.uv_generator import UVGenerator
from gan3d_bench.rendering.cameras import PinholeCamera

FIELD_OF_VIEW = 10.0


@dataclass(frozen=True)
class FaceSpace:
    """A morphable model as this method uses it.

    Attributes:
        model: as it was loaded.
        faces: its vertices in camera axes and scene units, whole.
        atlas: where they lie in UV maps.
    """

    model: MorphableModel
    faces: FaceModel
    atlas: UVAtlas

    @classmethod
    def load(cls, name: str) -> FaceSpace:
        """``heads``, or the Basel Face Model at a path.

        Raises:
            UserError: missing or incomplete files, by name.
        """
        model = open_model(name)
        return cls(model, FaceModel.of(model), UVAtlas.of(model))

    @property
    def num_expression(self) -> int:
        """Expression coefficients, the last ones of the shape's."""
        return self.faces.num_shape - self.model.num_identity

    def to(self, device: torch.device | str) -> FaceSpace:
        """The same model on another device."""
        return FaceSpace(self.model, self.faces.to(device), self.atlas.to(device))


class UV3DMMModel(LiftingMethod):
    """Networks, teacher and morphable model.

    Attributes:
        style_to_coefficients: F3D.
        rotation: the yaw direction and F_yaw.
        uv_generator: the network in training.
        average: running average of its weights; None without ``maps.ema_kimg``.
        discriminator: None without ``losses.gan``.

    Raises:
        UserError: teacher, morphable model or perceptual network missing, or they do not fit.
    """

    config: UV3DMMConfig

    def __init__(self, config: UV3DMMConfig) -> None:
        super().__init__(config)
        generator = self.generator
        self.perceptual = self._build_perceptual()
        self._space = FaceSpace.load(config.model)
        w_dim, shape = generator.w_dim, self._space.faces.num_shape
        hidden = hidden_layers(config.coefficients.width)
        self.style_to_coefficients = StyleToCoefficients(w_dim, shape, REST, hidden)
        self.rotation = StyleRotation(w_dim)
        maps = config.maps
        self.uv_generator = UVGenerator.of_teacher(
            generator, maps.displacement, maps.largest, maps.channel_base
        )
        self.average = (
            ExponentialMovingAverage(self.uv_generator, config.batch, maps.ema_kimg)
            if maps.ema_kimg
            else None
        )
        self.discriminator = self._build_discriminator() if config.losses.gan else None
        self.adversarial = AdversarialStep(config.adversarial, config.batch)

    def _build_perceptual(self) -> PerceptualLoss | None:
        name, discriminator = self.config.perceptual, self.teacher.discriminator
        if name == "none" or not self.config.losses.perceptual:
            return None
        if discriminator is not None:
            self.frozen["teacher_discriminator"] = discriminator
        loss = build_perceptual(name, discriminator, self.config.image_size)  # type: ignore[arg-type]
        if isinstance(loss, nn.Module):
            self.frozen["perceptual"] = loss
        return loss

    def _build_discriminator(self) -> nn.Module:
        """A copy of the teacher's; a new one where none was released."""
        size, released = self.config.image_size, self.teacher.discriminator
        if isinstance(released, Discriminator):
            made = Discriminator(released.config)
            made.load_state_dict(released.state_dict())
            return made
        return Discriminator(
            DiscriminatorConfig(
                image_size=size, channels=channel_table(size, self.config.maps.channel_base)
            )
        )

    # -- what the networks say ------------------------------------------------------------------

    @property
    def space(self) -> FaceSpace:
        """The morphable model, on this method's device."""
        if self._space.faces.mean.device != self.device:
            self._space = self._space.to(self.device)
        return self._space

    @property
    def maps_of(self) -> UVGenerator:
        """The UV generator that scenes use."""
        if self.average is None:
            return self.uv_generator
        network = self.average.module
        assert isinstance(network, UVGenerator)
        return network

    @property
    def renderer(self) -> FaceRenderer:
        """Draws faces as training sees them."""
        space, supersample = self.space, self.config.maps.supersample
        camera = PinholeCamera(self.config.image_size, FIELD_OF_VIEW)
        return FaceRenderer(space.faces, space.atlas, camera, supersample)

    def coefficients(self, w: Tensor) -> Coefficients:
        """F3D's of stylecodes (B, w_dim)."""
        return Coefficients.unpack(self.style_to_coefficients(w))

    def yaw(self, w: Tensor) -> Tensor:
        """Yaw (B,) in radians of the pictures of stylecodes (B, w_dim), by F3D."""
        return self.coefficients(w).yaw

    def styles(self, z: Tensor) -> Tensor:
        """Stylecodes (N, w_dim) of latents (N, z_dim), truncated as in training."""
        z = z.to(self.device)
        w = torch.cat([self.generator.mapping(part) for part in z.split(4096)])
        return self.generator.truncate(w, self.config.truncation)

    def extra_metadata(self) -> Mapping[str, Any]:
        """See `Method.extra_metadata`."""
        fresh = "" if isinstance(self.teacher.discriminator, Discriminator) else ", from scratch"
        return {
            "teacher": self.config.teacher,
            "teacher_sha256": teacher_hash(self.config.teacher),
            "morphable_model": self._space.faces.name,
            "landmarks": self.config.pairs.landmarks,
            "discriminator": "none" if self.discriminator is None else f"StyleGAN2's{fresh}",
            "perceptual": self.config.perceptual,
            "parameters": {
                name: sum(p.numel() for p in module.parameters())
                for name, module in self.named_children()
                if any(True for _ in module.parameters()) and name != "average"
            },
        }
