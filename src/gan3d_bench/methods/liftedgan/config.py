"""Configuration of LiftedGAN. Imports no torch."""

from dataclasses import dataclass, field

from gan3d_bench.assets.registry import registry
from gan3d_bench.config import (
    FLOAT,
    MOST_BATCH,
    MOST_CHANNELS,
    MOST_ITEMS,
    Need,
    RunConfig,
    factor_key,
    key,
    pixels,
    rate_key,
    require,
    steps_key,
    weight_key,
)
from gan3d_bench.errors import UserError
from gan3d_bench.generators.inversion.config import InversionConfig
from gan3d_bench.generators.names import teacher_key

PERCEPTUAL = ("vgg", "discriminator", "none")
RENDERERS = ("exact", "released")
W = 512  # numbers of a stylecode, as teachers have them


@dataclass
class LossConfig:
    """Weights of the terms (`objective.py`); 0 leaves a term out."""

    reconstruction: float = weight_key(
        5.0, "R at a stylecode's own light and view against G", above=0
    )
    perceptual: float = weight_key(1.0, "weight of the perceptual part of every image distance")
    flip: float = weight_key(0.8, "mirrored shape and albedo, relative to reconstruction")
    perturbation: float = weight_key(
        2.0, "turned and lit pictures against those of manipulated stylecodes, Eq. 4"
    )
    cycle: float = weight_key(4.0, "light and view read back from a manipulated stylecode, Eq. 5")
    cycle_light: float = weight_key(
        1.0, "light inside the cycle term, relative to view; 1 in the paper"
    )
    prior: float = weight_key(0.5, "manipulated stylecodes against the distribution of w")
    identity: float = weight_key(1.0, "turned picture against the neutral one, Eq. 6")
    albedo: float = weight_key(0.01, "nuclear norm of fine albedo detail, Eq. 7")
    smooth: float = weight_key(0.0, "second differences of canonical depth; ours, not in the paper")
    keep: float = weight_key(
        0.0, "M at a stylecode's own light and view gives it back; ours, not in the paper"
    )
    light: float = weight_key(0.0, "strength of light away from its middle; ours, not in the paper")

    @property
    def perturbs(self) -> bool:
        """Whether any term looks at perturbed stylecodes, besides the identity's."""
        return any((self.perturbation, self.cycle, self.prior))


@dataclass
class PerturbationConfig:
    """Views V' that subjects are turned to, uniform on either side."""

    pitch: float = key(15.0, "largest pitch; the paper says 10", unit="degrees", least=0, most=60)
    yaw: float = key(45.0, "largest yaw", unit="degrees", least=0, most=60)


@dataclass
class WidthConfig:
    """Sizes of the networks."""

    depth: int = key(
        16, "channels of D_S at half the image size", least=4, multiple_of=4, most=MOST_CHANNELS
    )
    transformation: int = key(
        16, "channels of D_T there", least=4, multiple_of=4, most=MOST_CHANNELS
    )
    most: int = key(512, "channels of either at most", least=4, multiple_of=4, most=MOST_CHANNELS)
    hidden: int = key(
        512, "hidden features of the MLPs", least=4, multiple_of=4, most=MOST_CHANNELS
    )


@dataclass
class PerceptualConfig:
    """The network inside image distances."""

    network: str = key(
        "vgg", "vgg (asset vgg16-lpips), the teacher's discriminator, or none", choices=PERCEPTUAL
    )
    scales: int = key(
        3, "sizes at which images are compared, each half the one before", above=0, most=8
    )
    layers: int = key(4, "blocks of the discriminator that are compared", above=0, most=16)


@dataclass
class GeometryConfig:
    """Canonical depth and the smoothing of the transformation map."""

    near: float = key(0.9, "least canonical depth", unit="scene units", above=0, most=10)
    far: float = key(1.1, "largest canonical depth", unit="scene units", above=0, most=10)
    border: float = key(
        1.05, "depth of the outermost columns", unit="scene units", above=0, most=10
    )
    blur_radius: int = key(
        10, "radius of the blur; 10 belongs to 256 pixels", unit="pixels", least=0, most=512
    )
    blur_sigma: float = factor_key(
        5.657, "its standard deviation; 5.657 belongs to 256 pixels", unit="pixels", above=0
    )
    clip_contours: bool = key(True, "no gradient to the depth at the borders of where there is any")
    blend: bool = key(True, "false: no transformation map, every pixel moves entirely")


@dataclass
class WarmUpConfig:
    """A start of ours, none in the paper: D_S is fitted to an ellipsoid, M to leave w as it is."""

    steps: int = steps_key(0, "steps of the warm-up; 0: none")
    batch: int = key(16, "ellipsoids a step", above=0, most=MOST_BATCH)
    styles: int = key(
        16, "stylecodes a step that M is to leave as they are", above=0, most=MOST_BATCH
    )
    lr: float = rate_key(1e-3, "Adam's learning rate")
    near: float = key(0.91, "depth of the ellipsoid's summit", unit="scene units", above=0, most=10)
    far: float = key(1.03, "depth of its rim and beyond", unit="scene units", above=0, most=10)
    box: list[float] = key(
        [0.1, 0.95, 0.15, 0.85],
        "top, bottom, left, right of the ellipsoid as fractions of the image",
        length=4,
        least=-1,
        most=2,
    )


@dataclass
class LiftedGANConfig(RunConfig):
    """Keys of a LiftedGAN run. Defaults are those of the released ffhq_256."""

    image_size: int = key(
        256, "side of the images", unit="pixels", least=16, most=256, power_of_two=True
    )
    teacher: str = teacher_key()
    start: str = key(
        "",
        "weights to begin with: a folder that `import --as liftedgan` made, or a run",
        path=True,
    )
    steps: int = steps_key(50_000, "steps of training; the paper says 30,000")
    batch: int = key(8, "stylecodes a step over all processes", above=0, most=MOST_BATCH)
    micro_batch: int = key(
        0,
        "images at once, by gradient accumulation; 0: all of a process's",
        least=0,
        most=MOST_BATCH,
    )
    lr: float = rate_key(1e-4, "Adam's learning rate")
    decay: float = key(
        0.0, "share of the steps, at the end, in which lr falls to 0; ours", least=0, most=1
    )
    lr_depth: float = factor_key(
        1.0, "factor on lr for D_S; below 1 is ours: views first, shape after them"
    )
    weight_decay: float = factor_key(5e-4, "Adam's weight decay")
    truncation: float = key(0.7, "truncation psi of the samples", least=0, most=10)
    statistics: int = key(
        50_000, "latents that mean and deviation of w are taken from", least=2, most=MOST_ITEMS
    )
    renderer: str = key(
        "released",
        "released: rasterize and shade as the released code; exact: at pixel centres, colours "
        "interpolated in space, normals of length 1",
        choices=RENDERERS,
    )
    identity: str = key(
        "arcface-mbf", "network of the identity term", path=True, names=lambda: registry().assets
    )
    identity_yaw: float = key(
        25.0, "yaw of V' within which identity is compared", unit="degrees", above=0, most=180
    )
    pooling: int = key(4, "mean pooling of the albedo matrix", unit="pixels", above=0, most=256)
    kept: int = key(256, "stylecodes a step of losses.keep", above=0, most=MOST_BATCH)
    samples: int = key(8, "subjects in previews", above=0, most=1024)
    warmup: WarmUpConfig = field(default_factory=WarmUpConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    perturbation: PerturbationConfig = field(default_factory=PerturbationConfig)
    width: WidthConfig = field(default_factory=WidthConfig)
    perceptual: PerceptualConfig = field(default_factory=PerceptualConfig)
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    inversion: InversionConfig = field(default_factory=InversionConfig)

    def needs(self) -> list[Need]:
        """See `RunConfig.needs`: latents of the statistics, and the images of a step."""
        at_once, size = self.micro_batch or self.batch, self.image_size
        return [
            *super().needs(),
            Need({"statistics": self.statistics}, "latents", 2.0 * self.statistics * W * FLOAT),
            Need(
                {"batch": self.batch, "micro_batch": self.micro_batch, "image_size": size},
                "images of a step",
                pixels(at_once, size, 3 + self.width.depth // 4),
            ),
            Need({"samples": self.samples}, "previews", pixels(self.samples, size, 12)),
        ]

    def validate(self) -> None:
        """See `RunConfig.validate`."""
        super().validate()
        require("pooling", self.pooling, most=self.image_size)
        self._validate_perceptual()
        self._validate_geometry()
        self._validate_warmup()
        self.inversion.require_w("D_L, D_V and M take one stylecode an image")

    def _validate_perceptual(self) -> None:
        perceptual, smallest = self.perceptual, self.image_size >> (self.perceptual.scales - 1)
        blocks = self.image_size.bit_length() - 3  # of a discriminator: down to 4x4
        least = {
            "vgg": 2**3,  # relu4_3 lies behind three poolings
            "discriminator": 2 ** min(perceptual.layers, blocks),
        }.get(perceptual.network, 1)
        if smallest < least:
            raise UserError(
                f"perceptual.scales={perceptual.scales}: the smallest of image_size="
                f"{self.image_size} has {smallest} pixels, expected at least {least} for "
                f"perceptual.network={perceptual.network}"
            )

    def _validate_warmup(self) -> None:
        warmup, geometry = self.warmup, self.geometry
        if not geometry.near < warmup.near < warmup.far < geometry.far:
            raise UserError(
                f"warmup.near={warmup.near} warmup.far={warmup.far}: expected geometry.near < "
                "warmup.near < warmup.far < geometry.far"
            )
        top, bottom, left, right = warmup.box
        if not (top < bottom and left < right):
            raise UserError(f"warmup.box={warmup.box}: expected top < bottom, left < right")

    def _validate_geometry(self) -> None:
        geometry = self.geometry
        if not geometry.near < geometry.far:
            raise UserError(
                f"geometry.near={geometry.near} geometry.far={geometry.far}: expected near < far"
            )
        require("geometry.border", geometry.border, least=geometry.near, most=geometry.far)
        require("geometry.blur_radius", geometry.blur_radius, most=self.image_size // 2 - 1)
