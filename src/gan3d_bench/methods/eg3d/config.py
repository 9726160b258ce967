"""Configuration of EG3D training. Imports no torch."""

import math
from dataclasses import dataclass, field
from typing import Any

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
    Need,
    RunConfig,
    factor_key,
    key,
    pixels,
    rate_key,
    steps_key,
    weight_key,
)
from gan3d_bench.datamodules.specs import on_bad_key
from gan3d_bench.errors import UserError

PERCEPTUAL = ("none", "lpips-vgg", "lpips-alex")
PLANE_AXES = ("corrected", "released")
IMAGE_SIZES = {
    "small-2x": 64,
    "hybrid-2x": 128,
    "hybrid-4x": 256,
    "hybrid-8x": 512,
    "hybrid-8xdc": 512,
}
"""Super-resolution -> side of the images in pixels."""
HEAD_LATENTS = 140  # of a head without its view
HEAD_FIELD_OF_VIEW = 10.0  # degrees
MOST_SAMPLES = 1024  # of a ray in each pass
MOST_LENGTH = 1000.0  # scene units


def length_key(default: float, help: str, **limits: Any) -> Any:
    """Declare a length in scene units."""
    return key(default, help, unit="scene units", most=MOST_LENGTH, **limits)


@dataclass
class NetworkConfig:
    """Architecture of generator and discriminator; the defaults are those of heads."""

    super_resolution: str = key(
        "small-2x", "network that makes the images, of 64 to 512 pixels", choices=IMAGE_SIZES
    )
    sr_clamp: float = weight_key(0.0, "limit of its activations; 0: none")
    volume_size: int = key(
        32, "side of the volume's picture", unit="pixels", least=8, most=MOST_SIDE
    )
    plane_size: int = key(
        64, "side of the planes", unit="texels", least=8, most=MOST_SIDE, power_of_two=True
    )
    plane_channels: int = key(16, "channels of a plane", above=0, most=MOST_CHANNELS)
    plane_axes: str = key("corrected", "which axes the planes lie along", choices=PLANE_AXES)
    z_dim: int = key(HEAD_LATENTS, "length of latents z", above=0, most=MOST_CHANNELS)
    w_dim: int = key(160, "length of stylecodes w", above=0, most=MOST_CHANNELS)
    mapping_layers: int = key(2, "layers of the mapping network", above=0, most=64)
    label_scale: float = factor_key(
        1.0, "factor on the camera that the mapping network is told; 0: it is told nothing"
    )
    channel_base: int = key(
        32768,
        "channels at a resolution are min(channel_base // resolution, channel_max)",
        above=0,
        most=1048576,
    )
    channel_max: int = key(512, "most channels at any resolution", above=0, most=MOST_CHANNELS)
    channels: dict[int, int] = key(
        {},
        "channels of the planes' network by resolution, in the place of that rule if not empty",
        above=0,
        most=MOST_CHANNELS,
    )
    features: int = key(16, "colour features of the volume", least=3, most=MOST_CHANNELS)
    decoder_width: int = key(32, "width of the decoder", above=0, most=MOST_CHANNELS)
    decoder_lr: float = factor_key(1.0, "learning-rate multiplier of the decoder", above=0)
    start_density: float = key(
        0.0, "raw density everywhere in an untrained volume", least=-1000, most=1000
    )
    box: float = length_key(0.24, "side of the cube that the planes cover", above=0)
    rays: list[float] = key(
        [0.87, 1.14],
        "distances between which rays are sampled; []: where they cross the cube",
        unit="scene units",
        least=0,
        most=MOST_LENGTH,
    )
    coarse_samples: int = key(12, "samples of a ray", least=4, most=MOST_SAMPLES)
    fine_samples: int = key(12, "more of them where these saw something", least=0, most=1024)
    points_at_once: int = key(
        2**18,
        "points of the volume that are looked at together; of more, what the gradient needs is "
        "computed twice",
        least=2**10,
        most=2**30,
    )
    white_back: bool = key(False, "whether empty space is white instead of black")
    radius: float = length_key(1.0, "distance of the cameras from the origin", above=0)
    pivot: list[float] = key(
        [0.0, 0.0, 0.0],
        "what cameras look at, x right, y up, z towards the camera",
        unit="scene units",
        length=3,
        least=-MOST_LENGTH,
        most=MOST_LENGTH,
    )
    focal: float = factor_key(
        0.0, "focal length in sides of the image; 0: of the camera that sees synthetic heads"
    )
    discriminator_channels: dict[int, int] = key(
        {}, "channels of the discriminator, likewise", above=0, most=MOST_CHANNELS
    )
    discriminator_mapping: int = key(
        8, "layers that map the camera for the discriminator", above=0, most=64
    )
    discriminator_clamp: float = weight_key(0.0, "limit of its activations; 0: none")
    stddev_group: int = key(
        4, "images that share one minibatch standard deviation", above=0, most=MOST_BATCH
    )
    generator: str = key(
        "", "saved generator to start from; its architecture replaces the above", path=True
    )
    discriminator: str = key("", "saved discriminator to start from; likewise", path=True)

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return IMAGE_SIZES[self.super_resolution]

    @property
    def focal_length(self) -> float:
        """In sides of the image; that of heads spans their field of view between pixel centres."""
        size = self.image_size
        heads = (size - 1) / size / (2 * math.tan(math.radians(HEAD_FIELD_OF_VIEW) / 2))
        return self.focal or heads


@dataclass
class DataConfig:
    """Where the real images and their cameras come from."""

    path: str = key(
        "", "folder of square pictures and EG3D's dataset.json; '': synthetic heads", path=True
    )
    count: int = key(8192, "synthetic heads to render and cache", above=0, most=MOST_ITEMS)
    views: int = key(4, "cameras of each of them, its own among them", above=0, most=256)
    spread: float = factor_key(
        1.5, "how much farther the other cameras turn and move than heads do by themselves"
    )
    mirror: bool = key(False, "also show images mirrored, as the mirrored camera sees them")
    on_bad: str = on_bad_key()


@dataclass
class VolumeFade:
    """A picture of the volume that is smaller at first."""

    start_volume_size: int = key(
        0,
        "side of the volume's picture at first; 0: network.volume_size",
        unit="pixels",
        least=8,
        also=(0,),
        most=MOST_SIDE,
    )
    volume_fade_kimg: float = weight_key(
        1000.0, "time in which it grows to network.volume_size", unit="thousand images"
    )


@dataclass
class EllipsoidConfig:
    """What volumes are before they have seen a picture."""

    steps: int = steps_key(0, "steps in which volumes become an ellipsoid")
    lr: float = rate_key(5e-3, "Adam's learning rate")
    axes: list[float] = key(
        [0.05, 0.078, 0.062],
        "half axes: to the side, up, to the front",
        unit="scene units",
        length=3,
        above=0,
        most=MOST_LENGTH,
    )
    density: float = factor_key(100.0, "raw density inside", above=0)
    points: int = key(4000, "points of each volume, of either kind", above=0, most=1_000_000)


@dataclass
class RegressionConfig(VolumeFade):
    """Warm start: heads, from their latents, as several exact cameras see them."""

    steps: int = steps_key(0, "steps of the warm start")
    views: int = key(2, "cameras of a head in a step", above=0, most=256)
    lr: float = rate_key(1e-2, "Adam's learning rate")
    lr_end: float = factor_key(0.05, "factor on lr at the end of the cosine")
    mapping_lr: float = factor_key(
        20.0, "factor on the rate of the mapping network, whose layers scale it by 0.01"
    )
    warmup: int = steps_key(100, "steps of linear warm-up")
    linear_mapping: bool = key(
        False, "start the mapping network as a linear map, w = (z, part of the camera's embedding)"
    )
    pixel: float = weight_key(1.0, "weight of L1")
    edges: float = weight_key(0.0, "weight of L1 between finite differences")
    raw: float = weight_key(1.0, "factor on the same losses of the volume's picture")
    perceptual: str = key("none", "network of the perceptual loss", choices=PERCEPTUAL)
    perceptual_weight: float = weight_key(0.2, "weight of the perceptual loss")
    raw_perceptual: bool = key(True, "whether the volume's picture has that loss, too")


@dataclass
class DensityConfig:
    """Density regularisation: neighbouring points of a volume are alike."""

    density: float = weight_key(0.25, "weight of density regularisation")
    density_interval: int = steps_key(4, "updates of the generator between two of it", above=0)
    density_points: int = key(1000, "points of each volume", above=0, most=1_000_000)
    density_box: float = length_key(2.0, "side of the cube that they lie in", above=0)
    density_distance: float = length_key(
        0.004, "standard deviation of the distance of neighbours along each axis", above=0
    )


@dataclass
class AdversarialConfig(adversarial.AdversarialConfig, DensityConfig, VolumeFade):
    """Training against the dual discriminator."""

    swap: float = key(
        0.5, "probability that the generator is told another camera than it is seen by",
        least=0, most=1,
    )  # fmt: skip
    swap_fade_kimg: float = weight_key(
        1000.0, "time in which it falls from 1 to that", unit="thousand images"
    )
    blur: float = key(
        0.0, "standard deviation of the blur at first", unit="pixels", least=0, most=64
    )
    blur_fade_kimg: float = weight_key(200.0, "time until it is gone", unit="thousand images")
    anchor: float = weight_key(0.0, "weight of the warm start's losses")
    anchor_end: float = factor_key(1.0, "factor on `anchor` at the end")
    anchor_views: int = key(1, "cameras of a head in these", above=0, most=256)


@dataclass
class EG3DTrainingConfig(RunConfig):
    """Keys of ``fit --method eg3d``."""

    batch: int = key(32, "images a step over all processes", above=0, most=MOST_BATCH)
    ema_kimg: float = weight_key(
        10.0, "half-life of the averaged weights", unit="thousand images", above=0
    )
    ema_rampup: float = factor_key(
        0.05, "half-life is at most this share of the images seen; 0: no limit"
    )
    network: NetworkConfig = field(default_factory=NetworkConfig)
    data: DataConfig = field(default_factory=DataConfig)
    ellipsoid: EllipsoidConfig = field(default_factory=EllipsoidConfig)
    regression: RegressionConfig = field(default_factory=RegressionConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return self.network.image_size

    @property
    def uses_heads(self) -> bool:
        """Whether the images are synthetic heads, which come with latents."""
        return not self.data.path

    @property
    def uses_pairs(self) -> bool:
        """Whether pictures are compared with those of their latents."""
        return self.regression.steps > 0 or self.adversarial.anchor > 0

    def needs(self) -> list[Need]:
        """See `RunConfig.needs`: heads, a batch's images, and the samples of its rays."""
        data, network, size = self.data, self.network, self.network.image_size
        views = self.regression.views if self.uses_pairs else 1
        samples = network.coarse_samples + network.fine_samples
        seen = pixels(self.batch * views, network.volume_size, samples * (3 + network.features))
        keys = {
            "batch": self.batch,
            "network.volume_size": network.volume_size,
            "network.coarse_samples + fine_samples": samples,
        }
        images = Need(
            {"batch": self.batch}, "images of a step", pixels(self.batch * views, size, 6)
        )
        found = [*super().needs(), images, Need(keys, "samples of a step", seen)]
        if self.uses_heads:
            numbers = float(data.count) * (network.z_dim + data.views * 25)
            disk = pixels(data.count * data.views, size, 3, BYTE) + numbers * HALF
            what = f"{data.count} heads rendered for {data.views} cameras"
            keys = {"data.count": data.count, "data.views": data.views}
            found.append(Need(keys, what, numbers * FLOAT, disk))
        return found

    def validate(self) -> None:
        super().validate()
        self.adversarial.validate()
        if max(self.ellipsoid.axes) > self.network.box / 2 and self.ellipsoid.steps:
            raise UserError(
                f"ellipsoid.axes={self.ellipsoid.axes}: expected at most half of network.box="
                f"{self.network.box:g}"
            )
        if not self.regression.steps + self.adversarial.steps:
            raise UserError("regression.steps + adversarial.steps = 0: expected at least one step")
        self._validate_data()
        self._validate_network()

    def _validate_data(self) -> None:
        if self.uses_pairs and not self.uses_heads:
            raise UserError(
                f"data.path={self.data.path}: pictures without latents; expected '' for "
                "regression.steps > 0 or adversarial.anchor > 0"
            )
        if self.uses_heads and self.network.z_dim < HEAD_LATENTS and not self.network.generator:
            raise UserError(
                f"network.z_dim={self.network.z_dim}: expected at least {HEAD_LATENTS}, the "
                "latents of synthetic heads"
            )
        network = self.network
        if self.uses_heads and not network.generator and (network.focal, network.radius) != (0, 1):
            raise UserError(
                f"data.path='': expected pictures for network.focal={network.focal:g}, "
                f"network.radius={network.radius:g}; synthetic heads are seen with 0 and 1"
            )
        if not self.uses_heads and not network.focal:
            raise UserError("network.focal=0: expected that of the cameras in data.path")
        views = {
            "regression.views": self.regression.views,
            "adversarial.anchor_views": self.adversarial.anchor_views,
        }
        for name, count in views.items():
            if self.uses_pairs and count > self.data.views:
                raise UserError(
                    f"{name}={count}: expected at most the {self.data.views} of data.views"
                )

    def _validate_network(self) -> None:
        network = self.network
        for name, size in (("channels", network.plane_size), ("discriminator_channels",
                           network.image_size)):  # fmt: skip
            table = getattr(network, name)
            sides = [2**power for power in range(2, size.bit_length())]
            if table and sorted(table) != sides:
                raise UserError(f"network.{name}={table}: expected the channels at {sides}")
        if network.rays and not (len(network.rays) == 2 and 0 < network.rays[0] < network.rays[1]):
            raise UserError(f"network.rays={network.rays}: expected 0 < first < last, or []")
        if max(abs(x) for x in network.pivot) >= network.radius:
            raise UserError(
                f"network.pivot={network.pivot}: expected numbers within network.radius="
                f"{network.radius:g} of the origin"
            )
        for name in ("regression", "adversarial"):
            start = getattr(self, name).start_volume_size
            if start > network.volume_size:
                raise UserError(
                    f"{name}.start_volume_size={start}: expected at most the "
                    f"{network.volume_size} of network.volume_size"
                )
        if network.super_resolution == "hybrid-4x" and network.volume_size > 128:
            raise UserError(
                f"network.volume_size={network.volume_size}: expected at most 128 for "
                "network.super_resolution=hybrid-4x"
            )
        linear = self.regression.linear_mapping and not network.generator
        if linear and (network.mapping_layers % 2 or network.w_dim < network.z_dim):
            raise UserError(
                f"regression.linear_mapping=true: z_dim {network.z_dim}, w_dim {network.w_dim}, "
                f"{network.mapping_layers} layers; expected w_dim no less than z_dim and an even "
                "number of layers"
            )
