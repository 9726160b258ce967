"""The run's keys. No torch, and no ``from __future__ import annotations``, in a config module."""

from dataclasses import dataclass, field

from gan3d_bench.config import RunConfig, key


@dataclass
class LossWeights:
    """Weights of the losses."""

    colour: float = 1.0  # a plain field is a key without a range and without help
    # its own range is wider than the one that plain fields get
    depth: float = key(1.0, "of the depth's error", least=0, most=1e40)


@dataclass
class ToyConfig(RunConfig):
    """Keys of ``fit --method toy``."""

    image_size: int = key(16, "side of the images", unit="pixels", above=0)
    batch_size: int = key(8, "images a step, over all processes", above=0)
    colour_steps: int = key(30, "steps of the first phase", least=0)
    depth_steps: int = key(20, "steps of the second phase", least=0)
    learning_rate: float = key(1e-2, "of both optimisers, Adam", above=0)
    losses: LossWeights = field(default_factory=LossWeights)
