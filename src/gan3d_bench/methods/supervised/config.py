"""Configuration of the supervised depth network. Imports no torch."""

import dataclasses
from dataclasses import dataclass, field

from gan3d_bench.config import RunConfig, require_least, require_positive, require_side
from gan3d_bench.datamodules.specs import require_data
from gan3d_bench.errors import UserError

NEEDS = ("image", "depth")  # of each item of the data


@dataclass
class DataConfig:
    """Images with depth to learn from; synthetic heads are rendered once and cached."""

    name: str = "heads"  # a data module that gives depth
    path: str = ""  # where its data lies, if it needs a path
    train: int = 4096  # images of the train split
    val: int = 32  # images of the val split, for the scalars at the end
    seed: int = 0  # of the data set, not of the run


@dataclass
class LossConfig:
    """Weights of the loss terms; depths are first divided by half the depth range."""

    absolute: float = 1.0  # mean absolute depth error over the whole image
    scale_invariant: float = 1.0  # deviation of the log-depth error over the subject
    gradient: float = 1.0  # mean absolute difference of log-depth slopes over the subject


@dataclass
class SupervisedConfig(RunConfig):
    """Keys of ``fit --method supervised``."""

    image_size: int = 64
    channels: int = 32  # at half the image size; doubled at each level, up to 256
    steps: int = 1500
    batch: int = 16  # images a step over all processes
    lr: float = 1e-3
    lr_end: float = 0.02  # factor on lr at the end of the cosine
    data: DataConfig = field(default_factory=DataConfig)
    losses: LossConfig = field(default_factory=LossConfig)

    def validate(self) -> None:
        super().validate()
        for key, value in {
            "channels": self.channels,
            "steps": self.steps,
            "batch": self.batch,
            "lr": self.lr,
            "data.train": self.data.train,
            "data.val": self.data.val,
        }.items():
            require_positive(key, value)
        require_side("image_size", self.image_size)
        require_data("data.name", self.data.name, NEEDS, path=("data.path", self.data.path))
        if self.channels % 8:
            raise UserError(f"channels={self.channels}: expected a multiple of 8")
        require_least("lr_end", self.lr_end, 0)
        require_least("data.seed", self.data.seed, 0)
        weights = dataclasses.asdict(self.losses)
        for key, value in weights.items():
            require_least(f"losses.{key}", value, 0)
        if not any(weights.values()):
            raise UserError(f"losses={weights}: expected one above 0")
