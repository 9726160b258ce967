"""A car that knows nothing of a subject: the most ordinary of the training split's."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import torch

from gan3d_bench.cars.pack import LOOKS, PAINTS, CarPack
from gan3d_bench.cars.sampling import CarParameters, looks_of
from gan3d_bench.metrics.solids import chamfer_distance, surface_points

TRUE_CAR = "True car"
MEAN_CAR = "Mean car, true view"

_POINTS = 500  # enough to tell whole cars from one another


@functools.cache
def mean_shape() -> int:
    """The number in the pack of the training shape that is nearest to all others on average.

    A medoid by `chamfer_distance`, since cars have no common mesh whose vertices could be averaged.
    """
    pack = CarPack.load()
    numbers = [n for n, name in enumerate(pack.names()) if looks_of(name, pack, "train")]
    cars = [pack.cars[number] for number in numbers]
    points = [surface_points(car.vertices, car.faces, _POINTS) for car in cars]
    apart = np.zeros((len(points), len(points)))
    for a in range(len(points)):
        for b in range(a):
            apart[a, b] = apart[b, a] = chamfer_distance(points[a], points[b])
    return numbers[int(apart.mean(0).argmin())]


def mean_look() -> int:
    """Index into `LOOKS` of the paint whose colour is nearest to the mean of all paints."""
    colours = np.array(list(PAINTS.values()))
    nearest = np.linalg.norm(colours - colours.mean(0), axis=1).argmin()
    return LOOKS.index(list(PAINTS)[int(nearest)])


def as_mean_car(cars: CarParameters) -> CarParameters:
    """Cars (B) with the mean shape, unstretched, and the mean look; the rest is their own."""
    return replace(
        cars,
        shape=torch.full_like(cars.shape, mean_shape()),
        look=torch.full_like(cars.look, mean_look()),
        stretch=torch.ones_like(cars.stretch),
    )


def gone_round(cars: CarParameters, degrees: float) -> CarParameters:
    """The same cars (B) once the camera has gone round them by so much more, at its height.

    The light belongs to the scene, and turns with the car.
    """
    after = replace(cars, azimuth=(cars.azimuth + degrees) % 360)
    light = cars.light.in_scene(cars.view).in_camera(after.view)
    return replace(after, light_direction=light.direction)


def before_grey(cars: CarParameters) -> CarParameters:
    """The same cars before a plain mid-grey background."""
    return replace(cars, background=torch.zeros_like(cars.background))
