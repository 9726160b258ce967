"""Light specs of the data modules, and what their items may hold. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from gan3d_bench.config import BYTE, FLOAT, Need, key, pixels, require
from gan3d_bench.errors import UserError
from gan3d_bench.registry import registry
from gan3d_bench.spec import DataModuleSpec

OnBad = Literal["refuse", "skip"]
ON_BAD: tuple[OnBad, ...] = get_args(OnBad)


def on_bad_key() -> Any:
    """Declare what is done with pictures that cannot be used."""
    return key("refuse", "pictures that cannot be used: refuse, or skip and say", choices=ON_BAD)


KEYS: Mapping[str, str] = {
    "image": "(3, S, S) float in [-1, 1]",
    "depth": "(1, S, S) float, camera z in scene units within [0.9, 1.1]; 1.1 is background",
    "mask": "(1, S, S) float in [0, 1], the part of each pixel that the subject covers",
    "normal": "(3, S, S) float, unit vectors in camera space; (0, 0, -1) faces the camera",
    "albedo": "(3, S, S) float in [-1, 1]",
    "angles": "(3,) float: yaw, pitch and roll of the subject in degrees",
    "azimuth": "() float, degrees 0 to 360 round the subject, the camera to the image's right",
    "elevation": "() float, degrees, the camera above the subject",
    "translation": "(3,) float, shift of the subject in scene units",
    "ambient": "() float, weight of the light from everywhere",
    "diffuse": "() float, weight of the light from `light_direction`",
    "light_direction": "(3,) float, unit vector towards the light, camera space",
    "latents": "(Z,) float, the standard normals that the item was made of",
    "latent": "(W,) float, a teacher's stylecode of the image",
    "person": "int from 0: whose picture it is; the data set has all as `person`, (N,) int64",
    "name": "str, the name of the picture's file",
    "index": "int, the number of the item in its split",
}
"""What the items of data modules hold under which name, one item each. S is `image_size`. Modules
may give more under names of their own."""

HEADS = DataModuleSpec(
    name="heads",
    title="synthetic heads with exact depth, normals, albedo, mask and coefficients, any size",
    module="gan3d_bench.datamodules.heads:HeadsDataModule",
    gives=(
        *("image", "depth", "mask", "normal", "albedo", "angles", "translation"),
        *("ambient", "diffuse", "light_direction", "latents", "index"),
    ),
)

CARS = DataModuleSpec(
    name="cars",
    title="real cars from all round with exact depth, normals, albedo, mask and camera, any size",
    module="gan3d_bench.datamodules.cars:CarsDataModule",
    gives=(
        *("image", "depth", "mask", "normal", "albedo", "angles", "azimuth", "elevation"),
        *("translation", "ambient", "diffuse", "light_direction", "latents", "index"),
    ),
)

HEADS_360 = DataModuleSpec(
    name="heads-360",
    title="the synthetic heads seen from all round, with exact camera too, any size",
    module="gan3d_bench.datamodules.heads_360:Heads360DataModule",
    gives=(*HEADS.gives, "azimuth", "elevation"),
)

SYNFACE = DataModuleSpec(
    name="synface",
    title="Synface (Basel Face Model renders), the benchmark of Unsup3D and GAN2Shape",
    module="gan3d_bench.datamodules.synface:SynfaceDataModule",
    gives=("image", "depth", "name"),
    path="the synface folder ({train,val,test}/{image,depth}/*.png)",
)

IMAGES = DataModuleSpec(
    name="images",
    title="your own pictures: a folder, zip file or list, as squares or FFHQ-aligned faces",
    module="gan3d_bench.datamodules.images:ImageFolderDataModule",
    gives=("image", "name"),
    path="the path of the images: a folder, zip file or list",
)


HEAD_BYTES = 15  # a pixel of a rendered head's maps in the cache
HEAD_NUMBERS = 400  # latents and coefficients of a head in memory


def heads_need(keys: Mapping[str, Any], count: int, image_size: int, what: str = "heads") -> Need:
    """Return what it takes to render heads, with all their maps; or cars, which have the same.

    Args:
        keys: that decide how many, with their values.
        count: of heads.
        image_size: pixels a side.
        what: is rendered.
    """
    return Need(
        dict(keys),
        f"{count} rendered {what}",
        memory=float(count) * HEAD_NUMBERS * FLOAT,
        disk=pixels(count, image_size, HEAD_BYTES, BYTE),
    )


def require_data(
    key: str, name: str, needs: Sequence[str], *, path: tuple[str, str], own: Sequence[str] = ()
) -> None:
    """Check, before any work, that a config names data that a method can use.

    Args:
        key, name: the config's key and its value.
        needs: what the method takes from the items, see `KEYS`.
        path: the key that the data's path is given by, and its value.
        own: names that the method itself stands for.

    Raises:
        UserError: no such data module, one that does not give all of `needs`, or no path for one
            that needs one.
    """
    if name in own:
        return
    own = [word for word in own if word]
    known = registry("datamodules")
    giving = [n for n in known.names() if set(needs) <= set(known.specs[n].gives)]
    if name not in known.broken:
        choices = (*own, *(known.specs if name in known.specs else giving))
        require(key, name, choices=choices)
    spec: DataModuleSpec = known.get(name)
    missing = [need for need in needs if need not in spec.gives]
    if missing:
        raise UserError(
            f"{key}={name!r}: gives {', '.join(spec.gives) or 'nothing'} but no "
            f"{' and no '.join(missing)}; expected {' or '.join([*own, *giving])}"
        )
    path_key, value = path
    if spec.path and not value:
        raise UserError(f"{path_key}='': {key}={name} needs {spec.path}")
