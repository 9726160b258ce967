"""The light description of table `intrinsics`; ours, no paper could have it."""

from gan3d_bench.spec import Column, TableSpec

SPEC = TableSpec(
    name="intrinsics",
    title="Albedo and normals of a single image against exact ground truth",
    columns=(
        Column("albedo", "Albedo error", digits=4),
        Column("normal", "Normal error", unit="deg", digits=2),
    ),
    rows=("Input image as albedo", "Frontal normals", "Supervised", "GAN2Shape", "LiftedGAN"),
    measure="gan3d_bench.benchmarks.intrinsics.measure:IntrinsicsMeasure",
    protocol=(
        "Each method reconstructs held-out test images; albedo and normals in the input view, over "
        "the pixels of the true head that the method renders. Albedo error: root mean square "
        "difference of albedos in [0, 1] after the best scale of each channel (Grosse et al. "
        "2009). Normal error: mean angle to the true normals of the mesh, which unlike MAD has no "
        "floor."
    ),
    assets=("heads",),
)
