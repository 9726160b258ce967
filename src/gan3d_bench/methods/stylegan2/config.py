"""Configuration of StyleGAN2 training. Imports no torch."""

from dataclasses import dataclass, field

from gan3d_bench.adversarial import config as adversarial
from gan3d_bench.adversarial.config import AugmentConfig
from gan3d_bench.config import (
    BYTE,
    FLOAT,
    HALF,
    MOST_BATCH,
    MOST_CHANNELS,
    MOST_ITEMS,
    MOST_SIDE,
    MOST_WEIGHT,
    Need,
    RunConfig,
    factor_key,
    key,
    pixels,
    rate_key,
    steps_key,
    weight_key,
)
from gan3d_bench.datamodules.specs import heads_need, on_bad_key, require_data
from gan3d_bench.errors import UserError

PERCEPTUAL = ("none", "lpips-vgg", "lpips-alex")


@dataclass
class NetworkConfig:
    """Architecture of generator and discriminator."""

    image_size: int = key(
        64, "side of the images", unit="pixels", least=8, most=MOST_SIDE, power_of_two=True
    )
    z_dim: int = key(512, "length of latents z", above=0, most=MOST_CHANNELS)
    w_dim: int = key(512, "length of stylecodes w", above=0, most=MOST_CHANNELS)
    mapping_layers: int = key(8, "layers of the mapping network", above=0, most=64)
    channel_base: int = key(
        16384,
        "channels at a resolution are min(channel_base // resolution, channel_max)",
        above=0,
        most=1048576,
    )
    channel_max: int = key(512, "most channels at any resolution", above=0, most=MOST_CHANNELS)
    channels: dict[int, int] = key(
        {},
        "channels by resolution, in the place of that rule if not empty",
        above=0,
        most=MOST_CHANNELS,
    )
    stddev_group: int = key(
        4, "images that share one minibatch standard deviation", above=0, most=MOST_BATCH
    )
    conv_clamp: float = weight_key(0.0, "limit of activations; 0: none")
    generator: str = key(
        "", "saved generator to start from; its architecture replaces the above", path=True
    )
    discriminator: str = key("", "saved discriminator to start from; likewise", path=True)


@dataclass
class DataConfig:
    """Where the real images come from."""

    name: str = key(
        "", "a data module that gives images (and latents, where needed); '': what is at `path`"
    )
    path: str = key(
        "", "pictures, or a folder of image.npy (+ latent.npy); '': synthetic heads", path=True
    )
    count: int = key(
        60000,
        "synthetic heads to render and cache; of named data at most",
        above=0,
        most=MOST_ITEMS,
    )
    mirror: bool = key(False, "also show images mirrored")
    on_bad: str = on_bad_key()


@dataclass
class MappingConfig:
    """Before the warm start: the mapping network learns which picture a latent chooses."""

    steps: int = steps_key(
        0, "steps; the first entries of w are then what the pictures of `data.name` show"
    )
    batch: int = key(256, "latents a step over all processes", above=0, most=MOST_BATCH)
    # 0.01 of it reaches the layers
    lr: float = rate_key(3.0, "Adam's learning rate, falling to 0")


@dataclass
class RegressionConfig:
    """Warm start: the generator learns the images that belong to given latents."""

    steps: int = steps_key(0, "steps of the warm start")
    # weights are N(0, 1): five times the usual rate of the adversarial phase
    lr: float = rate_key(1e-2, "Adam's learning rate")
    lr_end: float = factor_key(0.05, "factor on lr at the end of the cosine")
    mapping_lr: float = factor_key(
        100.0, "factor on the rate of the mapping network, whose layers scale it by 0.01"
    )
    warmup: int = steps_key(100, "steps of linear warm-up")
    # Eight random leaky ReLU layers would scramble what the latents stand for, and the regression
    # would first have to undo it.
    linear_mapping: bool = key(False, "start the mapping network as a linear map, w = scale * z")
    latent_scales: list[list[float]] = key(
        [],
        "[first, last, scale] of latent entries, scale 1 elsewhere; needs linear_mapping",
        least=-MOST_WEIGHT,
        most=MOST_WEIGHT,
    )
    view_entries: list[int] = key(
        [],
        "[first, last] latent entries that the first style inputs take from one latent, and the "
        "others from another; []: none",
        least=0,
        most=MOST_CHANNELS,
    )
    view_layers: int = key(
        4, "those first style inputs; they hold the view in StyleGAN-R", above=0, most=64
    )
    pixel: float = weight_key(1.0, "weight of L1")
    edges: float = weight_key(1.0, "weight of L1 between finite differences")
    perceptual: str = key("none", "network of the perceptual loss", choices=PERCEPTUAL)
    perceptual_weight: float = weight_key(0.5, "weight of the perceptual loss")


@dataclass
class AdversarialConfig(adversarial.AdversarialConfig, adversarial.PathLengthConfig):
    """GAN training."""

    mapping_lr: float = factor_key(1.0, "factor on the mapping network's rate")
    mixing: float = key(
        0.9,
        "probability of style mixing; after regression.view_layers inputs with view_entries",
        least=0,
        most=1,
    )
    anchor: float = weight_key(0.0, "weight of the warm start's loss")
    anchor_end: float = factor_key(1.0, "factor on `anchor` at the end")


@dataclass
class StyleGAN2Config(RunConfig):
    """Keys of ``fit --method stylegan2``."""

    batch: int = key(32, "images a step over all processes", above=0, most=MOST_BATCH)
    ema_kimg: float = weight_key(
        10.0, "half-life of the averaged weights", unit="thousand images", above=0
    )
    ema_rampup: float = factor_key(
        0.0, "half-life is at most this share of the images seen; 0: no limit"
    )
    network: NetworkConfig = field(default_factory=NetworkConfig)
    data: DataConfig = field(default_factory=DataConfig)
    mapping: MappingConfig = field(default_factory=MappingConfig)
    regression: RegressionConfig = field(default_factory=RegressionConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)

    def needs(self) -> list[Need]:
        """See `RunConfig.needs`: heads, and a batch's images and widest activations."""
        data, network, size = self.data, self.network, self.network.image_size
        width = network.channels.get(size) or min(network.channel_base // size, network.channel_max)
        memory = pixels(self.batch, size, 3 + 2 * width)
        keys = {"batch": self.batch, "network.image_size": size}
        found = [*super().needs(), Need(keys, "images of a step", memory)]
        if data.name in ("heads", "heads-360", "cars"):
            found.append(heads_need({"data.count": data.count}, data.count, size, data.name))
        elif not data.name and not data.path:
            latents = float(data.count) * network.z_dim
            disk = pixels(data.count, size, 3, BYTE) + latents * HALF
            what = f"{data.count} rendered heads"
            found.append(Need({"data.count": data.count}, what, latents * FLOAT, disk))
        return found

    def validate(self) -> None:
        super().validate()
        self.adversarial.validate()
        if not self.regression.steps + self.adversarial.steps:
            raise UserError("regression.steps + adversarial.steps = 0: expected at least one step")
        pairs = self.regression.steps > 0 or self.adversarial.anchor > 0
        if self.mapping.steps and not self.data.name:
            raise UserError(
                f"mapping.steps={self.mapping.steps}: expected data.name with it, data that knows "
                "what a latent's picture shows"
            )
        needs = ("image", "latents") if pairs or self.mapping.steps else ("image",)
        require_data(
            "data.name", self.data.name, needs, path=("data.path", self.data.path), own=("",)
        )
        self._validate_network()

    def _validate_network(self) -> None:
        size, channels = self.network.image_size, self.network.channels
        sides = [2**power for power in range(2, size.bit_length())]
        if channels and sorted(channels) != sides:
            raise UserError(f"network.channels={channels}: expected the channels at {sides}")
        entries, z_dim = self.regression.view_entries, self.network.z_dim
        if entries and not (len(entries) == 2 and entries[0] < entries[1] <= z_dim):
            raise UserError(
                f"regression.view_entries={entries}: expected [first, last], 0 <= first < last <= "
                f"{z_dim} (network.z_dim)"
            )
        inputs = 2 * (size.bit_length() - 2)  # a StyleGAN2 of that size takes so many stylecodes
        if entries and self.regression.view_layers >= inputs:
            raise UserError(
                f"regression.view_layers={self.regression.view_layers}: expected fewer than the "
                f"{inputs} style inputs of network.image_size={size}"
            )
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
