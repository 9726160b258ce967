"""Configuration of StyleGAN2 training. Imports no torch."""

from dataclasses import dataclass, field
from operator import attrgetter

from gan3d_bench.adversarial import config as adversarial
from gan3d_bench.adversarial.config import AugmentConfig
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

PERCEPTUAL = ("none", "lpips-vgg", "lpips-alex")


@dataclass
class NetworkConfig:
    """Architecture of generator and discriminator."""

    image_size: int = 64
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    channel_base: int = 16384  # channels = min(channel_base // resolution, channel_max)
    channel_max: int = 512
    channels: dict[int, int] = field(default_factory=dict)  # overrides the rule if not empty
    stddev_group: int = 4
    conv_clamp: float = 0.0  # limit of activations; 0: none
    generator: str = ""  # saved generator to start from; its architecture replaces the above
    discriminator: str = ""  # likewise


@dataclass
class DataConfig:
    """Where the real images come from."""

    # a data module that gives images (and latents, where those are needed); "": what is at `path`
    name: str = ""
    path: str = ""  # pictures, or a folder of image.npy (+ latent.npy); "": synthetic heads
    count: int = 60000  # synthetic heads to render, and cache; of a named data module at most
    mirror: bool = False  # also show images mirrored


@dataclass
class RegressionConfig:
    """Warm start: the generator learns the images that belong to given latents."""

    steps: int = 0
    lr: float = 1e-2  # weights are N(0, 1): five times the usual rate of the adversarial phase
    lr_end: float = 0.05  # factor on lr at the end of the cosine
    mapping_lr: float = 100.0  # factor on the mapping network's rate, whose layers scale it by 0.01
    warmup: int = 100  # steps of linear warm-up
    # Start the mapping network as a linear map, w = scale * z: eight random leaky ReLU layers
    # would scramble what the latents stand for, and the regression would first have to undo it.
    linear_mapping: bool = False
    # [first, last, scale] of latent entries, scale 1 elsewhere; needs linear_mapping
    latent_scales: list[list[float]] = field(default_factory=list)
    pixel: float = 1.0  # weight of L1
    edges: float = 1.0  # weight of L1 between finite differences
    perceptual: str = "none"  # none, lpips-vgg or lpips-alex
    perceptual_weight: float = 0.5


@dataclass
class AdversarialConfig(adversarial.AdversarialConfig, adversarial.PathLengthConfig):
    """GAN training."""

    mapping_lr: float = 1.0  # factor on the mapping network's rate
    mixing: float = 0.9  # probability of style mixing
    anchor: float = 0.0  # weight of the warm start's loss
    anchor_end: float = 1.0  # factor on `anchor` at the end

    def validate(self, key: str = "adversarial") -> None:
        adversarial.AdversarialConfig.validate(self, key)
        adversarial.PathLengthConfig.validate(self, key)
        for name in ("mapping_lr", "mixing", "anchor", "anchor_end"):
            require_least(f"{key}.{name}", getattr(self, name), 0)
        require_most(f"{key}.mixing", self.mixing, 1)


@dataclass
class StyleGAN2Config(RunConfig):
    """Keys of ``fit --method stylegan2``."""

    batch: int = 32  # images a step over all processes
    ema_kimg: float = 10.0  # half-life of the averaged weights, thousand images
    ema_rampup: float = 0.0  # half-life is at most this part of the images seen; 0: no limit
    network: NetworkConfig = field(default_factory=NetworkConfig)
    data: DataConfig = field(default_factory=DataConfig)
    regression: RegressionConfig = field(default_factory=RegressionConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)

    def validate(self) -> None:
        super().validate()
        self.adversarial.validate()
        self.augment.validate()
        for key in (
            *("batch", "ema_kimg", "data.count", "regression.lr"),
            *("network.z_dim", "network.w_dim", "network.mapping_layers", "network.stddev_group"),
            *("network.channel_base", "network.channel_max"),
        ):
            require_positive(key, attrgetter(key)(self))
        regression = ("steps", "lr_end", "mapping_lr", "warmup", "pixel", "edges")
        for key in (
            *("ema_rampup", "network.conv_clamp", "regression.perceptual_weight"),
            *(f"regression.{name}" for name in regression),
        ):
            require_least(key, attrgetter(key)(self), 0)
        require_choice("regression.perceptual", self.regression.perceptual, PERCEPTUAL)
        if not self.regression.steps + self.adversarial.steps:
            raise UserError("regression.steps + adversarial.steps = 0: expected at least one step")
        pairs = self.regression.steps > 0 or self.adversarial.anchor > 0
        needs = ("image", "latents") if pairs else ("image",)
        require_data(
            "data.name", self.data.name, needs, path=("data.path", self.data.path), own=("",)
        )
        self._validate_network()

    def _validate_network(self) -> None:
        size, channels = self.network.image_size, self.network.channels
        require_side("network.image_size", size, 8)
        sides = [2**power for power in range(2, size.bit_length())]
        if channels and sorted(channels) != sides:
            raise UserError(f"network.channels={channels}: expected the channels at {sides}")
        for side, count in channels.items():
            require_positive(f"network.channels.{side}", count)
        scales = self.regression.latent_scales
        if scales and not self.regression.linear_mapping:
            raise UserError(
                f"regression.latent_scales={scales}: expected linear_mapping=true with it"
            )
        for entry in scales:
            if len(entry) != 3 or not 0 <= entry[0] < entry[1] <= self.network.z_dim:
                raise UserError(
                    f"regression.latent_scales={scales}: expected [first, last, scale] each, "
                    f"0 <= first < last <= {self.network.z_dim} (network.z_dim)"
                )
