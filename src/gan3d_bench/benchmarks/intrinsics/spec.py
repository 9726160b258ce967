"""The light description of table `intrinsics`; ours, no paper could have it."""

from gan3d_bench.benchmarks.columns import LEFT_OUT
from gan3d_bench.spec import Column, TableSpec

SPEC = TableSpec(
    name="intrinsics",
    title="Albedo and normals of a single image against exact ground truth",
    columns=(
        Column("albedo", "Albedo error", digits=4),
        Column("normal", "Normal error", unit="deg", digits=2),
        LEFT_OUT,
    ),
    rows=(
        "Input image as albedo",
        "Frontal normals",
        "Ellipsoid, true view",
        "Mean head, true view",
        "Supervised",
        "GAN2Shape",
        "LiftedGAN",
        "UV 3DMM",
        "Linear regression on EG3D",
        "W_tri",
    ),
    measure="gan3d_bench.benchmarks.intrinsics.measure:IntrinsicsMeasure",
    protocol=(
        "Each method reconstructs held-out test images; albedo and normals in the input view, "
        "over the pixels of the true head; where a scene renders nothing (last column) its own "
        "mean colour and frontal normals count. The mean head, of 256 training heads, and the "
        "ellipsoid, GAN2Shape's prior over its outline, are told the true view. Albedo error: "
        "root mean square difference of albedos in [0, 1] after the best scale of each channel "
        "(Grosse et al. 2009). Normal error: mean angle to the true normals of the mesh, which "
        "unlike MAD has no floor."
    ),
    assets=("heads",),
    versions=(
        "first",
        "pixels that a scene leaves out count as its mean colour and as frontal; the mean head and "
        "the ellipsoid are rows",
    ),
)
