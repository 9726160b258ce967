"""Keys of adversarial training that methods have in common. Imports no torch."""

from dataclasses import dataclass

from gan3d_bench.config import MOST_BATCH, factor_key, key, rate_key, steps_key, weight_key
from gan3d_bench.errors import UserError


@dataclass
class AdversarialConfig:
    """A generator against a discriminator with an R1 penalty."""

    steps: int = steps_key(800000, "steps of training")
    generator_lr: float = rate_key(2e-3, "Adam's learning rate for the generator")
    discriminator_lr: float = rate_key(2e-3, "the same for the discriminator")
    generator_every: int = steps_key(
        1, "time between two updates of the generator", unit="steps", above=0
    )
    discriminator_every: int = steps_key(
        1, "time between two updates of the discriminator", unit="steps", above=0
    )
    delay: int = steps_key(0, "first steps that train the discriminator only")
    warmup: int = steps_key(
        0, "steps after `delay` in which the generator's rate rises to its value"
    )
    lr_end: float = factor_key(1.0, "factor on both rates at the end of a cosine")
    gamma: float = weight_key(10.0, "weight of R1")
    r1_interval: int = steps_key(
        16, "updates of the discriminator between two R1 penalties", above=0
    )

    def validate(self, name: str = "adversarial") -> None:
        """Raise a `UserError` for values that do not fit together; `name` is where they stand."""
        if min(self.generator_every, self.discriminator_every) > 1:
            raise UserError(
                f"{name}.generator_every={self.generator_every}, "
                f"{name}.discriminator_every={self.discriminator_every}: expected one of them to "
                "be 1, or some steps would train nothing"
            )


@dataclass
class PathLengthConfig:
    """Path-length regularisation of the generator."""

    path_weight: float = weight_key(2.0, "weight of path length regularisation")
    path_interval: int = steps_key(4, "updates of the generator between two penalties", above=0)
    path_shrink: int = key(2, "it takes batch // path_shrink images", above=0, most=MOST_BATCH)
    path_decay: float = key(
        0.01, "share of the present path length in its running mean", least=0, most=1
    )


@dataclass
class AugmentConfig:
    """Adaptive discriminator augmentation (Karras et al. 2020, arXiv:2006.06676)."""

    enabled: bool = key(False, "whether real and generated images are augmented")
    target: float = key(0.6, "aim for the mean sign of D(real)", least=-1, most=1)
    speed_kimg: float = weight_key(
        500.0, "time for the probability p to go from 0 to 1", unit="thousand images", above=0
    )
    every: int = steps_key(4, "updates of the discriminator between adjustments of p", above=0)
    maximum: float = key(0.85, "largest p", least=0, most=1)
