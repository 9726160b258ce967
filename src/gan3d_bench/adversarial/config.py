"""Keys of adversarial training that methods have in common. Imports no torch."""

from dataclasses import dataclass

from gan3d_bench.config import require_least, require_most, require_positive
from gan3d_bench.errors import UserError


@dataclass
class AdversarialConfig:
    """A generator against a discriminator with an R1 penalty."""

    steps: int = 800000
    generator_lr: float = 2e-3
    discriminator_lr: float = 2e-3
    generator_every: int = 1  # steps between two updates of the generator
    discriminator_every: int = 1  # steps between two updates of the discriminator
    delay: int = 0  # first steps that train the discriminator only
    warmup: int = 0  # steps after `delay` in which the generator's rate rises to its value
    lr_end: float = 1.0  # factor on both rates at the end of a cosine
    gamma: float = 10.0  # R1 weight
    r1_interval: int = 16  # updates of the discriminator between two R1 penalties

    def validate(self, key: str = "adversarial") -> None:
        """Raise a `UserError` for a value out of range; `key` is where the values stand."""
        rates = ("generator_lr", "discriminator_lr", "r1_interval")
        for name in (*rates, "generator_every", "discriminator_every"):
            require_positive(f"{key}.{name}", getattr(self, name))
        for name in ("steps", "delay", "warmup", "lr_end", "gamma"):
            require_least(f"{key}.{name}", getattr(self, name), 0)
        if min(self.generator_every, self.discriminator_every) > 1:
            raise UserError(
                f"{key}.generator_every={self.generator_every}, "
                f"{key}.discriminator_every={self.discriminator_every}: expected one of them to "
                "be 1, or some steps would train nothing"
            )


@dataclass
class PathLengthConfig:
    """Path-length regularisation of the generator."""

    path_weight: float = 2.0
    path_interval: int = 4  # updates of the generator between two penalties
    path_shrink: int = 2  # path length on batch // path_shrink images
    path_decay: float = 0.01

    def validate(self, key: str = "adversarial") -> None:
        """Raise a `UserError` for a value out of range; `key` is where the values stand."""
        for name in ("path_interval", "path_shrink"):
            require_positive(f"{key}.{name}", getattr(self, name))
        for name in ("path_weight", "path_decay"):
            require_least(f"{key}.{name}", getattr(self, name), 0)
        require_most(f"{key}.path_decay", self.path_decay, 1)


@dataclass
class AugmentConfig:
    """Adaptive discriminator augmentation."""

    enabled: bool = False
    target: float = 0.6  # of the mean sign of D(real)
    speed_kimg: float = 500.0  # thousand images for p to go from 0 to 1
    every: int = 4  # updates of the discriminator between adjustments
    maximum: float = 0.85

    def validate(self, key: str = "augment") -> None:
        """Raise a `UserError` for a value out of range; `key` is where the values stand."""
        for name in ("every", "speed_kimg"):
            require_positive(f"{key}.{name}", getattr(self, name))
        require_least(f"{key}.maximum", self.maximum, 0)
        require_most(f"{key}.maximum", self.maximum, 1)
        require_least(f"{key}.target", self.target, -1)
        require_most(f"{key}.target", self.target, 1)
