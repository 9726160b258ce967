"""Configuration of the identity network. Imports no torch."""

from dataclasses import dataclass, field

from gan3d_bench.config import (
    RunConfig,
    require_choice,
    require_least,
    require_positive,
    require_side,
)
from gan3d_bench.datamodules.specs import require_data
from gan3d_bench.errors import UserError

HEADS, FOLDER = "heads", "images"  # as `data`: people of the head model, people of a folder
OPTIMIZERS = ("adamw", "sgd")
MARGINS = {"cosface": 0.35, "arcface": 0.5}  # of the papers: of the cosine, and in radians


@dataclass
class PeopleConfig:
    """Whose pictures; people of train and val are different ones."""

    train: int = 512  # classes of the loss; of a folder the first ones by name
    val: int = 64  # held out; of a folder the next ones
    pictures: int = 32  # of each of train; of a folder at most; 0: all there are
    val_pictures: int = 8  # of each of val; of a folder at most
    seed: int = 0  # of the heads, not of the run


@dataclass
class LossConfig:
    """Softmax over people with a margin."""

    kind: str = "cosface"  # cosface or arcface
    # of the cosine (cosface) or in radians (arcface); 0: the papers' 0.35 or 0.5. Theirs, and their
    # scale of 64, need many more steps (README)
    margin: float = 0.1
    scale: float = 16.0  # of the logits


@dataclass
class IdentityConfig(RunConfig):
    """Keys of ``fit --method idnet``."""

    # heads, images: a folder with a subfolder for each person, or a data module that gives people
    data: str = "heads"
    images: str = ""  # path of that folder (or of a zip file of one), or of the data module's data
    image_size: int = 64
    width: int = 12  # channels of the first stage; doubled at each of the other three
    dimensions: int = 96  # of the embedding
    dropout: float = 0.0  # before the last layer
    mirror: float = 0.5  # part of the pictures that is mirrored
    soften: float = 0.25  # part that is shrunk to half and enlarged again
    steps: int = 800
    batch: int = 128  # pictures a step over all processes
    optimizer: str = "adamw"  # adamw or sgd (momentum 0.9)
    lr: float = 0.01
    lr_end: float = 0.01  # factor on lr at the end of the cosine
    warmup: int = 20  # steps in which lr rises to its value
    weight_decay: float = 5e-4
    people: PeopleConfig = field(default_factory=PeopleConfig)
    losses: LossConfig = field(default_factory=LossConfig)

    def validate(self) -> None:
        super().validate()
        own, path = (HEADS, FOLDER), ("images", self.images)
        require_data("data", self.data, ("image", "person"), path=path, own=own)
        require_choice("optimizer", self.optimizer, OPTIMIZERS)
        require_choice("losses.kind", self.losses.kind, MARGINS)
        if self.data == FOLDER and not self.images:
            raise UserError("images='': data=images needs the path of a folder of people")
        require_side("image_size", self.image_size)
        for key, value in {
            "width": self.width,
            "dimensions": self.dimensions,
            "steps": self.steps,
            "lr": self.lr,
            "losses.scale": self.losses.scale,
        }.items():
            require_positive(key, value)
        # one class has nothing to be told from, one picture nothing to be normalised with
        for key, value, least in (
            ("batch", self.batch, 2),
            ("people.train", self.people.train, 2),
            ("people.val", self.people.val, 2),
            ("people.val_pictures", self.people.val_pictures, 2),
            ("people.pictures", self.people.pictures, self.data == HEADS),
            ("people.seed", self.people.seed, 0),
            ("lr_end", self.lr_end, 0),
            ("warmup", self.warmup, 0),
            ("weight_decay", self.weight_decay, 0),
            ("losses.margin", self.losses.margin, 0),
        ):
            require_least(key, value, int(least))
        for key, value, limit in (
            ("dropout", self.dropout, 1),
            ("mirror", self.mirror, 1.01),
            ("soften", self.soften, 1.01),
        ):
            if not 0 <= value < limit:
                raise UserError(f"{key}={value}: expected 0 or more, {_below(limit)}")


def _below(limit: float) -> str:
    return "below 1" if limit == 1 else "at most 1"
