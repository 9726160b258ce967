"""Configuration of GAN inversion. Imports no torch."""

from dataclasses import dataclass, field

from gan3d_bench.config import (
    MOST_BATCH,
    MOST_SIDE,
    factor_key,
    key,
    rate_key,
    steps_key,
    weight_key,
)
from gan3d_bench.errors import UserError

PERCEPTUAL = ("lpips-vgg", "lpips-alex", "discriminator", "discriminator-l1")
SPACES = ("w", "w+")


@dataclass
class RefinementConfig:
    """Levenberg-Marquardt steps after the projection, in W: the most probable stylecode. Ours."""

    steps: int = key(0, "steps for each image; 0: none", least=0, most=100)
    directions: int = key(
        150, "principal directions of w that are searched, a picture a step each", above=0, most=512
    )
    deviation: float = factor_key(
        0.3,
        "of colours in [-1, 1] from the teacher's, errors of neighbours taken for many",
        above=0,
    )


@dataclass
class ProjectionConfig:
    """Projection of images onto one stylecode each.

    Karras et al. 2020, appendix D; defaults of ``projector.py`` of rosinality/stylegan2-pytorch.
    """

    steps: int = steps_key(1000, "steps of Adam on the stylecodes")
    lr: float = rate_key(0.1, "its learning rate")
    ramp_up: float = key(0.05, "share of the steps with rising learning rate", above=0, most=1)
    ramp_down: float = key(0.25, "share with falling learning rate", above=0, most=1)
    noise: float = factor_key(0.05, "noise on w, relative to the deviation of w")
    noise_ramp: float = key(0.75, "share of the steps with noise", above=0, most=1)
    perceptual: str = key(
        "",
        "network of the perceptual distance; '': chosen by what projects",
        choices=PERCEPTUAL,
        also=("",),
    )
    pixel: float = weight_key(0.0, "weight of the mean squared error")
    batch: int = key(25, "images at once", above=0, most=MOST_BATCH)
    compare_size: int = key(
        256, "images are compared at most at this size", unit="pixels", least=16, most=MOST_SIDE
    )
    refinement: RefinementConfig = field(default_factory=RefinementConfig)


@dataclass
class PivotalConfig:
    """Pivotal tuning: a copy of the generator is fitted to each image, its stylecode held.

    Roich et al. 2021; ``configs/hyperparameters.py`` of danielroich/PTI.
    """

    steps: int = steps_key(0, "steps of Adam on the generator; 0: none")
    lr: float = rate_key(3e-4, "its learning rate")
    perceptual: float = weight_key(1.0, "weight of the perceptual distance")
    pixel: float = weight_key(1.0, "weight of the mean squared error")
    stop: float = weight_key(0.0, "perceptual distance that is near enough to stop")
    locality: float = weight_key(
        0.0, "weight of staying the same elsewhere; 0.1 in the released code"
    )
    locality_radius: float = weight_key(
        30.0, "distance in W+ from the pivot at which that is asked", above=0
    )
    locality_truncation: float = key(
        0.5, "truncation psi of the random stylecodes that give the directions", least=0, most=10
    )


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
    prior: float = weight_key(
        0.05, "weight of the squared distance from the mean of w, in deviations"
    )
    spread: float = weight_key(0.0, "weight of that among the layers' stylecodes in W+")
    space: str = key("w", "w: one stylecode an image; w+: one a layer", choices=SPACES)
    noise_maps: bool = key(False, "whether to fit the generator's noise maps, too")
    noise_regulariser: float = key(1e5, "weight of their regulariser", least=0, most=1e9)
    pivotal: PivotalConfig = field(default_factory=PivotalConfig)

    def require_w(self, why: str) -> None:
        """Raise a `UserError` unless there is one stylecode an image; `why` says who wants that."""
        if self.space != "w":
            raise UserError(f"inversion.space={self.space!r}: expected 'w', as {why}")
