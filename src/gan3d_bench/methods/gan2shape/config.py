"""Configuration of GAN2Shape. Imports no torch."""

import os
from dataclasses import dataclass, field, fields
from operator import attrgetter

from gan3d_bench.assets.registry import BundledAsset, registry
from gan3d_bench.config import (
    RunConfig,
    require_choice,
    require_least,
    require_most,
    require_positive,
    require_side,
)
from gan3d_bench.datamodules.specs import require_data
from gan3d_bench.errors import UserError
from gan3d_bench.generators.inversion.config import PERCEPTUAL, ProjectionConfig
from gan3d_bench.generators.names import expected_teachers

SAMPLES = "teacher"  # as `data`: the teacher's own samples
PRIOR_SHAPES = ("ellipsoid", "asymmetric", "shift-6", "shift-4", "weak", "flat")
NETWORKS = ("depth", "albedo", "view", "light", "encoder")
POSE_NETWORKS = ("view", "light", "encoder")
CATEGORIES = ("face", "synface", "cat", "car", "church", "other")
EXACT = "exact"  # masks known with the data
WHEN = ("never", "first", "later", "always")
START = "networks.safetensors"


@dataclass
class PriorConfig:
    """The weak shape prior and the fit of D to it (paper, 3.1 and Table 2)."""

    shape: str = "ellipsoid"  # ellipsoid, asymmetric, shift-6, shift-4, weak or flat (Table 2)
    near: float = 0.91
    far: float = 1.02
    steps: int = 1000  # of the fit; skipped when `start` is given, which 0 demands
    category: str = "other"  # how the mask's extent is adjusted
    # top, bottom, left, right as fractions of the image: the object's extent without masks, beyond
    # 0 and 1 where the image crops the object
    box: list[float] = field(default_factory=lambda: [0.1, 0.95, 0.15, 0.85])


@dataclass
class WarmUpConfig:
    """Steps of the warm-up (`warmup.py`), which is ours; none in the paper."""

    encoder: int = 0  # E, on pairs of samples
    lifted: int = 0  # E, on pseudo samples of lifted samples
    pose: int = 0  # V and L
    pool: int = 0  # samples that steps draw from, each made when first drawn; 0: always new ones
    truncation: float = 1.0  # of the samples


@dataclass
class StepsConfig:
    """Iterations of the three steps of a stage."""

    step1: int = 600
    step2: int = 600
    step3: int = 400


@dataclass
class StageConfig:
    """The first stage is longer than the later ones."""

    first: StepsConfig = field(default_factory=StepsConfig)
    later: StepsConfig = field(default_factory=lambda: StepsConfig(200, 500, 300))


@dataclass
class LearningRateConfig:
    """Adam's learning rates."""

    prior: float = 1e-4
    step1: float = 1e-4
    step2: float = 1e-4
    depth: float = 1e-4  # the next four: of step 3
    albedo: float = 1e-4
    view: float = 1e-4
    light: float = 1e-4
    warmup: float = 5e-4  # of V and L in the warm-up


@dataclass
class SymmetryConfig:
    """In which stages mirrored copies must reconstruct too: never, first, later or always."""

    step1: str = "never"
    step3: str = "first"


@dataclass
class OffsetConfig:
    """How E's code becomes an offset of w (paper 3.2)."""

    regularise: str = "mapping"  # mapping; none: the code itself is the offset (Table 1)
    depth: int = 2  # d of F1: the last d + 1 modules of the mapping network
    relative: bool = True  # subtract the code of the generated target


@dataclass
class ViewConfig:
    """Views of pseudo samples; the mean is added to V's output too."""

    statistics: str = "heads"  # a built-in name, or a file with mean (6,) and cov (6, 6)
    yaw_scale: float = 1.2


@dataclass
class LightConfig:
    """Lights of pseudo samples; ranges as in the paper's appendix."""

    statistics: str = "heads"  # mean added to L's output: a built-in name, or a file
    x: list[float] = field(default_factory=lambda: [-1.0, 1.0])
    y: list[float] = field(default_factory=lambda: [-0.2, 0.8])
    diffuse: list[float] = field(default_factory=lambda: [-0.1, 0.6])
    ambient_factor: float = -0.6


@dataclass
class LossConfig:
    """Weights of the losses; pixel terms weigh 1."""

    perceptual: float = 0.5
    smooth: float = 0.01
    offset: float = 0.01
    mirrored: float = 1.0  # of the mirrored copies, where symmetry is on


@dataclass
class WidthConfig:
    """Channels after the first convolution; 0 takes the official width for the image size."""

    shape: int = 0  # D and A
    pose: int = 0  # V and L
    encoder: int = 0  # E


@dataclass
class CompatConfig:
    """Bugs of the released code, off by default."""

    half_pixel: bool = False  # depth renders shifted by half a pixel, last row and column empty
    normal_epsilon: bool = False  # 1e-7 added to the length of normals
    shared_scalars: bool = False  # joint: all images relit with the last one's ambient, diffuse
    prior_first_image: bool = False  # joint: D is fitted to the first image's prior only


@dataclass
class GAN2ShapeConfig(RunConfig):
    """A GAN2Shape run: which images, which teacher, and the three steps by stages."""

    # a data module (heads, images: a folder or a list file, synface ...), or teacher: its samples
    data: str = "heads"
    split: str = "test"
    images: str = ""  # path of the data, where it needs one
    # folder of object masks named like the images; "exact": those of the data; "": `prior.box`
    masks: str = ""
    latents: str = ""  # folder of <stem>.pt stylecodes; "": found by inversion
    first: int = 0  # index of the first instance
    instances: int = 8
    image_size: int = 64
    crop: int = 0  # centre crop of the original image in pixels; 0: none
    original_size: int = 256  # side of the original images that `crop` refers to
    supersample: int = 2  # sub-pixels along each axis of rendered depth; the paper's renderer: 2
    use_mask: bool = False  # keep the background out of projected samples' losses
    mask_target: bool = False  # ours: and out of the target's own losses
    truncation: float = 0.7  # of the teacher's own samples (data=teacher)

    teacher: str = "heads-teacher-64"  # see generators/teachers.py
    perceptual: str = "discriminator"  # lpips-vgg, lpips-alex, discriminator, discriminator-l1
    # what E's projections are compared by beside their pixels: discriminator (the teacher's, as in
    # the paper) or perceptual (the loss above; for teachers that come without a discriminator)
    projection: str = "discriminator"
    start: str = ""  # asset, run folder or released checkpoint with the five networks to start from

    joint: bool = False  # pre-training: one set of weights for all instances, never reset
    weights: str = "shared"  # within a group: shared (gradients averaged) or independent
    # networks that the instances of a group share even so: depth, albedo, view, light, encoder
    share: list[str] = field(default_factory=list)
    group: int = 0  # instances trained at once, weights are reset between groups; 0: all
    targets: int = 0  # instances of the group in each step; 0: all

    warmup: WarmUpConfig = field(default_factory=WarmUpConfig)
    stages: int = 4
    steps: StageConfig = field(default_factory=StageConfig)
    batch: int = 16  # pseudo samples of each instance in a step
    projected_batch: int = 0  # projected samples of each instance in a step; 0: `batch`
    samples_per_instance: int = 1600  # projected samples kept
    lr: LearningRateConfig = field(default_factory=LearningRateConfig)
    weight_decay: float = 5e-4
    losses: LossConfig = field(default_factory=LossConfig)
    symmetry: SymmetryConfig = field(default_factory=SymmetryConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    offset: OffsetConfig = field(default_factory=OffsetConfig)
    view: ViewConfig = field(default_factory=ViewConfig)
    light: LightConfig = field(default_factory=LightConfig)
    width: WidthConfig = field(default_factory=WidthConfig)
    inversion: ProjectionConfig = field(default_factory=ProjectionConfig)
    compat: CompatConfig = field(default_factory=CompatConfig)

    def validate(self) -> None:
        """Check values against each other and paths against the disk.

        Raises:
            UserError: the first mistake.
        """
        super().validate()
        require_data("data", self.data, self._needs(), path=("images", self.images), own=(SAMPLES,))
        require_choice("perceptual", self.perceptual, PERCEPTUAL)
        require_choice("projection", self.projection, ("discriminator", "perceptual"))
        require_choice("prior.shape", self.prior.shape, PRIOR_SHAPES)
        require_choice("prior.category", self.prior.category, CATEGORIES)
        require_choice("weights", self.weights, ("shared", "independent"))
        require_choice("symmetry.step1", self.symmetry.step1, WHEN)
        require_choice("symmetry.step3", self.symmetry.step3, WHEN)
        require_choice("offset.regularise", self.offset.regularise, ("mapping", "none"))
        for name in self.share:
            require_choice("share", name, NETWORKS)
        self._validate_numbers()
        self._validate_sizes()
        self._validate_paths()

    def _needs(self) -> list[str]:
        """What the items of the data must have; masks and latents in files are found by names."""
        needs = {
            "mask": self.masks == EXACT,
            "name": bool(self.latents or self.masks not in ("", EXACT)),
        }
        return ["image", *(key for key, needed in needs.items() if needed)]

    def _validate_numbers(self) -> None:
        self.inversion.validate("inversion.")
        for key in (
            *("instances", "stages", "batch", "samples_per_instance", "supersample"),
            "original_size",
            *(f"lr.{item.name}" for item in fields(self.lr)),
        ):
            require_positive(key, attrgetter(key)(self))
        for key in (
            *("first", "group", "targets", "projected_batch", "crop", "weight_decay", "truncation"),
            *("prior.steps", "offset.depth", "view.yaw_scale"),
            *(f"losses.{item.name}" for item in fields(self.losses)),
            *(f"warmup.{item.name}" for item in fields(self.warmup)),
            *(
                f"steps.{stage}.{item.name}"
                for stage in ("first", "later")
                for item in fields(StepsConfig)
            ),
        ):
            require_least(key, attrgetter(key)(self), 0)
        require_most("supersample", self.supersample, 16)

    def _validate_sizes(self) -> None:
        require_side("image_size", self.image_size)
        for key in ("shape", "pose", "encoder"):
            if getattr(self.width, key) % 4 or getattr(self.width, key) < 0:
                raise UserError(
                    f"width.{key}={getattr(self.width, key)}: expected a multiple of 4, or 0"
                )
        for key, values, count in (
            ("prior.box", self.prior.box, 4),
            ("light.x", self.light.x, 2),
            ("light.y", self.light.y, 2),
            ("light.diffuse", self.light.diffuse, 2),
        ):
            if len(values) != count:
                raise UserError(f"{key}={values}: expected {count} numbers")
            if count == 2 and values[0] > values[1]:
                raise UserError(f"{key}={values}: expected low <= high")
        top, bottom, left, right = self.prior.box
        if not (-1 <= top < bottom <= 2 and -1 <= left < right <= 2):
            raise UserError(
                f"prior.box={self.prior.box}: expected top < bottom, left < right, within -1 and 2"
            )
        if not 0.9 <= self.prior.near < self.prior.far <= 1.1:
            raise UserError(
                f"prior.near={self.prior.near} prior.far={self.prior.far}: expected "
                "0.9 <= near < far <= 1.1"
            )
        if self.crop > self.original_size:
            raise UserError(
                f"crop={self.crop}: expected at most original_size={self.original_size}"
            )
        if self.samples_per_instance < self.step3_batch:
            raise UserError(
                f"samples_per_instance={self.samples_per_instance}: expected at least the "
                f"{self.step3_batch} samples of a step"
            )
        if self.targets > self.group_size:
            raise UserError(
                f"targets={self.targets}: expected at most the {self.group_size} instances at once"
            )
        if self.joint and self.group:
            raise UserError("joint=true: expected group=0")
        shared = self.weights == "shared" or {*POSE_NETWORKS} <= {*self.share}
        for key in ("encoder", "lifted", "pose"):
            steps = getattr(self.warmup, key)
            if steps and not shared:
                raise UserError(
                    f"warmup.{key}={steps}: expected 0, weights=shared or share="
                    f"[{', '.join(POSE_NETWORKS)}]"
                )
        if self.targets and self.weights != "shared":
            raise UserError(
                f"targets={self.targets}: expected 0 with weights=independent, all instances train "
                "in every step"
            )

    def _validate_paths(self) -> None:
        exact = self.masks == EXACT
        if exact and self.data == SAMPLES:
            raise UserError(f"masks={EXACT}: expected data that gives masks, such as data=heads")
        for key in ("images", "masks", "latents", "start"):
            path = getattr(self, key)
            known = (key == "start" and path in assets_with(START)) or (key == "masks" and exact)
            if path and not known and not os.path.exists(path):
                expected = f"; expected {starts()}" if key == "start" else ""
                raise UserError(f"{key}={path!r}: no such file or folder{expected}")
        for key in ("view", "light"):
            if not getattr(self, key).statistics:
                raise UserError(
                    f"{key}.statistics='': expected a built-in name (heads) or a file with mean "
                    "and cov"
                )
        if self.start and self.prior.shape != "ellipsoid":
            raise UserError(
                f"prior.shape={self.prior.shape}: expected ellipsoid, since the networks of "
                f"start={self.start!r} have a shape already; start='' fits a prior"
            )
        if not self.start and not self.prior.steps:
            raise UserError(
                "start='': prior.steps=0 needs a joint run or a released checkpoint to start from"
            )
        for key in ("use_mask", "mask_target"):
            if getattr(self, key) and not self.masks:
                raise UserError(f"{key}=true: expected a folder of object masks in `masks`")
        if not self.teacher:
            raise UserError(f"teacher='': expected {expected_teachers()}")

    @property
    def group_size(self) -> int:
        """Instances trained at once."""
        return min(self.group or self.instances, self.instances)

    @property
    def step3_batch(self) -> int:
        """Projected samples of each instance in a step."""
        return self.projected_batch or self.batch

    def mirrored(self, step: str, stage: int) -> bool:
        """Whether `step` ("step1" or "step3") of a stage (from 0) uses mirrored copies."""
        when = getattr(self.symmetry, step)
        return when == "always" or when == ("first" if stage == 0 else "later")


def starts() -> str:
    """Return in words what `start` may be."""
    return (
        f"an asset ({', '.join(assets_with(START))}), a folder with {START}, a gan2shape run or "
        "checkpoint, or a released checkpoint with netD, netA, netV, netL and netEnc"
    )


def assets_with(file: str) -> list[str]:
    """Return the names of the assets whose folder holds `file`."""
    return [
        name
        for name, asset in registry().assets.items()
        if isinstance(asset, BundledAsset) and f"{name}/{file}" in asset.files
    ]
