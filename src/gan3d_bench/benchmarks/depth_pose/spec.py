"""The light description of table `depth-pose`, with the numbers of rows that no method owns."""

from gan3d_bench.spec import Column, Reported, TableSpec

_TABLE_2 = "LiftedGAN (Shi et al., 2021), Table 2, StyleGAN2 samples"


def _reported(row: str, *numbers: float) -> tuple[Reported, ...]:
    metrics = ("depth", "yaw", "pitch", "roll")
    return tuple(
        Reported("depth-pose", row, metric, number, _TABLE_2)
        for metric, number in zip(metrics, numbers, strict=True)
    )


SPEC = TableSpec(
    name="depth-pose",
    title="Depth and pose of a single image",
    columns=(
        Column("depth", "Depth", digits=3),
        Column("yaw", "Yaw", unit="deg", digits=2),
        Column("pitch", "Pitch", unit="deg", digits=2),
        Column("roll", "Roll", unit="deg", digits=2),
    ),
    rows=(
        "Constant depth and pose",
        "Unsup3D",
        "LiftedGAN without L_flip",
        "LiftedGAN without L_perturb",
        "LiftedGAN without L_idt",
        "LiftedGAN without L_regA",
        "LiftedGAN",
        "GAN2Shape (3D)",
    ),
    measure="gan3d_bench.benchmarks.depth_pose.measure:DepthPoseMeasure",
    protocol=(
        "Each method reconstructs held-out test images. Depth: both depth maps in the input view "
        "at zero mean and unit deviation over the pixels they share on the subject, root mean "
        "square difference there, averaged over images. Yaw, pitch, roll: mean absolute error of "
        "the input view after the set's mean error is taken away, since methods differ in what "
        "they call frontal. The paper compares with the estimates of a face model on 1000 images "
        "that StyleGAN2 made, and publishes no script: root and mean are our reading."
    ),
    reported=(
        *_reported("Unsup3D", 0.472, 2.78, 4.55, 0.75),
        *_reported("LiftedGAN without L_flip", 0.623, 9.37, 5.34, 0.91),
        *_reported("LiftedGAN without L_perturb", 0.548, 2.68, 5.03, 1.02),
        *_reported("LiftedGAN without L_idt", 0.498, 1.82, 4.66, 1.15),
        *_reported("LiftedGAN without L_regA", 0.467, 1.89, 4.81, 1.06),
        *_reported("LiftedGAN", 0.435, 1.86, 4.77, 1.07),
    ),
    assets=("heads",),
)
