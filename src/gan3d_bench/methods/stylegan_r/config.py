"""Configuration of StyleGAN-R. Imports no torch."""

from dataclasses import dataclass, field

from gan3d_bench.config import (
    BYTE,
    MOST_BATCH,
    MOST_CHANNELS,
    MOST_ITEMS,
    Need,
    RunConfig,
    factor_key,
    key,
    pixels,
    rate_key,
    steps_key,
    weight_key,
)
from gan3d_bench.errors import UserError
from gan3d_bench.generators.inversion.config import PERCEPTUAL, InversionConfig
from gan3d_bench.generators.names import teacher_key

CARS, HEADS, EVEN, BACKGROUND = "cars", "heads-360", "even", "background"
CLASSES = (CARS, HEADS)
"""Objects that teachers of the suite are regressed on, whose latents say what is seen."""
BINS, LATENTS = "bins", "latents"
CATEGORIES = ("car", "bird", "cat", "dog", "horse")
_CLASS = "cars or heads-360 (what the teacher was trained on)"
VIEWS = f"{_CLASS}, even, or the edited file of `gan3d-bench annotate-views`"
MASKS = f"{_CLASS}, background, or a file of Mask R-CNN's weights"


@dataclass
class CandidatesConfig:
    """View codes that are chosen without a file."""

    count: int = key(
        240, "view codes that are looked at, with views=cars or heads-360", least=2, most=MOST_ITEMS
    )
    each: int = key(3, "of them that are taken for each of the 12 azimuths", above=0, most=1000)


@dataclass
class DetectorConfig:
    """Mask R-CNN, with masks=FILE."""

    category: str = key("car", "what it looks for", choices=CATEGORIES)
    score: float = key(0.7, "least score of an object", least=0, most=1)


@dataclass
class DatasetConfig:
    """Phase 1: the teacher's pictures of many objects from all views (section 3.1)."""

    objects: int = key(6000, "content codes", least=4, most=MOST_ITEMS)
    least_area: float = key(
        0.1, "share of the picture that a mask must have at least", least=0, most=1
    )
    batch: int = key(32, "pictures made at once", above=0, most=MOST_BATCH)
    held_out: float = key(
        0.05, "share of the objects that nothing is trained on, for tests", above=0, most=0.5
    )


@dataclass
class NetworkConfig:
    """The inverse graphics network, its sphere and its texture maps."""

    input_size: int = key(
        256, "pictures are read at most at this size", unit="pixels", least=16, most=1024,
        power_of_two=True,
    )  # fmt: skip
    width: int = key(64, "channels of its first convolution", above=0, most=1024)
    hidden: int = key(1024, "numbers of its fully connected layers", above=0, most=MOST_CHANNELS)
    texture_size: int = key(
        256, "width of texture maps, twice their height", unit="texels", least=16, most=2048,
        power_of_two=True,
    )  # fmt: skip
    level: int = key(
        3, "times that the icosahedron is subdivided; 3: 642 vertices", least=0, most=5
    )
    radius: float = key(0.6, "of the sphere, in halves of the picture's width", above=0, most=1)
    symmetric: bool = key(False, "whether shapes are mirror images of themselves; ours")
    symmetric_texture: bool = key(
        False, "whether texture maps are, too; light from one side does not go into such; ours"
    )


@dataclass
class CamerasConfig:
    """The cameras, one for each view code, and those of given pictures."""

    fov: float = key(30.0, "field of view; the paper gives none", unit="degrees", least=1, most=120)
    start: str = key(
        BINS,
        "where they start: the nearest of 12 azimuths; latents: exactly, with views=cars or "
        "heads-360",
        choices=(BINS, LATENTS),
    )
    elevation: float = key(
        0.0, "that all cameras start from, of bins", unit="degrees", least=-89, most=89
    )
    lr_factor: float = factor_key(10.0, "factor on the learning rate of cameras")
    refinement: int = steps_key(
        20, "steps of Adam on the camera of a given picture, after the best of the view codes'"
    )


@dataclass
class LossConfig:
    """Weights of Eq. 1, as published."""

    multi_view: bool = key(
        True, "whether each prediction is compared in a second view, too (Eq. 2)"
    )
    iou: float = weight_key(3.0, "weight of the silhouette's intersection over union")
    colour: float = weight_key(20.0, "weight of L1 of the colours")
    perceptual: float = weight_key(0.5, "weight of the perceptual loss; 0: none")
    laplacian: float = weight_key(5.0, "weight of the Laplacian of the move")
    flat: float = weight_key(5.0, "weight of the angles between neighbouring faces")
    move: float = weight_key(2.5, "weight of the size of the move")


@dataclass
class InverseConfig:
    """Phase 2: the inverse graphics network (section 3.2)."""

    steps: int = steps_key(200_000, "steps of training")
    batch: int = key(16, "objects a step over all processes", least=2, most=MOST_BATCH)
    lr: float = rate_key(1e-4, "Adam's learning rate")
    lr_end: float = factor_key(1.0, "factor on it at the end of the cosine; 1: constant")
    warmup: int = steps_key(3000, "of them at the start without the perceptual loss")


@dataclass
class MappingConfig:
    """Phase 3: the mapping network (section 3.3, Eqs. 3 to 5)."""

    steps: int = steps_key(700, "steps of training")
    batch: int = key(16, "pictures a step over all processes", above=0, most=MOST_BATCH)
    lr: float = rate_key(1e-5, "Adam's learning rate")
    view_dims: int = key(
        144, "numbers of the view code that the camera sets, the most correlated with it",
        above=0, most=MOST_CHANNELS,
    )  # fmt: skip
    hidden: int = key(1024, "numbers of its hidden layers", above=0, most=MOST_CHANNELS)
    width: int = key(64, "channels of its first convolutions", above=0, most=1024)
    entropy: float = weight_key(1.0, "weight of the entropy of s, per number of the code")


@dataclass
class FinetuneConfig:
    """Phase 4: generator and mapping network by cycles (Eq. 6)."""

    steps: int = steps_key(2500, "steps of training; 0: the mapping network alone")
    batch: int = key(16, "pictures a step over all processes", least=2, most=MOST_BATCH)
    lr: float = rate_key(1e-5, "Adam's learning rate")


@dataclass
class StyleGANRConfig(RunConfig):
    """Keys of ``fit --method stylegan-r``. Defaults are the paper's."""

    image_size: int = key(
        512, "side of the teacher's pictures", unit="pixels", least=16, most=1024, power_of_two=True
    )
    image_rows: int = key(
        0,
        "middle rows of the teacher's pictures that are looked at, all others are cut off; 0: all. "
        "The official car model has 384 of 512 with content",
        unit="pixels", least=8, most=1024, multiple_of=8, also=(0,),
    )  # fmt: skip
    teacher: str = teacher_key()
    views: str = key(
        "", "azimuths that view codes start from; even: each 30 degrees on, whatever it shows",
        required=VIEWS, path=True, names=(*CLASSES, EVEN),
    )  # fmt: skip
    masks: str = key(
        "",
        "what finds objects; cars, heads-360: true silhouettes; background: what a smooth one is "
        "not",
        required=MASKS, path=True, names=(*CLASSES, BACKGROUND),
    )  # fmt: skip
    truncation: float = key(1.0, "truncation psi of the stylecodes", least=0, most=10)
    perceptual: str = key("lpips-vgg", "network of the perceptual loss", choices=PERCEPTUAL)
    samples: int = key(6, "subjects in previews", above=0, most=1024)
    candidates: CandidatesConfig = field(default_factory=CandidatesConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    cameras: CamerasConfig = field(default_factory=CamerasConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    inverse: InverseConfig = field(default_factory=InverseConfig)
    mapping: MappingConfig = field(default_factory=MappingConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    inversion: InversionConfig = field(default_factory=InversionConfig)

    @property
    def rows(self) -> int:
        """Rows of the pictures that are looked at; their columns are `image_size`."""
        return self.image_rows or self.image_size

    def needs(self) -> list[Need]:
        """See `RunConfig.needs`: the data set's files, images of a step."""
        size, objects = self.image_size, self.dataset.objects
        share = self.rows / size
        views = 12 * self.candidates.each
        batch = max(2 * self.inverse.batch, self.mapping.batch, 2 * self.finetune.batch)
        return [
            *super().needs(),
            Need(
                {"dataset.objects": objects, "candidates.each": self.candidates.each},
                "pictures and masks",
                disk=share * pixels(objects * views, size, 4, BYTE),
            ),
            Need(
                {"inverse.batch": self.inverse.batch, "image_size": size},
                "images of a step",
                share * pixels(batch, size, 32),
            ),
        ]

    def validate(self) -> None:
        """See `RunConfig.validate`."""
        super().validate()
        self.inversion.require_w("styles are mixed between pictures of one stylecode each")
        if self.image_rows > self.image_size:
            raise UserError(
                f"image_rows={self.image_rows}: expected at most image_size={self.image_size}"
            )
        if not self.losses.iou + self.losses.colour:
            raise UserError("losses.iou=0 losses.colour=0: expected one of them above 0")
        if self.cameras.start == LATENTS and self.views not in CLASSES:
            raise UserError(
                f"cameras.start={LATENTS}: expected views={' or '.join(CLASSES)} with it, got "
                f"views={self.views}"
            )
        if self.inverse.lr_end > 1:
            raise UserError(f"inverse.lr_end={self.inverse.lr_end}: expected at most 1")
