"""Configuration of LiftedGAN. Imports no torch."""

from dataclasses import asdict, dataclass, field

from gan3d_bench.config import (
    RunConfig,
    require_choice,
    require_least,
    require_most,
    require_positive,
)
from gan3d_bench.errors import UserError
from gan3d_bench.generators.inversion.config import InversionConfig
from gan3d_bench.generators.names import expected_teachers

SIZES = (16, 32, 64, 128, 256)
PERCEPTUAL = ("vgg", "discriminator", "none")
RENDERERS = ("exact", "released")


@dataclass
class LossConfig:
    """Weights of the terms (`objective.py`); 0 leaves a term out."""

    reconstruction: float = 5.0
    perceptual: float = 1.0  # inside every image distance
    flip: float = 0.8  # relative to reconstruction
    perturbation: float = 2.0  # of (a) and of (b), Eq. 4
    cycle: float = 4.0
    cycle_light: float = 1.0  # inside the cycle term, relative to view; 1 in the paper
    prior: float = 0.5
    identity: float = 1.0
    albedo: float = 0.01
    smooth: float = 0.0  # second differences of canonical depth; ours, not in the paper
    keep: float = 0.0  # M at a stylecode's own light and view gives it back; ours, not in the paper
    light: float = 0.0  # strength of light away from its middle; ours, not in the paper

    @property
    def perturbs(self) -> bool:
        """Whether any term looks at perturbed stylecodes, besides the identity's."""
        return any((self.perturbation, self.cycle, self.prior))


@dataclass
class PerturbationConfig:
    """Views V' that subjects are turned to, degrees, uniform on either side."""

    pitch: float = 15.0  # the paper says 10
    yaw: float = 45.0


@dataclass
class WidthConfig:
    """Sizes of the networks."""

    depth: int = 16  # channels of D_S at half the image size
    transformation: int = 16  # channels of D_T there
    most: int = 512  # channels of either at most
    hidden: int = 512  # of the MLPs


@dataclass
class PerceptualConfig:
    """The network inside image distances."""

    network: str = "vgg"  # vgg (asset vgg16-lpips), discriminator (the teacher's) or none
    scales: int = 3
    layers: int = 4  # of the discriminator


@dataclass
class GeometryConfig:
    """Canonical depth and the smoothing of the transformation map."""

    near: float = 0.9
    far: float = 1.1
    border: float = 1.05
    blur_radius: int = 10  # pixels; 10 and 5.657 belong to 256 pixels
    blur_sigma: float = 5.657
    clip_contours: bool = True
    blend: bool = True  # false: no transformation map, every pixel moves entirely


@dataclass
class WarmUpConfig:
    """A start of ours, none in the paper: D_S is fitted to an ellipsoid, M to leave w as it is."""

    steps: int = 0
    batch: int = 16  # ellipsoids a step
    styles: int = 16  # stylecodes a step that M is to leave as they are
    lr: float = 1e-3
    near: float = 0.91  # depth of the ellipsoid's summit, scene units
    far: float = 1.03  # of its rim and beyond
    # top, bottom, left, right as fractions of the image
    box: list[float] = field(default_factory=lambda: [0.1, 0.95, 0.15, 0.85])


@dataclass
class LiftedGANConfig(RunConfig):
    """Keys of a LiftedGAN run. Defaults are those of the released ffhq_256."""

    image_size: int = 256
    teacher: str = ""  # see generators/teachers.py
    start: str = ""  # weights to begin with: a folder that `import --as liftedgan` made, or a run
    steps: int = 50_000  # the paper says 30,000
    batch: int = 8
    micro_batch: int = 0  # images at once, by gradient accumulation; 0: all of a process's
    lr: float = 1e-4
    decay: float = 0.0  # share of the steps, at the end, in which lr falls to 0; ours
    lr_depth: float = 1.0  # factor on lr for D_S; below 1 is ours: views first, shape after them
    weight_decay: float = 5e-4
    truncation: float = 0.7
    statistics: int = 50_000  # latents that mean and deviation of w are taken from
    renderer: str = "released"  # see `lifting.Geometry`
    identity: str = "arcface-mbf"  # network of the identity term
    identity_yaw: float = 25.0  # degrees of V' within which identity is compared
    pooling: int = 4  # of the albedo matrix, pixels
    kept: int = 256  # stylecodes a step of losses.keep
    samples: int = 8  # subjects in previews
    warmup: WarmUpConfig = field(default_factory=WarmUpConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    perturbation: PerturbationConfig = field(default_factory=PerturbationConfig)
    width: WidthConfig = field(default_factory=WidthConfig)
    perceptual: PerceptualConfig = field(default_factory=PerceptualConfig)
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    inversion: InversionConfig = field(default_factory=InversionConfig)

    def validate(self) -> None:
        """See `RunConfig.validate`."""
        super().validate()
        if self.image_size not in SIZES:
            sizes = ", ".join(map(str, SIZES))
            raise UserError(f"image_size={self.image_size}: expected one of {sizes}")
        if not self.teacher:
            raise UserError(f"teacher='': expected {expected_teachers()}")
        require_choice("renderer", self.renderer, RENDERERS)
        require_choice("perceptual.network", self.perceptual.network, PERCEPTUAL)
        for key in ("batch", "lr", "pooling", "samples", "identity_yaw", "kept"):
            require_positive(key, getattr(self, key))
        for key in ("steps", "micro_batch", "decay", "lr_depth", "weight_decay", "truncation"):
            require_least(key, getattr(self, key), 0)
        require_most("decay", self.decay, 1)
        require_least("statistics", self.statistics, 2)
        require_most("pooling", self.pooling, self.image_size)
        for key, value in asdict(self.losses).items():
            require_least(f"losses.{key}", value, 0)
        if not self.losses.reconstruction:
            raise UserError("losses.reconstruction=0: expected a number above 0")
        for key, value in asdict(self.perturbation).items():
            require_least(f"perturbation.{key}", value, 0)
            require_most(f"perturbation.{key}", value, 60)
        for key in ("depth", "transformation", "most", "hidden"):
            value = getattr(self.width, key)
            if value < 4 or value % 4:
                raise UserError(f"width.{key}={value}: expected a multiple of 4")
        require_positive("perceptual.scales", self.perceptual.scales)
        require_positive("perceptual.layers", self.perceptual.layers)
        if self.image_size % 2 ** (self.perceptual.scales - 1):
            raise UserError(
                f"perceptual.scales={self.perceptual.scales}: too many halvings of "
                f"image_size={self.image_size}"
            )
        self._validate_geometry()
        self._validate_warmup()
        self.inversion.validate("inversion.")
        if self.inversion.space != "w":
            raise UserError(
                f"inversion.space={self.inversion.space!r}: expected 'w', as D_L, D_V and M take "
                "one stylecode an image"
            )

    def _validate_warmup(self) -> None:
        warmup, geometry = self.warmup, self.geometry
        require_least("warmup.steps", warmup.steps, 0)
        require_positive("warmup.batch", warmup.batch)
        require_positive("warmup.styles", warmup.styles)
        require_positive("warmup.lr", warmup.lr)
        if not geometry.near < warmup.near < warmup.far < geometry.far:
            raise UserError(
                f"warmup.near={warmup.near} warmup.far={warmup.far}: expected geometry.near < "
                "warmup.near < warmup.far < geometry.far"
            )
        box = warmup.box
        if len(box) != 4 or not (box[0] < box[1] and box[2] < box[3]):
            raise UserError(f"warmup.box={box}: expected [top, bottom, left, right]")

    def _validate_geometry(self) -> None:
        geometry = self.geometry
        if not 0 < geometry.near < geometry.far:
            raise UserError(
                f"geometry.near={geometry.near} geometry.far={geometry.far}: expected "
                "0 < near < far"
            )
        require_least("geometry.border", geometry.border, geometry.near)
        require_most("geometry.border", geometry.border, geometry.far)
        require_positive("geometry.blur_sigma", geometry.blur_sigma)
        require_least("geometry.blur_radius", geometry.blur_radius, 0)
        require_most("geometry.blur_radius", geometry.blur_radius, self.image_size // 2 - 1)
