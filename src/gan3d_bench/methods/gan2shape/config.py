"""Configuration of GAN2Shape. Imports no torch."""

import os
from dataclasses import dataclass, field

from gan3d_bench.assets.registry import BundledAsset, registry
from gan3d_bench.config import (
    LEAST_SIDE,
    MOST_BATCH,
    MOST_CHANNELS,
    MOST_ITEMS,
    MOST_SIDE,
    Need,
    RunConfig,
    factor_key,
    key,
    rate_key,
    steps_key,
    weight_key,
)
from gan3d_bench.datamodules.specs import on_bad_key, require_data
from gan3d_bench.errors import UserError
from gan3d_bench.generators.inversion.config import PERCEPTUAL, ProjectionConfig
from gan3d_bench.generators.names import teacher_key
from gan3d_bench.methods.gan2shape.needs import needs_of

SAMPLES = "teacher"  # as `data`: the teacher's own samples
PRIOR_SHAPES = ("ellipsoid", "asymmetric", "shift-6", "shift-4", "weak", "flat")
SPLITS = ("train", "val", "test")
NETWORKS = ("depth", "albedo", "view", "light", "encoder")
POSE_NETWORKS = ("view", "light", "encoder")
CATEGORIES = ("face", "synface", "cat", "car", "church", "other")
EXACT = "exact"  # masks known with the data
WHEN = ("never", "first", "later", "always")
STATISTICS = "a built-in name (heads) or a file with mean and cov"
VIEWS, LIGHTS = ("heads", "ffhq"), ("heads", "frontal")  # the built-in names
START = "networks.safetensors"


@dataclass
class PriorConfig:
    """The weak shape prior, an ellipsoid, and the fit of D to it (paper, section 3.1)."""

    shape: str = key("ellipsoid", "shape of the prior (paper, Table 2)", choices=PRIOR_SHAPES)
    near: float = key(0.91, "depth of its summit", unit="scene units", least=0.9, most=1.1)
    far: float = key(
        1.02, "depth of its rim and of all beyond", unit="scene units", least=0.9, most=1.1
    )
    steps: int = steps_key(1000, "steps of the fit; skipped when `start` is given, which 0 demands")
    category: str = key("other", "how the mask's extent is adjusted", choices=CATEGORIES)
    box: list[float] = key(
        [0.1, 0.95, 0.15, 0.85],
        "top, bottom, left, right of the object where there are no masks, as fractions of the "
        "image; beyond 0 and 1 where the image crops the object",
        length=4,
        least=-1,
        most=2,
    )


@dataclass
class WarmUpConfig:
    """Steps of the warm-up (`warmup.py`), which is ours; none in the paper."""

    encoder: int = steps_key(0, "steps of E on pairs of samples")
    lifted: int = steps_key(0, "steps of E on pseudo samples of lifted samples")
    pose: int = steps_key(0, "steps of V and L")
    pool: int = key(
        0,
        "samples that steps draw from, each made when first drawn; 0: always new ones",
        least=0,
        most=MOST_ITEMS,
    )
    truncation: float = key(1.0, "truncation psi of the samples", least=0, most=10)


@dataclass
class StepsConfig:
    """Iterations of the three steps of a stage."""

    step1: int = steps_key(600, "iterations of step 1: A learns the image")
    step2: int = steps_key(600, "iterations of step 2: E learns to project pseudo samples")
    step3: int = steps_key(400, "iterations of step 3: D, A, V and L learn from projected samples")


@dataclass
class StageConfig:
    """The first stage is longer than the later ones."""

    first: StepsConfig = key(StepsConfig, "iterations of the first stage")
    later: StepsConfig = key(lambda: StepsConfig(200, 500, 300), "iterations of a later stage")


@dataclass
class LearningRateConfig:
    """Adam's learning rates."""

    prior: float = rate_key(1e-4, "rate of the fit of D to the prior")
    step1: float = rate_key(1e-4, "rate of step 1")
    step2: float = rate_key(1e-4, "rate of step 2")
    depth: float = rate_key(1e-4, "rate of D in step 3")
    albedo: float = rate_key(1e-4, "rate of A in step 3")
    view: float = rate_key(1e-4, "rate of V in step 3")
    light: float = rate_key(1e-4, "rate of L in step 3")
    warmup: float = rate_key(5e-4, "rate of V and L in the warm-up")


@dataclass
class SymmetryConfig:
    """In which stages mirrored copies must reconstruct too."""

    step1: str = key("never", "stages in which step 1 does so", choices=WHEN)
    step3: str = key("first", "stages in which step 3 does so", choices=WHEN)


@dataclass
class OffsetConfig:
    """How E's code becomes an offset of w (paper, section 3.2)."""

    regularise: str = key(
        "mapping",
        "mapping: through the mapping network's last modules; none: the code is the offset "
        "(paper, Table 1)",
        choices=("mapping", "none"),
    )
    depth: int = key(2, "d of F1: the last d + 1 modules of the mapping network", least=0, most=64)
    relative: bool = key(True, "whether to subtract the code of the generated target")


@dataclass
class ViewConfig:
    """Views of pseudo samples; the mean is added to V's output too."""

    statistics: str = key(
        "heads",
        "a built-in name, or a file with mean (6,) and cov (6, 6)",
        required=STATISTICS,
        path=True,
        names=VIEWS,
    )
    yaw_scale: float = factor_key(1.2, "factor on the sampled yaw")


@dataclass
class LightConfig:
    """Lights of pseudo samples; ranges as in the paper's appendix."""

    statistics: str = key(
        "heads",
        "mean added to L's output: a built-in name, or a file with mean (4,) and cov (4, 4)",
        required=STATISTICS,
        path=True,
        names=LIGHTS,
    )
    x: list[float] = key(
        [-1.0, 1.0], "range of the light's slope to the side", length=2, least=-10, most=10
    )
    y: list[float] = key(
        [-0.2, 0.8], "range of the light's slope up or down", length=2, least=-10, most=10
    )
    diffuse: list[float] = key(
        [-0.1, 0.6], "range of what is added to diffuse light", length=2, least=-10, most=10
    )
    ambient_factor: float = key(
        -0.6, "ambient light changes by this times what diffuse does", least=-10, most=10
    )


@dataclass
class LossConfig:
    """Weights of the losses; pixel terms weigh 1."""

    perceptual: float = weight_key(0.5, "weight of the perceptual loss")
    smooth: float = weight_key(0.01, "weight of the smoothness of depth")
    offset: float = weight_key(0.01, "weight of the squared offset of w")
    mirrored: float = weight_key(1.0, "weight of the mirrored copies, where symmetry is on")


@dataclass
class WidthConfig:
    """Channels after the first convolution; 0 takes the official width for the image size."""

    shape: int = key(
        0, "channels of D and A; 0: official", least=0, multiple_of=4, most=MOST_CHANNELS
    )
    pose: int = key(
        0, "channels of V and L; 0: official", least=0, multiple_of=4, most=MOST_CHANNELS
    )
    encoder: int = key(0, "channels of E; 0: official", least=0, multiple_of=4, most=MOST_CHANNELS)


@dataclass
class CompatConfig:
    """Bugs of the released code, off by default."""

    half_pixel: bool = key(
        False, "depth renders shifted by half a pixel, last row and column empty"
    )
    normal_epsilon: bool = key(False, "1e-7 is added to the length of normals")
    shared_scalars: bool = key(
        False, "joint runs: all images relit with the last one's ambient and diffuse light"
    )
    prior_first_image: bool = key(False, "joint runs: D is fitted to the first image's prior only")


@dataclass
class GAN2ShapeConfig(RunConfig):
    """A GAN2Shape run: which images, which teacher, and the three steps by stages."""

    data: str = key(
        "heads",
        "images to lift: a data module (heads, images, synface, a plug-in's), or teacher: its "
        "samples",
    )
    split: str = key("test", "split of heads, of synface, or of the samples' seeds", choices=SPLITS)
    images: str = key("", "path of the data, where it needs one", path=True)
    on_bad: str = on_bad_key()
    masks: str = key(
        "",
        "folder of object masks named like the images; exact: those of the data; '': prior.box",
        path=True,
        names=(EXACT,),
    )
    latents: str = key("", "folder of <stem>.pt stylecodes; '': found by inversion", path=True)
    first: int = key(0, "number of the first instance", least=0, most=MOST_ITEMS)
    instances: int = key(8, "number of images", above=0, most=MOST_ITEMS)
    image_size: int = key(
        64, "side of the images", unit="pixels", least=LEAST_SIDE, most=MOST_SIDE, power_of_two=True
    )
    crop: int = key(
        0,
        "side of the centre crop of the original image; 0: none",
        unit="pixels",
        least=0,
        most=4096,
    )
    original_size: int = key(
        256, "side of the original images that `crop` refers to", unit="pixels", above=0, most=4096
    )
    supersample: int = key(
        2, "sub-pixels along each axis of rendered depth; the paper's renderer: 2", above=0, most=16
    )
    use_mask: bool = key(False, "keep the background out of projected samples' losses")
    mask_target: bool = key(False, "keep it out of the target's own losses, too; ours")
    truncation: float = key(0.7, "truncation psi of the samples of data=teacher", least=0, most=10)

    teacher: str = teacher_key("heads-teacher-64")
    perceptual: str = key("discriminator", "network of the perceptual loss", choices=PERCEPTUAL)
    projection: str = key(
        "discriminator",
        "what E's projections are compared by beside their pixels: the teacher's discriminator, as "
        "in the paper, or the perceptual loss, for teachers without one",
        choices=("discriminator", "perceptual"),
    )
    start: str = key(
        "",
        "asset, run folder or released checkpoint with the five networks to start from",
        path=True,
        names=lambda: assets_with(START),
    )

    joint: bool = key(False, "pre-training: one set of weights for all instances, never reset")
    weights: str = key(
        "shared",
        "within a group: shared (gradients averaged), or independent",
        choices=("shared", "independent"),
    )
    share: list[str] = key(
        [], "networks that the instances of a group share even so", choices=NETWORKS
    )
    group: int = key(
        0,
        "instances trained at once; weights are reset between groups; 0: all",
        least=0,
        most=MOST_ITEMS,
    )
    targets: int = key(0, "instances of the group in each step; 0: all", least=0, most=MOST_ITEMS)

    warmup: WarmUpConfig = field(default_factory=WarmUpConfig)
    stages: int = key(4, "number of stages of the three steps", above=0, most=10000)
    steps: StageConfig = key(StageConfig, "iterations of the three steps")
    batch: int = key(16, "pseudo samples of each instance in a step", above=0, most=MOST_BATCH)
    projected_batch: int = key(
        0, "projected samples of each instance in a step; 0: as `batch`", least=0, most=MOST_BATCH
    )
    samples_per_instance: int = key(1600, "projected samples kept", above=0, most=1000000)
    lr: LearningRateConfig = field(default_factory=LearningRateConfig)
    weight_decay: float = factor_key(5e-4, "Adam's weight decay")
    losses: LossConfig = field(default_factory=LossConfig)
    symmetry: SymmetryConfig = field(default_factory=SymmetryConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    offset: OffsetConfig = field(default_factory=OffsetConfig)
    view: ViewConfig = field(default_factory=ViewConfig)
    light: LightConfig = field(default_factory=LightConfig)
    width: WidthConfig = field(default_factory=WidthConfig)
    inversion: ProjectionConfig = field(default_factory=ProjectionConfig)
    compat: CompatConfig = field(default_factory=CompatConfig)

    def needs(self) -> list[Need]:
        """See `RunConfig.needs`."""
        at_once = self.group_size
        own = needs_of(
            self.instances,
            at_once,
            self.samples_per_instance,
            self.warmup.pool,
            self.batch,
            self.targets or at_once,
            self.image_size,
        )
        return [*super().needs(), *own]

    def validate(self) -> None:
        """Check every value, values against each other, and paths against the disk.

        Raises:
            UserError: the first mistake.
        """
        super().validate()
        require_data("data", self.data, self._needs(), path=("images", self.images), own=(SAMPLES,))
        self._validate_sizes()
        self._validate_paths()

    def _needs(self) -> list[str]:
        """What the items of the data must have; masks and latents in files are found by names."""
        needs = {
            "mask": self.masks == EXACT,
            "name": bool(self.latents or self.masks not in ("", EXACT)),
        }
        return ["image", *(name for name, needed in needs.items() if needed)]

    def _validate_sizes(self) -> None:
        for name in ("x", "y", "diffuse"):
            low, high = getattr(self.light, name)
            if low > high:
                raise UserError(f"light.{name}={[low, high]}: expected low <= high")
        top, bottom, left, right = self.prior.box
        if not (top < bottom and left < right):
            raise UserError(f"prior.box={self.prior.box}: expected top < bottom, left < right")
        if not self.prior.near < self.prior.far:
            raise UserError(
                f"prior.near={self.prior.near} prior.far={self.prior.far}: expected near < far"
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
        for name in ("encoder", "lifted", "pose"):
            steps = getattr(self.warmup, name)
            if steps and not shared:
                raise UserError(
                    f"warmup.{name}={steps}: expected 0, weights=shared or share="
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
        for name in ("images", "masks", "latents", "start"):
            path = getattr(self, name)
            known = (name == "start" and path in assets_with(START)) or (name == "masks" and exact)
            if path and not known and not os.path.exists(path):
                expected = f"; expected {starts()}" if name == "start" else ""
                raise UserError(f"{name}={path!r}: no such file or folder{expected}")
        if self.start and self.prior.shape != "ellipsoid":
            raise UserError(
                f"prior.shape={self.prior.shape}: expected ellipsoid, since the networks of "
                f"start={self.start!r} have a shape already; start='' fits a prior"
            )
        if not self.start and not self.prior.steps:
            raise UserError(
                "start='': prior.steps=0 needs a joint run or a released checkpoint to start from"
            )
        for name in ("use_mask", "mask_target"):
            if getattr(self, name) and not self.masks:
                raise UserError(f"{name}=true: expected a folder of object masks in `masks`")

    def part_keys(self) -> tuple[str, ...]:
        """See `RunConfig.part_keys`: groups know nothing of each other."""
        return ("first", "instances") if self.group else ()

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
