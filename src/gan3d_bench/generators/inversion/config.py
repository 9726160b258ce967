"""Configuration of GAN inversion. Imports no torch."""

from dataclasses import dataclass, field

from gan3d_bench.config import require_choice, require_least, require_most, require_positive

PERCEPTUAL = ("lpips-vgg", "lpips-alex", "discriminator", "discriminator-l1")
SPACES = ("w", "w+")


@dataclass
class ProjectionConfig:
    """Projection of images onto one stylecode each (Karras et al. 2020, appendix D)."""

    steps: int = 1000
    lr: float = 0.1
    ramp_up: float = 0.05  # share of the steps with rising learning rate
    ramp_down: float = 0.25  # share with falling learning rate
    noise: float = 0.05  # of w, relative to its deviation
    noise_ramp: float = 0.75  # share of the steps with noise
    perceptual: str = ""  # "": chosen by whoever projects
    pixel: float = 0.0  # weight of the mean squared error
    batch: int = 25  # images at once
    compare_size: int = 256  # images are compared at most at this size

    def validate(self, prefix: str = "") -> None:
        """Check every value; `prefix` goes before the keys that errors name.

        Raises:
            UserError: a value is out of range.
        """
        if self.perceptual:
            require_choice(f"{prefix}perceptual", self.perceptual, PERCEPTUAL)
        for key in ("lr", "batch", "ramp_up", "ramp_down", "noise_ramp"):
            require_positive(f"{prefix}{key}", getattr(self, key))
        for key in ("steps", "noise", "pixel"):
            require_least(f"{prefix}{key}", getattr(self, key), 0)
        for key in ("ramp_up", "ramp_down", "noise_ramp"):
            require_most(f"{prefix}{key}", getattr(self, key), 1)
        require_least(f"{prefix}compare_size", self.compare_size, 16)


@dataclass
class PivotalConfig:
    """Pivotal tuning: the weights of a copy of the generator are fitted to each image, its
    stylecode held (Roich et al. 2021)."""

    steps: int = 0  # 0: none
    lr: float = 3e-4
    perceptual: float = 1.0  # weight of the perceptual distance
    pixel: float = 1.0  # weight of the mean squared error
    stop: float = 0.0  # the perceptual distance that is near enough
    locality: float = 0.0  # weight of staying the same elsewhere; 0.1 in the released code
    locality_radius: float = 30.0  # distance in W+ from the pivot at which that is asked
    locality_truncation: float = 0.5  # of the random stylecodes that give the directions

    def validate(self, prefix: str = "") -> None:
        """As `ProjectionConfig.validate`."""
        require_positive(f"{prefix}lr", self.lr)
        require_positive(f"{prefix}locality_radius", self.locality_radius)
        for key in ("steps", "perceptual", "pixel", "stop", "locality", "locality_truncation"):
            require_least(f"{prefix}{key}", getattr(self, key), 0)


@dataclass
class InversionConfig(ProjectionConfig):
    """Projection into W or W+, with noise maps and pivotal tuning as options.

    The defaults are ours, for few steps: noise only delays those, pixels mend colours that the
    perceptual distance cares little about, and the prior keeps stylecodes as far from the mean as
    samples are at no cost in likeness. The released projector's are those of `ProjectionConfig`.
    """

    steps: int = 100
    noise: float = 0.0
    pixel: float = 1.0
    batch: int = 8
    prior: float = 0.05  # weight of the squared distance from the mean of w, in deviations
    spread: float = 0.0  # weight of that among the layers' stylecodes in W+
    space: str = "w"  # w: one stylecode an image; w+: one a layer
    noise_maps: bool = False  # fit the generator's noise maps, too
    noise_regulariser: float = 1e5  # weight of their regulariser
    pivotal: PivotalConfig = field(default_factory=PivotalConfig)

    def validate(self, prefix: str = "") -> None:
        super().validate(prefix)
        require_choice(f"{prefix}space", self.space, SPACES)
        for key in ("prior", "spread", "noise_regulariser"):
            require_least(f"{prefix}{key}", getattr(self, key), 0)
        self.pivotal.validate(f"{prefix}pivotal.")
