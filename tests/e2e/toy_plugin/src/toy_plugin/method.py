"""Two phases: colour from an image, then depth from colour while colour goes on at half pace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from gan3d_bench.methods.phases import Phase, PhasedMethod, Trainable
from gan3d_bench.scenes.preview import Preview
from toy_plugin.config import ToyConfig
from toy_plugin.data import discs
from toy_plugin.scene import DiscScene


class Toy(PhasedMethod):
    """Lifts an image of a disc to its colour and depth."""

    config: ToyConfig

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.image_size = config.image_size
        self.encoder = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 3))
        self.depth = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
        self.register_buffer("ended", torch.zeros(2))  # phases that have begun, and ended

    def phases(self) -> Sequence[Phase]:
        adam = partial(torch.optim.Adam, lr=self.config.learning_rate)
        return [
            Phase(
                "colour",
                self.config.colour_steps,
                {"encoder": Trainable(("encoder",), adam)},
                self.colour_step,
                begin=partial(self._count, 0),
                end=partial(self._count, 1),
            ),
            Phase(
                "depth",
                self.config.depth_steps,
                {
                    "depth": Trainable(("depth",), adam, schedule=lambda step: 0.95**step),
                    "encoder": Trainable(("encoder",), adam),
                },
                self.depth_step,
                begin=partial(self._count, 0),
                end=partial(self._count, 1),
            ),
        ]

    def colour_step(self, _: Any) -> Mapping[str, Tensor]:
        images, _depth = self._batch()
        return self._improve_colour(images)

    def depth_step(self, _: Any) -> Mapping[str, Tensor]:
        images, depth = self._batch()
        with torch.no_grad():
            colour = self.encoder(images)
        loss = mse_loss(1 + self.depth(colour)[:, 0], depth) * self.config.losses.depth
        scalars = self.descend({"depth": loss}, "depth")
        return scalars if self.phase_step % 2 else scalars | self._improve_colour(images)

    def _improve_colour(self, images: Tensor) -> dict[str, Tensor]:
        loss = mse_loss(self.encoder(images), images.amax((2, 3))) * self.config.losses.colour
        return self.descend({"colour": loss}, "encoder")

    def reconstruct(self, images: Tensor) -> DiscScene:
        colour = self.encoder(images)
        return DiscScene(colour.clamp(-1, 1), 1 + self.depth(colour)[:, 0], images.shape[-1])

    def sample(self, n: int, generator: torch.Generator) -> DiscScene:
        brightness = torch.rand(n, generator=generator)
        return self.reconstruct(discs(brightness, self.image_size)[0].to(self.device))

    def preview(self) -> Preview:
        images, _ = discs(torch.linspace(0, 1, 4), self.image_size)
        images = images.to(self.device)
        return Preview({"input": images}, self.reconstruct(images))

    def _batch(self) -> tuple[Tensor, Tensor]:
        """This process's part of the step's images and depths."""
        brightness = torch.rand(self.config.batch_size, generator=self.rng("data"))
        images, depth = self.share(discs(brightness, self.image_size))
        self.gradient_weight = len(images) / len(brightness)
        return images.to(self.device), depth.to(self.device)

    def _count(self, which: int) -> None:
        self.ended[which] += 1
