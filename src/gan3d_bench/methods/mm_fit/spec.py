"""What the `mm-fit` method is. Imports no torch."""

from gan3d_bench.spec import RECONSTRUCT, MethodSpec, Photographs

SPEC = MethodSpec(
    name="mm-fit",
    title="Fits of a morphable model to pictures of faces, by landmarks and pixels",
    paper="analysis by synthesis of Blanz and Vetter, A Morphable Model for the Synthesis of 3D "
    "Faces, SIGGRAPH 1999; the coefficients that UV generators are trained on",
    module="gan3d_bench.methods.mm_fit.method:MMFit",
    config="gan3d_bench.methods.mm_fit.config:MMFitConfig",
    presets={
        "photographs": "pictures cut as FFHQ's, images=FOLDER; half a second a face on a CPU core",
        "heads-64": "64 test heads at 64 pixels, exact landmarks, true errors; a minute",
        "check": "eight heads in a few steps, for `gan3d-bench check`",
    },
    default_preset="photographs",
    scenes={RECONSTRUCT: frozenset({"depth", "normal", "albedo", "relight", "mesh"})},
    needs=(
        "photographs: images=PATH, and the assets scrfd-500m and landmarks-106, or "
        "landmarks=face-mesh-468 with that asset and the package ai-edge-litert",
    ),
    assets=("heads",),
    status="our own fit: Gauss-Newton, then pixels; the published tool has Adam throughout",
    photographs=Photographs(preset="photographs", overrides=("data=images", "images={folder}")),
)
