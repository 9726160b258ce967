"""The light descriptions of the tables of depth and pose, with the numbers no method owns."""

from gan3d_bench.spec import Column, Reported, TableSpec

_TABLE_2 = "LiftedGAN (Shi et al., 2021), Table 2, StyleGAN2 samples"
REFERENCE = "heads model, landmarks-106 and pixels"
"""What real faces are compared with, unless another reference is asked for."""

_ROWS = (
    "Constant depth and pose",
    "Unsup3D",
    "LiftedGAN without L_flip",
    "LiftedGAN without L_perturb",
    "LiftedGAN without L_idt",
    "LiftedGAN without L_regA",
    "LiftedGAN",
    "GAN2Shape (3D)",
)


def _columns(network: str = "") -> tuple[Column, ...]:
    return (
        Column("depth", "Depth", digits=3, network=network),
        Column("yaw", "Yaw", unit="deg", digits=2, network=network),
        Column("pitch", "Pitch", unit="deg", digits=2, network=network),
        Column("roll", "Roll", unit="deg", digits=2, network=network),
    )


def _reported(table: str) -> tuple[Reported, ...]:
    """Of the row that is no method's own; LiftedGAN's spec has the others of Table 2."""
    numbers = {"depth": 0.472, "yaw": 2.78, "pitch": 4.55, "roll": 0.75}
    return tuple(
        Reported(table, "Unsup3D", metric, number, _TABLE_2) for metric, number in numbers.items()
    )


SPEC = TableSpec(
    name="depth-pose",
    title="Depth and pose of a single image",
    columns=_columns(),
    rows=_ROWS,
    measure="gan3d_bench.benchmarks.depth_pose.measure:DepthPoseMeasure",
    protocol=(
        "Each method reconstructs held-out test images. Depth: both depth maps in the input view "
        "at zero mean and unit deviation over the pixels they share on the subject, root mean "
        "square difference there, averaged over images. Yaw, pitch, roll: mean absolute error of "
        "the input view after the set's mean error is taken away, since methods differ in what "
        "they call frontal. The paper compares with the estimates of a face model on 1000 images "
        "that StyleGAN2 made, and publishes no script: root and mean are our reading."
    ),
    reported=_reported("depth-pose"),
    assets=("heads",),
)

FACES = TableSpec(
    name="depth-pose-ffhq",
    title="Depth and pose of a single real face, against a fitted face model",
    columns=_columns(REFERENCE),
    rows=_ROWS,
    measure="gan3d_bench.benchmarks.depth_pose.faces:FaceDepthPoseMeasure",
    protocol=(
        "Faces are samples 0, 1, ... of the test split of MobileStyleGAN-FFHQ, truncation 0.7, at "
        "256 pixels, without those in which no face is found. The reference: the bundled head "
        "model fitted to the whole picture, first to 106 landmarks, then to landmarks and the "
        "colours of the skin (`--network reference=PATH` fits a Basel Face Model instead); it is "
        "an estimate, and stands for no truth. Each method reconstructs the picture in its own "
        "frame. Depth: both depth maps in that frame and the input view, over the fitted face, at "
        "zero mean and unit deviation, root mean square difference, averaged over faces. Yaw, "
        "pitch, roll: mean absolute difference of the views after the set's mean is taken away. "
        "The paper's samples are StyleGAN2's, its reference is another face model, and it "
        "publishes no script: root and mean are our reading."
    ),
    reported=_reported("depth-pose-ffhq"),
    assets=("mobilestylegan-ffhq", "scrfd-500m", "landmarks-106", "heads"),
)
