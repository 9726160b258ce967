"""The synthetic heads as a scene: exact geometry, albedo and light, from any view."""

from __future__ import annotations

from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.heads.sampling import (
    CENTRE_DEPTH,
    FIELD_OF_VIEW,
    HeadParameters,
    canonical_heads,
)
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.scenes.mesh import MeshScene


def heads_scene(
    parameters: HeadParameters,
    image_size: int = 64,
    supersample: int = 2,
    model: MorphableModel | None = None,
) -> MeshScene:
    """B heads as a mesh scene.

    At its input view it shows what `render_heads` renders, without the background. The heads'
    light, which is in camera space at that view, is the scene's own: it turns with the head.

    Args:
        parameters: B heads.
        image_size: S, the scene's own.
        supersample: sub-pixels along each axis.
        model: the head model; None loads the bundled one.
    """
    view = parameters.view
    return MeshScene(
        *canonical_heads(parameters, model),
        PinholeCamera(image_size, FIELD_OF_VIEW),
        parameters.light.in_scene(view),
        view,
        centre_depth=CENTRE_DEPTH,
        supersample=supersample,
        cull_backfaces=True,
    )
