"""Configuration of StyleGAN2 training. Imports no torch."""

from dataclasses import dataclass, field

from gan3d_bench.adversarial import config as adversarial
from gan3d_bench.adversarial.config import AugmentConfig
from gan3d_bench.config import MOST_SIDE, RunConfig, key
from gan3d_bench.datamodules.specs import require_data
from gan3d_bench.errors import UserError

PERCEPTUAL = ("none", "lpips-vgg", "lpips-alex")


@dataclass
class NetworkConfig:
    """Architecture of generator and discriminator."""

    image_size: int = key(
        64, "side of the images", unit="pixels", least=8, most=MOST_SIDE, power_of_two=True
    )
    z_dim: int = key(512, "length of latents z", above=0)
    w_dim: int = key(512, "length of stylecodes w", above=0)
    mapping_layers: int = key(8, "layers of the mapping network", above=0)
    channel_base: int = key(
        16384, "channels at a resolution are min(channel_base // resolution, channel_max)", above=0
    )
    channel_max: int = key(512, "most channels at any resolution", above=0)
    channels: dict[int, int] = key(
        {}, "channels by resolution, in the place of that rule if not empty", above=0
    )
    stddev_group: int = key(4, "images that share one minibatch standard deviation", above=0)
    conv_clamp: float = key(0.0, "limit of activations; 0: none", least=0)
    generator: str = key("", "saved generator to start from; its architecture replaces the above")
    discriminator: str = key("", "saved discriminator to start from; likewise")


@dataclass
class DataConfig:
    """Where the real images come from."""

    name: str = key(
        "", "a data module that gives images (and latents, where needed); '': what is at `path`"
    )
    path: str = key("", "pictures, or a folder of image.npy (+ latent.npy); '': synthetic heads")
    count: int = key(60000, "synthetic heads to render and cache; of named data at most", above=0)
    mirror: bool = key(False, "also show images mirrored")


@dataclass
class RegressionConfig:
    """Warm start: the generator learns the images that belong to given latents."""

    steps: int = key(0, "steps of the warm start", least=0)
    # weights are N(0, 1): five times the usual rate of the adversarial phase
    lr: float = key(1e-2, "Adam's learning rate", above=0)
    lr_end: float = key(0.05, "factor on lr at the end of the cosine", least=0)
    mapping_lr: float = key(
        100.0, "factor on the rate of the mapping network, whose layers scale it by 0.01", least=0
    )
    warmup: int = key(100, "steps of linear warm-up", least=0)
    # Eight random leaky ReLU layers would scramble what the latents stand for, and the regression
    # would first have to undo it.
    linear_mapping: bool = key(False, "start the mapping network as a linear map, w = scale * z")
    latent_scales: list[list[float]] = key(
        [], "[first, last, scale] of latent entries, scale 1 elsewhere; needs linear_mapping"
    )
    pixel: float = key(1.0, "weight of L1", least=0)
    edges: float = key(1.0, "weight of L1 between finite differences", least=0)
    perceptual: str = key("none", "network of the perceptual loss", choices=PERCEPTUAL)
    perceptual_weight: float = key(0.5, "weight of the perceptual loss", least=0)


@dataclass
class AdversarialConfig(adversarial.AdversarialConfig, adversarial.PathLengthConfig):
    """GAN training."""

    mapping_lr: float = key(1.0, "factor on the mapping network's rate", least=0)
    mixing: float = key(0.9, "probability of style mixing", least=0, most=1)
    anchor: float = key(0.0, "weight of the warm start's loss", least=0)
    anchor_end: float = key(1.0, "factor on `anchor` at the end", least=0)


@dataclass
class StyleGAN2Config(RunConfig):
    """Keys of ``fit --method stylegan2``."""

    batch: int = key(32, "images a step over all processes", above=0)
    ema_kimg: float = key(
        10.0, "half-life of the averaged weights", unit="thousand images", above=0
    )
    ema_rampup: float = key(
        0.0, "half-life is at most this share of the images seen; 0: no limit", least=0
    )
    network: NetworkConfig = field(default_factory=NetworkConfig)
    data: DataConfig = field(default_factory=DataConfig)
    regression: RegressionConfig = field(default_factory=RegressionConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)

    def validate(self) -> None:
        super().validate()
        self.adversarial.validate()
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
        sides = [2**power for power in range(2, size.bit_length())]
        if channels and sorted(channels) != sides:
            raise UserError(f"network.channels={channels}: expected the channels at {sides}")
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
