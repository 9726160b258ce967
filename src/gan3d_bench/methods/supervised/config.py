"""Configuration of the supervised depth network. Imports no torch."""

import dataclasses
from dataclasses import dataclass, field

from gan3d_bench.config import (
    LEAST_SIDE,
    MOST_BATCH,
    MOST_CHANNELS,
    MOST_ITEMS,
    MOST_SIDE,
    SEEDS,
    Need,
    RunConfig,
    factor_key,
    key,
    pixels,
    rate_key,
    steps_key,
    weight_key,
)
from gan3d_bench.datamodules.specs import heads_need, on_bad_key, require_data
from gan3d_bench.errors import UserError

NEEDS = ("image", "depth")  # of each item of the data


@dataclass
class DataConfig:
    """Images with depth to learn from; synthetic heads are rendered once and cached."""

    name: str = key("heads", "a data module that gives depth")
    path: str = key("", "where its data lies, if it needs a path", path=True)
    train: int = key(4096, "images of the train split", above=0, most=MOST_ITEMS)
    val: int = key(
        32, "images of the val split, for the scalars at the end", above=0, most=MOST_ITEMS
    )
    on_bad: str = on_bad_key()
    seed: int = key(0, "seed of the data set, not of the run", least=0, below=SEEDS)


@dataclass
class LossConfig:
    """Weights of the loss terms; depths are first divided by half the depth range."""

    absolute: float = weight_key(1.0, "mean absolute depth error over the whole image")
    scale_invariant: float = weight_key(1.0, "deviation of the log-depth error over the subject")
    gradient: float = weight_key(
        1.0, "mean absolute difference of log-depth slopes over the subject"
    )


@dataclass
class SupervisedConfig(RunConfig):
    """Keys of ``fit --method supervised``."""

    image_size: int = key(
        64, "side of the images", unit="pixels", least=LEAST_SIDE, most=MOST_SIDE, power_of_two=True
    )
    channels: int = key(
        32,
        "channels at half the image size; doubled at each level, up to 256",
        above=0,
        multiple_of=8,
        most=MOST_CHANNELS,
    )
    steps: int = steps_key(1500, "steps of training", above=0)
    batch: int = key(16, "images a step over all processes", above=0, most=MOST_BATCH)
    lr: float = rate_key(1e-3, "Adam's learning rate")
    lr_end: float = factor_key(0.02, "factor on lr at the end of the cosine")
    data: DataConfig = field(default_factory=DataConfig)
    losses: LossConfig = field(default_factory=LossConfig)

    def needs(self) -> list[Need]:
        """See `RunConfig.needs`: heads, and a batch's images and first activations."""
        data, size = self.data, self.image_size
        memory = pixels(self.batch, size, 4) + pixels(self.batch, size // 2, self.channels)
        keys = {"batch": self.batch, "image_size": size, "channels": self.channels}
        found = [*super().needs(), Need(keys, "images of a step", memory)]
        if data.name == "heads":
            counts = {"data.train": data.train, "data.val": data.val}
            found.append(heads_need(counts, data.train + data.val, size))
        return found

    def validate(self) -> None:
        super().validate()
        require_data("data.name", self.data.name, NEEDS, path=("data.path", self.data.path))
        weights = dataclasses.asdict(self.losses)
        if not any(weights.values()):
            raise UserError(f"losses={weights}: expected one above 0")
