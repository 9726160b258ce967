"""The light description of table `novel-view`; ours, no paper could have it."""

from gan3d_bench.benchmarks.columns import INDIVIDUAL, LEADS_PROTOCOL, LEFT_OUT, lead_columns
from gan3d_bench.spec import Column, TableSpec

SPEC = TableSpec(
    name="novel-view",
    title="Novel views of a single image against exact ground truth",
    columns=(
        Column("psnr", "PSNR", unit="dB", higher_is_better=True, digits=2),
        Column("lpips", "LPIPS", digits=3, network="LPIPS (alex)"),
        Column(
            "identity",
            "Identity",
            higher_is_better=True,
            digits=3,
            network="ArcFace arcface-mbf, SCRFD scrfd-500m at 128, 5 points",
        ),
        Column("side", "SIDE", unit="×10⁻²", digits=3),
        *lead_columns("SIDE", unit="×10⁻²"),
        INDIVIDUAL,
        LEFT_OUT,
    ),
    rows=(
        "True depth",
        "Input image, not turned",
        "Ellipsoid, true view",
        "Mean head, true view, image as texture",
        "Mean head, true view",
        "Supervised",
        "GAN2Shape (3D)",
        "GAN2Shape (GAN)",
        "LiftedGAN",
        "UV 3DMM",
        "Linear regression on EG3D",
        "W_tri",
    ),
    measure="gan3d_bench.benchmarks.novel_view.measure:NovelViewMeasure",
    protocol=(
        "Each method reconstructs held-out test images and turns them by the angles that bring "
        "the true head to yaw ±15, ±30, ±45, ±60 and to pitch ±20 degrees, roll 0. The true head "
        "is rendered there, in the light that it has in the input, which belongs to the scene: "
        "the camera moves round it. Pixels off it are grey in both pictures, as are those where a"
        " scene renders nothing. PSNR and SIDE over the true head, LPIPS (alex) and the cosine of"
        " ArcFace embeddings (where SCRFD finds a face in both) of the pictures; means over the "
        "views that could be compared, then over heads. Pixels that a scene leaves out (last "
        "column) count with the nearest depth it gives. True depth: the surface that the input "
        "shows with the image on it, which has nothing where the input sees nothing; so have the "
        "ellipsoid, GAN2Shape's prior over the mean head's outline, and the mean head of 256 "
        "training heads with the image on it, both told the true view. Mean head, true view: an "
        f"average person in the true light. {LEADS_PROTOCOL}"
    ).strip(),
    bounds=("True depth",),
    versions=(
        "first",
        "pixels that a scene leaves out count; the mean head, the ellipsoid and "
        "the true depth are rows; other subjects' shapes are compared with the own",
    ),
    assets=("heads", "alexnet-lpips", "arcface-mbf", "scrfd-500m"),
)
