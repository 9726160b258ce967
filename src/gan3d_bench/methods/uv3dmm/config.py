"""Configuration of the 3DMM UV-map generator. Imports no torch."""

from dataclasses import dataclass, field

from gan3d_bench.adversarial.config import AdversarialConfig
from gan3d_bench.config import (
    BYTE,
    FLOAT,
    MOST_BATCH,
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

LANDMARKS = ("exact", "landmarks-106", "face-mesh-468")
DISPLACEMENTS = ("vector", "scalar", "none")
W = 512  # numbers of a stylecode, as teachers have them at most
COEFFICIENTS = 257


@dataclass
class PairsConfig:
    """Phase 1: stylecodes, the teacher's pictures of them, and coefficients fitted to these."""

    count: int = key(36_000, "stylecodes", least=16, most=MOST_ITEMS)
    landmarks: str = key(
        "landmarks-106",
        "landmarks of the fit; exact: projected from the true heads, of teachers of heads alone",
        choices=LANDMARKS,
    )
    batch: int = key(32, "pictures fitted at once", above=0, most=MOST_BATCH)
    image_size: int = key(
        128, "side of the pictures whose colours are compared", unit="pixels", least=16, most=1024
    )
    steps: int = steps_key(80, "steps of Adam on landmarks and colours")
    held_out: float = key(
        0.05, "share that F3D is not trained on, for its reported errors", above=0, most=0.5
    )


@dataclass
class CoefficientsConfig:
    """Phase 2: F3D, from stylecodes to coefficients (section 3.2.1)."""

    steps: int = steps_key(49_500, "steps of training; 22 epochs of the published pairs")
    batch: int = key(16, "pairs a step over all processes", above=0, most=MOST_BATCH)
    lr: float = rate_key(1e-5, "Adam's learning rate at the start")
    lr_end: float = rate_key(1e-8, "at the end; it falls exponentially")
    width: float = factor_key(1.0, "factor on the published hidden layers 4608, 3072, 1536")
    standardise: bool = key(
        False, "coefficients and stylecodes in standard deviations from their means; ours"
    )


@dataclass
class YawConfig:
    """Phase 3: the yaw direction of W and F_yaw (section 3.2.2)."""

    samples: int = key(200_000, "stylecodes whose yaw F3D estimates", least=100, most=MOST_ITEMS)
    share: float = key(
        0.02, "of them, with the largest and with the smallest yaw, each", above=0, most=0.5
    )
    cost: float = factor_key(1.0, "C of the linear SVM", above=0)
    steps: int = steps_key(20_000, "steps of training F_yaw; the paper gives none")
    batch: int = key(64, "stylecodes a step over all processes", above=0, most=MOST_BATCH)
    lr: float = rate_key(1e-4, "Adam's learning rate")
    penalty: float = weight_key(1e-3, "weight of the squared step")


@dataclass
class MapsConfig:
    """The UV generator."""

    displacement: str = key(
        "vector",
        "what vertices move by: three numbers a texel, one along the normal, or nothing",
        choices=DISPLACEMENTS,
    )
    largest: float = factor_key(
        0.007,
        "largest displacement along an axis, about a millimetre per 0.0006",
        unit="scene units",
    )
    symmetric_from: str = key(
        "w",
        "stylecode of the maps seen in the symmetric view; w_sym is the paper's text to the letter",
        choices=("w", "w_sym"),
    )
    shared: float = key(
        0.5, "weight in the symmetric view of texels that the original shows", least=0, most=1
    )
    least_yaw: float = key(
        0.0,
        "faces turned by less are seen from this yaw in the second view, on a side drawn by lot; "
        "0: always the symmetric view",
        unit="degrees",
        least=0,
        most=90,
    )
    supersample: int = key(2, "sub-pixels along each axis in training", least=1, most=4)
    channel_base: int = key(
        16384,
        "of teachers that are no StyleGAN2: channels at a resolution are at most "
        "channel_base // resolution, in generator and discriminator",
        above=0,
        most=1048576,
    )
    stylecodes: str = key(
        "pairs", "which are trained on: those of the pairs, or new ones", choices=("pairs", "new")
    )
    keep_pictures: bool = key(
        False,
        "make the teacher's pictures of the pairs once and keep them, for teachers that take "
        "longer than a step; with stylecodes=pairs",
    )
    warmup: int = steps_key(
        0, "steps of reconstruction alone, before the discriminator takes part; ours"
    )
    warmup_lr: float = rate_key(3e-3, "Adam's learning rate in them")
    ema_kimg: float = weight_key(
        0.0,
        "half-life of the averaged weights that scenes use; 0: those in training, as published",
        unit="thousand images",
    )


@dataclass
class LossConfig:
    """Weights of the UV generator's losses (section 3.4)."""

    gan: bool = key(True, "whether a discriminator takes part (Eqs. 6 and 7)")
    reconstruction: float = weight_key(10.0, "weight of Eqs. 3 and 4")
    perceptual: float = weight_key(0.2, "perceptual part of it")
    symmetric: float = weight_key(0.75, "weight of the symmetric view (Eqs. 8 and 9)")
    smooth: float = weight_key(
        0.0, "weight of squared differences of neighbouring displacements; ours"
    )
    fill: float = weight_key(
        0.0, "weight of the same of the diffuse map, where neither view shows it; ours"
    )


@dataclass
class UVAdversarialConfig(AdversarialConfig):
    """Phase 4: the UV generator against the discriminator."""

    steps: int = steps_key(44_775, "steps of training; 15 epochs of the published pairs")
    generator_lr: float = rate_key(1e-3, "Adam's learning rate for the generator")
    discriminator_lr: float = rate_key(1e-3, "the same for the discriminator")
    discriminator_every: int = steps_key(
        5, "time between two updates of the discriminator", unit="steps", above=0
    )


@dataclass
class UV3DMMConfig(RunConfig):
    """Keys of ``fit --method uv3dmm``. Defaults are the paper's."""

    image_size: int = key(
        256, "side of pictures and maps", unit="pixels", least=16, most=1024, power_of_two=True
    )
    teacher: str = teacher_key()
    model: str = key(
        "heads",
        "morphable model: heads, or a file or folder of the Basel Face Model 2009",
        path=True,
        names=lambda: ("heads",),
    )
    truncation: float = key(1.0, "truncation psi of the stylecodes", least=0, most=10)
    batch: int = key(
        12, "stylecodes a step of phase 4 over all processes", above=0, most=MOST_BATCH
    )
    perceptual: str = key(
        "lpips-vgg", "network of the perceptual loss", choices=(*PERCEPTUAL, "none")
    )
    samples: int = key(6, "subjects in previews", above=0, most=1024)
    pairs: PairsConfig = field(default_factory=PairsConfig)
    coefficients: CoefficientsConfig = field(default_factory=CoefficientsConfig)
    yaw: YawConfig = field(default_factory=YawConfig)
    maps: MapsConfig = field(default_factory=MapsConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    adversarial: UVAdversarialConfig = field(default_factory=UVAdversarialConfig)
    inversion: InversionConfig = field(default_factory=InversionConfig)

    def needs(self) -> list[Need]:
        """See `RunConfig.needs`: pairs, samples of the yaw direction, images of a step."""
        pairs, yaw, size = self.pairs, self.yaw, self.image_size
        stored = FLOAT * pairs.count * (W + COEFFICIENTS)
        views = 2 if self.losses.symmetric > 0 else 1
        kept = pixels(views * pairs.count, size, 3, BYTE) if self.maps.keep_pictures else 0.0
        return [
            *super().needs(),
            Need({"pairs.count": pairs.count}, "pairs", stored, stored),
            Need({"pairs.count": pairs.count, "image_size": size}, "pictures kept", kept, kept),
            Need({"yaw.samples": yaw.samples}, "stylecodes", 2.0 * FLOAT * yaw.samples * W),
            Need(
                {"batch": self.batch, "image_size": size},
                "images of a step",
                pixels(2 * self.batch, size, 16 * self.maps.supersample**2),
            ),
        ]

    def validate(self) -> None:
        """See `RunConfig.validate`."""
        super().validate()
        self.adversarial.validate()
        self.inversion.require_w("F3D and the UV generator take one stylecode an image")
        if not self.losses.gan and self.losses.reconstruction == 0:
            raise UserError("losses.gan=false losses.reconstruction=0: expected one of them")
        if self.losses.perceptual and self.perceptual == "none":
            raise UserError(
                f"losses.perceptual={self.losses.perceptual}: expected 0 with perceptual=none"
            )
        if self.maps.keep_pictures and self.maps.stylecodes != "pairs":
            raise UserError(
                "maps.keep_pictures=true: expected maps.stylecodes=pairs with it, got "
                f"maps.stylecodes={self.maps.stylecodes}"
            )
        if self.pairs.landmarks == "exact" and self.model != "heads":
            raise UserError(
                f"pairs.landmarks=exact: expected model=heads with it, got model={self.model}"
            )
