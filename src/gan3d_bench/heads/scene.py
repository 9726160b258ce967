"""The synthetic heads as a scene: exact geometry, albedo and light, from any view."""

from __future__ import annotations

from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.heads.sampling import CENTRE_DEPTH, FIELD_OF_VIEW, HeadParameters
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.mesh import UVTexture
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
    model = model or MorphableModel.load_heads().to(parameters.identity.device)
    assert model.uvs is not None and model.face_uvs is not None, "heads are textured"
    canonical = model.vertices(parameters.identity, parameters.expression)
    view = parameters.view
    texture = model.albedo(parameters.albedo).clamp(-1, 1)
    return MeshScene(
        canonical + canonical.new_tensor([0.0, 0.0, CENTRE_DEPTH]),
        model.faces,
        UVTexture(model.uvs, model.face_uvs, texture),
        PinholeCamera(image_size, FIELD_OF_VIEW),
        parameters.light.in_scene(view),
        view,
        centre_depth=CENTRE_DEPTH,
        supersample=supersample,
        cull_backfaces=True,
    )
