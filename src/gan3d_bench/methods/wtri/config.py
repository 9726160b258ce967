"""Configuration of the W_tri encoder and of ReStyle on EG3D. Imports no torch."""

import dataclasses
from dataclasses import dataclass, field

from gan3d_bench.config import (
    FLOAT,
    LEAST_SIDE,
    MOST_BATCH,
    MOST_ITEMS,
    MOST_SIDE,
    SEEDS,
    Need,
    RunConfig,
    key,
    pixels,
    rate_key,
    steps_key,
    weight_key,
)
from gan3d_bench.datamodules.specs import heads_need, on_bad_key, require_data
from gan3d_bench.errors import UserError
from gan3d_bench.generators.inversion.config import InversionConfig, PivotalConfig
from gan3d_bench.generators.names import teacher_names

WTRI, WPLUS = "wtri", "w+"
IMAGES = "images"
NEEDS = ("image", "angles", "translation")  # of the items of data whose cameras are exact
LEVELS = ("coarse", "middle", "fine")
PERCEPTUAL = ("lpips-alex", "lpips-vgg")
STARTS = ("w_mean", "frontal")
CYCLE_CAMERAS = ("trajectory", "data")
OPTIMIZERS = ("ranger", "adam")


@dataclass
class EncoderConfig:
    """The networks that make codes; the defaults are the released ones."""

    image_size: int = key(
        256,
        "side of the pictures that the encoder and every loss see; larger ones are averaged",
        unit="pixels",
        least=32,
        most=MOST_SIDE,
        power_of_two=True,
    )
    width: int = key(64, "channels of the trunk's first stage", above=0, most=1024)
    depths: list[int] = key([3, 4, 14, 3], "units of its four stages", length=4, least=1, most=100)
    level: str = key(
        "fine", "level of the pyramid that makes the super-resolution's code", choices=LEVELS
    )
    weights: str = key(
        "",
        "model_ir_se50.pth to start the trunks from, of the default sizes; '': untrained",
        path=True,
    )
    zero_output: bool = key(
        False,
        "the last layers start at zero: nothing is added to codes; released: drawn",
    )
    output_rate: float = key(
        1.0, "factor on the learning rate of the last layers; released: 1", above=0, most=1e4
    )


@dataclass
class CameraConfig:
    """The network that tells the camera of a picture that comes without; the first phase."""

    steps: int = steps_key(2000, "steps of training")
    batch: int = key(32, "pictures a step over all processes", above=0, most=MOST_BATCH)
    lr: float = rate_key(1e-3, "Adam's learning rate at the start; it falls along a cosine")
    width: int = key(16, "channels of its trunk's first stage", above=0, most=1024)
    depths: list[int] = key([1, 1, 1, 1], "units of its four stages", length=4, least=1, most=100)


@dataclass
class WarmUpConfig:
    """A warm start on the generator's own pictures, whose codes are known; the paper has none."""

    steps: int = steps_key(0, "steps of training; 0: none")
    batch: int = key(16, "pairs of pictures a step over all processes", above=0, most=MOST_BATCH)
    lr: float = rate_key(3e-3, "Adam's learning rate at the start; it falls along a cosine")
    cameras: int = key(512, "cameras of the data that pictures are made by", above=0, most=65536)
    group: int = key(8, "subjects that each of these sees", above=0, most=1024)


@dataclass
class DataConfig:
    """Pictures with exact cameras."""

    name: str = key(
        "heads", "a data module that gives views, or images: a folder with EG3D's dataset.json"
    )
    path: str = key("", "where its data lies, if it needs a path", path=True)
    train: int = key(8192, "pictures of the train split", above=0, most=MOST_ITEMS)
    val: int = key(64, "pictures of the val split, for the scalars", above=0, most=MOST_ITEMS)
    mirror: float = key(
        0.5, "share of the pictures that is mirrored, with the mirrored camera", least=0, most=1
    )
    on_bad: str = on_bad_key()
    seed: int = key(0, "seed of the data set, not of the run", least=0, below=SEEDS)


@dataclass
class OffsetsConfig:
    """What is added to the planes of the last codes, as in TriPlaneNet; the paper has nothing."""

    width: int = key(
        0,
        "channels of the first stage of the network that makes it; 0: nothing is added",
        least=0,
        most=512,
        multiple_of=4,
    )


@dataclass
class LossConfig:
    """Weights of Eqs. 1 and 4; the paper gives none. The last two go beyond it."""

    l2: float = weight_key(1.0, "weight of the mean squared error")
    lpips: float = weight_key(0.8, "weight of LPIPS")
    id: float = weight_key(0.1, "weight of the identity loss")
    similarity: float = weight_key(
        0.0, "weight of the similarity loss of e4e; needs similarity.weights"
    )
    w_norm: float = weight_key(0.005, "weight of the codes' distance from the average (Eq. 2)")
    cycle: float = weight_key(0.1, "weight of the pose cycle (Eq. 3)")
    mirror: float = weight_key(
        0.0, "weight of Eq. 1 between what the mirrored camera sees and the mirrored picture"
    )
    views_id: float = weight_key(
        0.0, "weight of the identity loss of what another camera sees (cycle.cameras, cycle.count)"
    )


@dataclass
class SimilarityConfig:
    """The self-supervised network of the similarity loss, which no package carries."""

    weights: str = key(
        "", "moco_v2_800ep_pretrain.pth.tar of MoCo v2, to be got from its authors", path=True
    )


@dataclass
class CycleConfig:
    """The pose cycle (Eq. 3)."""

    cameras: str = key(
        "trajectory",
        "where its cameras come from: the video trajectory of EG3D, or pictures of the data",
        choices=CYCLE_CAMERAS,
    )
    count: int = key(120, "cameras, of which each step takes one", above=0, most=100_000)
    refinements: int = key(1, "steps that find the code again", above=0, most=100)
    every_refinement: bool = key(
        False, "whether all refinements of a step have the term; otherwise the last one"
    )


@dataclass
class EG3DPivotalConfig(PivotalConfig):
    """Pivotal tuning of EG3D: as many steps as the paper's, none left out since they are timed."""

    steps: int = 350


@dataclass
class EG3DInversionConfig(InversionConfig):
    """Inversion of EG3D without an encoder: the released PTI's rate and noise, in W+."""

    steps: int = 500
    lr: float = 0.01
    noise: float = 0.05
    pixel: float = 0.1
    prior: float = 0.0
    space: str = "w+"
    perceptual: str = "lpips-alex"
    pivotal: PivotalConfig = field(default_factory=EG3DPivotalConfig)


@dataclass
class WTriConfig(RunConfig):
    """Keys of ``fit --method wtri``. Defaults are the paper's, or ReStyle's where it says none."""

    image_size: int = key(
        512,
        "side of the pictures, the generator's",
        unit="pixels",
        least=LEAST_SIDE,
        most=MOST_SIDE,
        power_of_two=True,
    )
    teacher: str = key(
        "",
        "the EG3D generator: a name, a folder that `gan3d-bench import` or an eg3d run made, or a "
        "file",
        required="an EG3D generator: eg3d-heads-64, a folder with generator.safetensors, or an "
        "official .pkl",
        path=True,
        names=teacher_names,
    )
    codes: str = key(
        WTRI, "what is found: codes of W_tri, or of W+ (ReStyle on EG3D)", choices=(WTRI, WPLUS)
    )
    start: str = key(
        "w_mean",
        "codes that refinement starts from: the generator's mean, or its mean for the frontal "
        "camera",
        choices=STARTS,
    )
    refinements: int = key(5, "times that codes are refined", above=0, most=100)
    volume_size: int = key(
        0,
        "side of the volume's picture in training; 0: the generator's own",
        unit="pixels",
        least=8,
        also=(0,),
        most=MOST_SIDE,
    )
    jitter: bool = key(True, "whether samples along rays are jittered in training")
    steps: int = steps_key(500_000, "steps of training", above=0)
    batch: int = key(8, "pictures a step over all processes", above=0, most=MOST_BATCH)
    optimizer: str = key("ranger", "what trains the encoder; ReStyle has both", choices=OPTIMIZERS)
    lr: float = rate_key(1e-4, "its learning rate")
    perceptual: str = key("lpips-alex", "network of LPIPS", choices=PERCEPTUAL)
    identity: str = key(
        "arcface-mbf",
        "network of the identity loss: a name, or the path of one",
        path=True,
        names=lambda: ("arcface-mbf", "idnet-heads-64"),
    )
    samples: int = key(4, "subjects in previews", above=0, most=1024)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    camera: CameraConfig = field(default_factory=CameraConfig)
    warmup: WarmUpConfig = field(default_factory=WarmUpConfig)
    data: DataConfig = field(default_factory=DataConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    similarity: SimilarityConfig = field(default_factory=SimilarityConfig)
    cycle: CycleConfig = field(default_factory=CycleConfig)
    offsets: OffsetsConfig = field(default_factory=OffsetsConfig)
    inversion: EG3DInversionConfig = field(default_factory=EG3DInversionConfig)

    def needs(self) -> list[Need]:
        """See `RunConfig.needs`: weights and Ranger's state, a batch's first activations, heads."""
        data, encoder, camera = self.data, self.encoder, self.camera
        first = pixels(self.batch, encoder.image_size, 2 * encoder.width + 12)
        units = sum(
            count * (2 * 9) * (encoder.width * 2**stage) ** 2
            for stage, count in enumerate(encoder.depths)
        )
        sizes = {"encoder.width": encoder.width, "encoder.depths": encoder.depths}
        looked = pixels(camera.batch, encoder.image_size, camera.width + 3)
        found = [
            *super().needs(),
            Need(sizes, "weights and their moments", 4.0 * FLOAT * units),
            Need(
                {"batch": self.batch, "encoder.image_size": encoder.image_size, **sizes},
                "pictures of a step",
                first + pixels(self.batch, self.image_size, 3),
            ),
            Need(
                {"camera.batch": camera.batch, "camera.width": camera.width},
                "pictures of a step of the camera's network",
                looked,
            ),
        ]
        warm = self.warmup
        if warm.steps:
            found.append(
                Need(
                    {"warmup.cameras": warm.cameras, "warmup.group": warm.group},
                    "pictures of the warm-up",
                    pixels(warm.cameras * (2 * warm.group + 1), encoder.image_size, 3),
                )
            )
        if data.name == "heads":
            counts = {"data.train": data.train, "data.val": data.val}
            found.append(heads_need(counts, data.train + data.val, self.image_size))
        return found

    def validate(self) -> None:
        """See `RunConfig.validate`."""
        super().validate()
        require_data(
            "data.name", self.data.name, NEEDS, path=("data.path", self.data.path), own=(IMAGES,)
        )
        if self.data.name == IMAGES and not self.data.path:
            raise UserError(
                "data.path='': data.name=images needs a folder of pictures with EG3D's dataset.json"
            )
        if self.inversion.noise_maps:
            raise UserError("inversion.noise_maps=true: expected false, as EG3D's noise is fixed")
        if self.encoder.image_size > self.image_size:
            raise UserError(
                f"encoder.image_size={self.encoder.image_size}: expected at most "
                f"image_size={self.image_size}"
            )
        if self.losses.similarity and not self.similarity.weights:
            raise UserError(
                f"losses.similarity={self.losses.similarity}: expected similarity.weights=FILE "
                "with it, moco_v2_800ep_pretrain.pth.tar of facebookresearch/moco"
            )
        own = (self.encoder.width, self.encoder.depths)
        if self.encoder.weights and own != (64, [3, 4, 14, 3]):
            raise UserError(
                f"encoder.weights={self.encoder.weights}: expected encoder.width=64 and "
                f"encoder.depths=[3,4,14,3] with it, got {own[0]} and {own[1]}"
            )
        weights = dataclasses.asdict(self.losses)
        if not any(weights[name] for name in ("l2", "lpips", "id", "similarity")):
            raise UserError(f"losses={weights}: expected one of l2, lpips, id, similarity above 0")
