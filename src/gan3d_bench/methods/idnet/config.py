"""Configuration of the identity network. Imports no torch."""

from dataclasses import dataclass, field, replace

from gan3d_bench.config import (
    BYTE,
    LEAST_SIDE,
    MOST_BATCH,
    MOST_CHANNELS,
    MOST_SIDE,
    SEEDS,
    Need,
    RunConfig,
    factor_key,
    key,
    pixels,
    rate_key,
    require,
    steps_key,
)
from gan3d_bench.datamodules.specs import heads_need, on_bad_key, require_data
from gan3d_bench.errors import UserError

HEADS, FOLDER = "heads", "images"  # as `data`: people of the head model, people of a folder
OPTIMIZERS = ("adamw", "sgd")
MARGINS = {"cosface": 0.35, "arcface": 0.5}  # of the papers: of the cosine, and in radians


@dataclass
class PeopleConfig:
    """Whose pictures; people of train and val are different ones."""

    # one class has nothing to be told from, one picture nothing to be normalised with
    train: int = key(
        512, "people to learn; of a folder the first ones by name", least=2, most=1000000
    )
    val: int = key(64, "people held out; of a folder the next ones", least=2, most=1000000)
    pictures: int = key(
        32,
        "pictures of each of train; of a folder at most; 0: all there are",
        least=0,
        most=1000000,
    )
    val_pictures: int = key(
        8, "pictures of each of val; of a folder at most", least=2, most=1000000
    )
    seed: int = key(0, "seed of the heads, not of the run", least=0, below=SEEDS - 1)


@dataclass
class LossConfig:
    """Softmax over people with a margin."""

    kind: str = key("cosface", "which paper's loss", choices=MARGINS)
    # The papers' margin, and their scale of 64, need many more steps (README).
    margin: float = key(
        0.1,
        "margin of the cosine (cosface) or in radians (arcface); 0: the papers' 0.35 or 0.5",
        least=0,
        most=10,
    )
    scale: float = factor_key(16.0, "factor on the logits", above=0)


@dataclass
class IdentityConfig(RunConfig):
    """Keys of ``fit --method idnet``."""

    data: str = key(
        "heads",
        "heads: people of the head model; images: a folder with one of each person; or a data "
        "module that gives people",
    )
    images: str = key(
        "", "path of that folder (or a zip file), or of the data module's data", path=True
    )
    on_bad: str = on_bad_key()
    image_size: int = key(
        64, "side of the images", unit="pixels", least=LEAST_SIDE, most=MOST_SIDE, power_of_two=True
    )
    width: int = key(
        12,
        "channels of the first stage; doubled at each of the other three",
        above=0,
        most=MOST_CHANNELS,
    )
    dimensions: int = key(96, "length of the embedding", above=0, most=MOST_CHANNELS)
    dropout: float = key(0.0, "share dropped before the last layer", least=0, below=1)
    mirror: float = key(0.5, "share of the pictures that is mirrored", least=0, most=1)
    soften: float = key(0.25, "share that is shrunk to half and enlarged again", least=0, most=1)
    steps: int = steps_key(800, "steps of training", above=0)
    batch: int = key(128, "pictures a step over all processes", least=2, most=MOST_BATCH)
    optimizer: str = key("adamw", "adamw, or sgd with momentum 0.9", choices=OPTIMIZERS)
    lr: float = rate_key(0.01, "its learning rate")
    lr_end: float = factor_key(0.01, "factor on lr at the end of the cosine")
    warmup: int = steps_key(20, "steps in which lr rises to its value")
    weight_decay: float = factor_key(5e-4, "its weight decay")
    people: PeopleConfig = field(default_factory=PeopleConfig)
    losses: LossConfig = field(default_factory=LossConfig)

    def needs(self) -> list[Need]:
        """See `RunConfig.needs`: heads, and a batch's images and first activations."""
        people, size = self.people, self.image_size
        memory = pixels(self.batch, size, 3 + self.width)
        keys = {"batch": self.batch, "image_size": size, "width": self.width}
        found = [*super().needs(), Need(keys, "pictures of a step", memory)]
        if self.data == HEADS:
            count = people.train * people.pictures + people.val * people.val_pictures
            keys = {"people.train": people.train, "people.pictures": people.pictures}
            rendered = heads_need(keys, count, size)
            found.append(replace(rendered, disk=pixels(count, size, 3, BYTE)))
        return found

    def validate(self) -> None:
        super().validate()
        own, path = (HEADS, FOLDER), ("images", self.images)
        require_data("data", self.data, ("image", "person"), path=path, own=own)
        if self.data == FOLDER and not self.images:
            raise UserError("images='': data=images needs the path of a folder of people")
        if self.data == HEADS:
            require("people.pictures", self.people.pictures, least=1)
