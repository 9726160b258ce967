"""Configuration of the fits of a morphable model. Imports no torch."""

from dataclasses import dataclass, field

from gan3d_bench.config import (
    FLOAT,
    MOST_BATCH,
    MOST_ITEMS,
    MOST_SIDE,
    Need,
    RunConfig,
    key,
    pixels,
    rate_key,
    steps_key,
)
from gan3d_bench.datamodules.specs import heads_need, on_bad_key, require_data
from gan3d_bench.errors import UserError

HEADS, IMAGES = "heads", "images"  # as `data`
EXACT = "exact"
LANDMARKS = {"landmarks-106": 106, "face-mesh-468": 468, EXACT: 106}
"""Sources of landmarks, and how many they give."""
SPLITS = ("train", "val", "test")
WEIGHTS = 256  # numbers of a face, about


@dataclass
class FitKeys:
    """How a face is fitted, see `faces.morphable_fit.FitConfig`"""

    image_size: int = key(
        128, "side at which colours are compared", unit="pixels", least=16, most=MOST_SIDE
    )
    iterations: int = key(12, "steps of Gauss-Newton on the landmarks", least=3, most=1000)
    steps: int = steps_key(80, "steps of Adam on landmarks and colours; 0: landmarks only")
    lr: float = rate_key(0.1, "Adam's learning rate, in standard deviations of a weight")
    looseness: float = key(
        2.0, "landmarks deviate as their source says, times this", above=0, most=1000
    )
    colour_deviation: float = key(
        0.15, "of pixels from the model, in units of [-1, 1]", above=0, most=100
    )
    independent_pixels: float = key(300.0, "as how many pixels a face counts", least=0, most=1e6)
    light_deviation: float = key(
        0.3, "of the light's coefficients from white light from everywhere", above=0, most=100
    )
    fov: float = key(10.0, "field of view of the camera", unit="degrees", least=1, most=90)


@dataclass
class MMFitConfig(RunConfig):
    """Keys of ``fit --method mm-fit``."""

    data: str = key(
        IMAGES,
        "images: pictures with a face each, cut as FFHQ's; heads: synthetic heads, whose truth is "
        "known; or another data module that gives images",
    )
    images: str = key("", "path of the pictures: a folder, zip file or list", path=True)
    on_bad: str = on_bad_key()
    split: str = key("train", "of the data; of pictures train is all of them", choices=SPLITS)
    count: int = key(
        0, "pictures, the first ones; 0: all there are (not of heads)", least=0, most=MOST_ITEMS
    )
    image_size: int = key(
        256, "side at which landmarks are found", unit="pixels", least=16, most=MOST_SIDE
    )
    model: str = key(
        HEADS,
        "heads, or the path of a Basel Face Model: a converted file or a folder",
        path=True,
        names=(HEADS,),
    )
    landmarks: str = key(
        "landmarks-106",
        "landmarks-106 (non-commercial), face-mesh-468 (Apache-2.0), or exact: known of heads",
        choices=LANDMARKS,
    )
    deviation: float = key(
        2e-4, "of exact landmarks", unit="scene units, the face is 0.1 wide", above=0, most=1
    )
    largest_error: float = key(
        8.0,
        "of landmarks; a fit beyond counts as failed",
        unit="pixels of 256",
        above=0,
        most=MOST_SIDE,
    )
    shard: int = key(64, "pictures a step and process", least=1, most=MOST_BATCH)
    batch: int = key(16, "pictures fitted at once", least=1, most=MOST_BATCH)
    overlays: int = key(64, "faces shown on sheets; -1: all", least=-1, most=MOST_ITEMS)
    meshes: int = key(64, "faces written as GLB; -1: all", least=-1, most=MOST_ITEMS)
    fit: FitKeys = field(default_factory=FitKeys)

    def needs(self) -> list[Need]:
        """See `RunConfig.needs`: heads, a batch's images, and all faces' numbers."""
        # drawn, its fragments, and what their gradients need
        memory = pixels(self.batch, self.image_size, 3) + pixels(
            self.batch, self.fit.image_size, 48
        )
        keys = {"batch": self.batch, "image_size": self.image_size}
        faces = {"count": self.count, "shard": self.shard}
        numbers = float(max(self.count, self.shard)) * WEIGHTS * FLOAT
        found = [
            *super().needs(),
            Need(keys, "pictures fitted at once", memory),
            Need(faces, "fits", numbers),
        ]
        if self.data == HEADS:
            found.append(heads_need({"count": self.count}, self.count, self.image_size))
        return found

    def validate(self) -> None:
        super().validate()
        if self.data != IMAGES or self.images:  # of nothing yet: the method says what it lacks
            require_data("data", self.data, ("image",), path=("images", self.images))
        if self.data == HEADS and not self.count:
            raise UserError("count=0: data=heads needs a number of heads")
        if self.landmarks == EXACT and (self.data, self.model) != (HEADS, HEADS):
            raise UserError(
                f"landmarks=exact: known of data=heads and model=heads only, got data={self.data} "
                f"model={self.model}; expected landmarks-106 or face-mesh-468"
            )
