"""The bundled cars as a scene: exact geometry, colour and light, from any view."""

from __future__ import annotations

from gan3d_bench.cars.pack import CarPack
from gan3d_bench.cars.sampling import CarParameters, canonical_car
from gan3d_bench.heads.sampling import CENTRE_DEPTH, FIELD_OF_VIEW
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.scenes.joined import JoinedScenes
from gan3d_bench.scenes.mesh import MeshScene


def cars_scene(
    parameters: CarParameters,
    image_size: int = 64,
    supersample: int = 2,
    pack: CarPack | None = None,
) -> JoinedScenes:
    """B cars as mesh scenes, one after another: each has a mesh of its own.

    At its input view it shows what `render_cars` renders, without the background. The cars' light,
    which is in camera space at that view, is the scene's own: it turns with the car.

    Args:
        parameters: B cars, at least one.
        image_size: S, the scene's own.
        supersample: sub-pixels along each axis.
        pack: the cars; None loads the bundled ones.
    """
    pack = pack or CarPack.load()
    scenes = []
    for row in range(len(parameters)):
        one = parameters[row : row + 1]
        view = one.view
        scenes.append(
            MeshScene(
                *canonical_car(parameters, row, pack),
                PinholeCamera(image_size, FIELD_OF_VIEW),
                one.light.in_scene(view),
                view,
                centre_depth=CENTRE_DEPTH,
                supersample=supersample,
                cull_backfaces=True,
            )
        )
    return JoinedScenes(scenes)
