"""The light descriptions of the tables of shapes, with the numbers of rows that no method owns."""

from gan3d_bench.benchmarks.columns import INDIVIDUAL, LEADS_PROTOCOL, LEFT_OUT, lead_columns
from gan3d_bench.spec import Column, Reported, TableSpec

_OF_RUN = ("lead_others", "lead_run_mean")
_TABLE_1 = "GAN2Shape (Pan et al., 2021), Table 1, BFM"


_ERRORS = (
    Column("side", "SIDE", unit="×10⁻²", digits=3),
    Column("mad", "MAD", unit="deg", digits=2),
)
_METHODS = (
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
)
_ERRORS_PROTOCOL = (
    "SIDE: standard deviation of the log-depth error. MAD: mean angle between the normals of "
    "rendered and true depth; its normals are the released code's, and its floor is the row of "
    "the true depth, not zero. Both over pixels covered by the subject in the ground truth, the "
    "mask eroded by one pixel; per image, then averaged. Pixels that a scene leaves out (last "
    "column) count with the nearest depth it gives. "
)


def _reported(table: str) -> tuple[Reported, ...]:
    """Of the rows that are no method's own; GAN2Shape's spec has the others of Table 1."""
    numbers = {
        "Constant depth": (2.723, 43.22),
        "Average ground-truth depth": (1.978, 22.99),
        "Unsup3D, symmetric": (0.807, 16.34),
        "Unsup3D, not symmetric": (1.334, 33.79),
    }
    return tuple(
        Reported(table, row, metric, value, _TABLE_1, count=500)
        for row, errors in numbers.items()
        for metric, value in zip(("side", "mad"), errors, strict=True)
    )


SPEC = TableSpec(
    name="shape",
    title="Shape from a single image: depth in the input view against ground truth",
    columns=(
        *_ERRORS,
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
        *_METHODS,
    ),
    measure="gan3d_bench.benchmarks.shape.measure:ShapeMeasure",
    protocol=(
        "Each method reconstructs held-out test images and renders depth in the input view. "
        f"{_ERRORS_PROTOCOL}The mean head, of 256 "
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
    reported=_reported("shape"),
    assets=("heads",),
)

SYNFACE = TableSpec(
    name="shape-synface",
    title="Shape from a single image: depth in the input view, Synface (BFM)",
    columns=(
        *_ERRORS,
        *(column for column in lead_columns("SIDE", unit="×10⁻²") if column.metric in _OF_RUN),
        LEFT_OUT,
    ),
    rows=(
        "True depth",
        "Constant depth",
        "Average ground-truth depth",
        "Average ground-truth depth, subject only",
        *_METHODS,
    ),
    measure="gan3d_bench.benchmarks.shape.synface:SynfaceShapeMeasure",
    protocol=(
        "The papers' own data: renderings of Basel Face Models, which their licence keeps us from "
        "shipping. Runs are fitted to the test images of the reader's folder (preset "
        "paper-synface, images=FOLDER), and measured on the first of these: 64 pixels, the middle "
        f"170 of 256. {_ERRORS_PROTOCOL}Average depth: of the first 256 training images. True "
        "views are not in the data, so there is no mean head here. Knows the subject: SIDE of "
        "the first sixteen other subjects' shapes in the place of the own one, at the run's view, "
        "less that of the own, and of their mean shape; methods whose frame is the picture's have "
        "neither. The same items for every measured row."
    ),
    bounds=("True depth",),
    reported=_reported("shape-synface"),
)
