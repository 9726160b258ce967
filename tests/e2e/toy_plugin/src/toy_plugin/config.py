"""The run's keys. No torch, and no ``from __future__ import annotations``, in a config module."""

from dataclasses import dataclass, field

from gan3d_bench.config import RunConfig, require_positive


@dataclass
class LossWeights:
    colour: float = 1.0
    depth: float = 1.0


@dataclass
class ToyConfig(RunConfig):
    image_size: int = 16
    batch_size: int = 8  # images a step, over all processes
    colour_steps: int = 30
    depth_steps: int = 20
    learning_rate: float = 1e-2
    losses: LossWeights = field(default_factory=LossWeights)

    def validate(self) -> None:
        super().validate()
        for key in ("image_size", "batch_size", "learning_rate"):
            require_positive(key, getattr(self, key))
