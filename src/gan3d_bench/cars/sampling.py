"""From random numbers to pictures of cars, with everything known of each.

Looks are what a split may show: of each shape nine are for training, one for validation and two
for tests, others for each family of shapes; two shapes are for tests alone, with all their looks.
Scaling each axis by up to 10 % is this suite's augmentation: there are few shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
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
)
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.mesh import UVTexture, render_mesh
from gan3d_bench.rendering.shading import LambertLight

CAR_LENGTH = 0.145  # scene units of a car at scale 1; the image spans 0.175 at the centre's depth
ELEVATION = (0.0, 30.0)  # degrees, as StyleGAN-R finds them in StyleGAN's cars
SCALE = (0.85, 1.05)
STRETCH = 0.1
BACKGROUND = 8  # coefficients, see `heads.sampling.background`

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


def sample_cars(
    generators: Sequence[torch.Generator], split: Split, pack: CarPack | None = None
) -> CarParameters:
    """Draw one car from each generator.

    Shapes are equally likely, looks of a shape too; azimuth, elevation, scale and stretch are
    uniform; light and background are distributed as those of the heads.

    Args:
        generators: B, one a car.
        split: whose shapes and looks.
        pack: the cars; None loads the bundled ones.
    """
    pack = pack or CarPack.load()
    looks = [looks_of(name, pack, split) for name in pack.names()]
    shapes = [number for number, found in enumerate(looks) if found]
    uniform, normal = torch.empty(len(generators), 10), torch.empty(len(generators), 2 + BACKGROUND)
    for row, generator in enumerate(generators):
        uniform[row] = torch.rand(10, generator=generator)
        normal[row] = torch.randn(2 + BACKGROUND, generator=generator)
    shape = [shapes[int(u * len(shapes))] for u in uniform[:, 0]]
    look = [looks[s][int(u * len(looks[s]))] for s, u in zip(shape, uniform[:, 1], strict=True)]
    slopes = normal[:, :2] * normal.new_tensor([0.7, 0.45]) + normal.new_tensor([0.0, -0.35])
    direction = torch.cat((slopes, -torch.ones_like(slopes[:, :1])), 1)
    return CarParameters(
        shape=torch.tensor(shape, dtype=torch.int64),
        look=torch.tensor(look, dtype=torch.int64),
        azimuth=360 * uniform[:, 2],
        elevation=_between(uniform[:, 3], *ELEVATION),
        scale=_between(uniform[:, 4], *SCALE),
        stretch=1 + STRETCH * (2 * uniform[:, 5:8] - 1),
        ambient=_between(uniform[:, 8], *AMBIENT),
        diffuse=_between(uniform[:, 9], *DIFFUSE),
        light_direction=F.normalize(direction, dim=1),
        background=normal[:, 2:],
    )


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
