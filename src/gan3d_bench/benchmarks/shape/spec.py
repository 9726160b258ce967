"""The light description of table `shape`, with the numbers of rows that no method owns."""

from gan3d_bench.benchmarks.columns import INDIVIDUAL, LEADS_PROTOCOL, LEFT_OUT, lead_columns
from gan3d_bench.spec import Column, Reported, TableSpec

_TABLE_1 = "GAN2Shape (Pan et al., 2021), Table 1, BFM"


def _reported(row: str, side: float, mad: float) -> tuple[Reported, Reported]:
    return (
        Reported("shape", row, "side", side, _TABLE_1, count=500),
        Reported("shape", row, "mad", mad, _TABLE_1, count=500),
    )


SPEC = TableSpec(
    name="shape",
    title="Shape from a single image: depth in the input view against ground truth",
    columns=(
        Column("side", "SIDE", unit="×10⁻²", digits=3),
        Column("mad", "MAD", unit="deg", digits=2),
        *lead_columns("SIDE", unit="×10⁻²"),
        INDIVIDUAL,
        LEFT_OUT,
    ),
    rows=(
        "True depth",
        "Supervised",
        "Constant depth",
        "Average ground-truth depth",
        "Average ground-truth depth, subject only",
        "Ellipsoid, true view",
        "Mean head, true view",
        "Unsup3D, symmetric",
        "GAN2Shape, symmetric, no regularisation",
        "GAN2Shape, symmetric",
        "Unsup3D, not symmetric",
        "GAN2Shape, not symmetric",
        "GAN2Shape, asymmetric prior",
        "GAN2Shape, prior shifted by w/6",
        "GAN2Shape, prior shifted by w/4",
        "GAN2Shape, weak prior",
        "GAN2Shape, flat prior",
    ),
    measure="gan3d_bench.benchmarks.shape.measure:ShapeMeasure",
    protocol=(
        "Each method reconstructs held-out test images and renders depth in the input view. SIDE:"
        " standard deviation of the log-depth error. MAD: mean angle between the normals of "
        "rendered and true depth; its normals are the released code's, and its floor is the row "
        "of the true depth, not zero. Both over pixels covered by the subject in the ground "
        "truth, the mask eroded by one pixel; per image, then averaged. Pixels that a scene "
        "leaves out (last column) count with the nearest depth it gives. The mean head, of 256 "
        "training heads, and the ellipsoid, GAN2Shape's prior over its outline, are shown at the "
        f"true view, which no method is told. {LEADS_PROTOCOL}The same items for every measured "
        "row."
    ),
    bounds=("True depth",),
    versions=(
        "first",
        "pixels that a scene leaves out count; the mean head, the ellipsoid and "
        "the true depth are rows; other subjects' shapes are compared with the own",
    ),
    reported=(
        *_reported("Constant depth", 2.723, 43.22),
        *_reported("Average ground-truth depth", 1.978, 22.99),
        *_reported("Unsup3D, symmetric", 0.807, 16.34),
        *_reported("Unsup3D, not symmetric", 1.334, 33.79),
    ),
    assets=("heads",),
)
