"""Methods that lift a frozen 2D generator, and pictures by way of its stylecodes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.generators.base import Generator, Teacher
from gan3d_bench.generators.inversion.invert import invert
from gan3d_bench.generators.inversion.known_codes import stylecodes
from gan3d_bench.generators.names import teacher_hash
from gan3d_bench.generators.teachers import load_teacher
from gan3d_bench.methods.base import require_images
from gan3d_bench.methods.phases import PhasedMethod


class LiftingMethod(PhasedMethod):
    """Base of methods whose scenes are of a teacher's stylecodes.

    The config has the keys ``teacher`` (`generators.names.teacher_key`), ``image_size`` and
    ``inversion`` (`InversionConfig`, of W).

    Attributes:
        teacher: the generator, frozen, and its discriminator if that was released.

    Raises:
        UserError: the teacher is missing or damaged, or its images have another size.
    """

    config: Any

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.teacher: Teacher = load_teacher(config.teacher, config.image_size)
        generator = self.teacher.generator
        if generator.image_size != config.image_size:
            raise UserError(
                f"image_size={config.image_size}: expected {generator.image_size}, the size of the "
                f"images of teacher={config.teacher}"
            )
        self.frozen["generator"] = generator

    @property
    def generator(self) -> Generator:
        """The frozen teacher."""
        return self.frozen["generator"]  # type: ignore[return-value]

    def embed(self, images: Tensor) -> Tensor:
        """Stylecodes (B, w_dim) whose pictures by the teacher look like `images` (B, 3, R, S).

        R is S, but for a teacher whose pictures have fewer rows.

        They are kept in the cache folder.

        Raises:
            UserError: images of another size than the run's.
        """
        require_images(images, self.config.image_size, self.generator.image_rows)
        images, config = images.to(self.device), self.config

        def find() -> Tensor:
            with torch.enable_grad():
                return invert(self.teacher, images, config.inversion, self.rng("invert", 0)).w

        pinned = teacher_hash(config.teacher)
        if pinned is None:  # a random one
            return find()
        return stylecodes(images, f"{config.teacher} {pinned}", config.inversion, config.seed, find)
