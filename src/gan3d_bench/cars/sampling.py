"""From standard normals to pictures of cars, with everything known of each.

Layout of the latent (`LAYOUT`; `NUM_LATENTS` entries, all standard normal):

=========== ====== ==================================================================
entries     number meaning
=========== ====== ==================================================================
view        4      azimuth, the direction of two entries; elevation; scale
shape       26     the car: the largest entry of those that the split shows
look        12     its look, likewise
stretch     3      factors of width, height and length
light       4      ambient, diffuse, direction x, y
background  8      see `heads.sampling.background`
=========== ====== ==================================================================

Looks are what a split may show: of each shape nine are for training, one for validation and two
for tests, others for each family of shapes; two shapes are for tests alone, with all their looks.
Scaling each axis by up to 10 % is this suite's augmentation: there are few shapes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.cars.pack import LOOKS, Car, CarPack
from gan3d_bench.geometry.views import View
from gan3d_bench.heads.sampling import (
    AMBIENT,
    CENTRE_DEPTH,
    DIFFUSE,
    FIELD_OF_VIEW,
    background,
    exact_maps,
    layout,
)
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.mesh import UVTexture, render_mesh
from gan3d_bench.rendering.shading import LambertLight

CAR_LENGTH = 0.145  # scene units of a car at scale 1; the image spans 0.175 at the centre's depth
ELEVATION = (0.0, 30.0)  # degrees, as StyleGAN-R finds them in StyleGAN's cars
SCALE = (0.85, 1.05)
STRETCH = 0.1
CARS = 26  # of the bundled pack
CHOSEN = 3.0  # the entry of `described` that stands for a car or a look; the others are 0

_SIZES = (
    ("view", 4), ("shape", CARS), ("look", len(LOOKS)), ("stretch", 3), ("light", 4),
    ("background", 8),
)  # fmt: skip
LAYOUT: dict[str, slice] = layout(_SIZES)
NUM_LATENTS: int = sum(size for _, size in _SIZES)

HELD_OUT = ("car8-trb1", "renault-scenic")
"""Shapes that only tests show."""

FAMILIES = {
    "car1-trb3": "car1-trb1",
    "concept-sedan-01v2": "concept-sedan-01v1",
    "concept-sedan-02-sport": "concept-sedan-02",
}
"""Shapes that differ little from another one, and so share with it which look is whose."""

Split = Literal["train", "val", "test"]
_ROLES: tuple[Split, ...] = ("val", "test", "test", *["train"] * 9)  # type: ignore[assignment]
_TURN = 5  # looks further for each next shape: it has no factor in common with their number


@dataclass(frozen=True)
class CarParameters:
    """Everything that makes B pictures of cars.

    Attributes:
        shape: (B,) int64, the car's number in the pack.
        look: (B,) int64, index into `cars.pack.LOOKS`.
        azimuth: (B,) degrees in [0, 360): how far the camera has gone round the car towards the
            image's right; at 0 the car faces it.
        elevation: (B,) degrees, how high the camera is.
        scale: (B,) length of the car over `CAR_LENGTH`: nearer or farther, at this distance.
        stretch: (B, 3) factors of the car's width, height and length.
        ambient, diffuse: (B,) weights of the light.
        light_direction: (B, 3) unit, towards the light, camera space.
        background: (B, 8) coefficients of the background picture.
    """

    shape: Tensor
    look: Tensor
    azimuth: Tensor
    elevation: Tensor
    scale: Tensor
    stretch: Tensor
    ambient: Tensor
    diffuse: Tensor
    light_direction: Tensor
    background: Tensor

    @property
    def view(self) -> View:
        """The views (B); with `PinholeCamera(size, FIELD_OF_VIEW)` the exact cameras."""
        return View.from_orbit(self.azimuth, self.elevation, centre_depth=CENTRE_DEPTH)

    @property
    def light(self) -> LambertLight:
        """The lights (B)."""
        return LambertLight(self.ambient, self.diffuse, self.light_direction)

    def __len__(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: slice | Tensor) -> CarParameters:
        """Choose some of the B pictures."""
        return CarParameters(*(getattr(self, f.name)[index] for f in fields(self)))


def looks_of(name: str, pack: CarPack, split: Split) -> list[int]:
    """Looks of a shape that a split may show; empty if it shows none."""
    if name in HELD_OUT:
        return list(range(len(LOOKS))) if split == "test" else []
    place = _TURN * pack.names().index(FAMILIES.get(name, name))
    return [k for k in range(len(LOOKS)) if _ROLES[(k + place) % len(LOOKS)] == split]


def sample_cars(latents: Tensor, split: Split, pack: CarPack | None = None) -> CarParameters:
    """Make cars of standard normals (B, NUM_LATENTS), see the top of this module.

    So that shapes are equally likely, looks of a shape too; azimuth, elevation, scale and stretch
    are uniform; light and background are distributed as those of the heads. Factors of a latent as
    a whole, which StyleGAN2's mapping network takes away, change neither azimuth nor car.

    Args:
        latents: what is beyond NUM_LATENTS is not looked at.
        split: whose shapes and looks.
        pack: the cars; None loads the bundled ones.
    """
    pack = pack or CarPack.load()
    looks = [looks_of(name, pack, split) for name in pack.names()]
    part = {name: latents[:, where] for name, where in LAYOUT.items()}
    shape = _largest(part["shape"], torch.tensor([[bool(found) for found in looks]]))
    shown = torch.zeros(len(looks), len(LOOKS), dtype=torch.bool)
    for number, found in enumerate(looks):
        shown[number, found] = True
    view, light = part["view"], part["light"]
    uniform = torch.special.ndtr(torch.cat((view[:, 2:], part["stretch"], light[:, :2]), 1))
    slopes = light[:, 2:] * light.new_tensor([0.7, 0.45]) + light.new_tensor([0.0, -0.35])
    direction = torch.cat((slopes, -torch.ones_like(slopes[:, :1])), 1)
    return CarParameters(
        shape=shape,
        look=_largest(part["look"], shown[shape]),
        azimuth=torch.atan2(view[:, 1], view[:, 0]).rad2deg() % 360,
        elevation=_between(uniform[:, 0], *ELEVATION),
        scale=_between(uniform[:, 1], *SCALE),
        stretch=1 + STRETCH * (2 * uniform[:, 2:5] - 1),
        ambient=_between(uniform[:, 5], *AMBIENT),
        diffuse=_between(uniform[:, 6], *DIFFUSE),
        light_direction=F.normalize(direction, dim=1),
        background=part["background"],
    )


def described(latents: Tensor, split: Split, pack: CarPack | None = None) -> Tensor:
    """What the pictures of latents (B, NUM_LATENTS) show, in numbers of about unit size, as many.

    Laid out as the latents are, with the choices made and what is uniform as such: the azimuth's
    direction; elevation, scale, stretch, ambient and diffuse light between -1.7 and 1.7 (mean 0,
    deviation 1); `CHOSEN` in the entry of the car and of the look. A linear network can show
    pictures of these; of the latents it cannot, for it would have to find the largest entry.

    Args:
        latents, split, pack: as of `sample_cars`.
    """
    cars = sample_cars(latents, split, pack)
    azimuth, light = cars.azimuth.deg2rad(), latents[:, LAYOUT["light"]]
    uniform = (
        (cars.elevation, *ELEVATION),
        (cars.scale, *SCALE),
        *((stretch, 1 - STRETCH, 1 + STRETCH) for stretch in cars.stretch.unbind(1)),
        (cars.ambient, *AMBIENT),
        (cars.diffuse, *DIFFUSE),
    )
    elevation, scale, *stretch, ambient, diffuse = (
        math.sqrt(12) * ((x - low) / (high - low) - 0.5) for x, low, high in uniform
    )
    return torch.cat(
        (
            math.sqrt(2) * torch.stack((azimuth.cos(), azimuth.sin()), 1),
            torch.stack((elevation, scale), 1),
            CHOSEN * F.one_hot(cars.shape, CARS),
            CHOSEN * F.one_hot(cars.look, len(LOOKS)),
            torch.stack((*stretch, ambient, diffuse), 1),
            light[:, 2:],
            cars.background,
        ),
        1,
    )


def _largest(entries: Tensor, allowed: Tensor) -> Tensor:
    """Index (B,) of the largest entry (B, N) of those allowed (B or 1, N)."""
    return entries.masked_fill(~allowed, -math.inf).argmax(1)


def _between(uniform: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * uniform


def canonical_car(
    parameters: CarParameters, row: int, pack: CarPack
) -> tuple[Tensor, Tensor, UVTexture]:
    """One car as a textured mesh where the camera sees it at the canonical view, from the front.

    Args:
        parameters: B cars.
        row: which.
        pack: the cars.

    Returns:
        vertices (1, V, 3) in camera space, faces (F, 3), and the albedo.
    """
    car: Car = pack.cars[int(parameters.shape[row])]
    size = CAR_LENGTH * parameters.scale[row] * parameters.stretch[row]
    centre = car.vertices.new_tensor([0.0, 0.0, CENTRE_DEPTH])
    texture = car.texture(int(parameters.look[row]))
    return (
        (car.vertices * size + centre)[None],
        car.faces,
        UVTexture(car.uvs, car.face_uvs, texture[None]),
    )


def render_cars(
    parameters: CarParameters,
    image_size: int = 64,
    supersample: int = 2,
    pack: CarPack | None = None,
) -> dict[str, Tensor]:
    """Render cars with exact ground truth, one after another: each has a mesh of its own.

    Args:
        parameters: B cars, at least one.
        image_size: S.
        supersample: sub-pixels along each axis.
        pack: the cars; None loads the bundled ones.

    Returns:
        As `heads.sampling.render_heads`: image, depth, normal, albedo, mask.
    """
    pack = pack or CarPack.load()
    camera = PinholeCamera(image_size, FIELD_OF_VIEW)
    drawn = []
    for row in range(len(parameters)):
        one = parameters[row : row + 1]
        vertices, faces, surface = canonical_car(parameters, row, pack)
        rendering = render_mesh(
            one.view.transform(vertices),
            faces,
            surface,
            camera,
            light=one.light,
            supersample=supersample,
            cull_backfaces=True,
        )
        drawn.append(exact_maps(rendering, background(one.background, image_size)))
    return {name: torch.cat([maps[name] for maps in drawn]) for name in drawn[0]}
