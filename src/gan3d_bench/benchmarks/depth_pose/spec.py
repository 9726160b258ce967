"""The light descriptions of the tables of depth and pose, with the numbers no method owns."""

from gan3d_bench.benchmarks.columns import INDIVIDUAL, LEADS_PROTOCOL, LEFT_OUT, lead_columns
from gan3d_bench.spec import Column, Reported, TableSpec

_TABLE_2 = "LiftedGAN (Shi et al., 2021), Table 2, StyleGAN2 samples"
REFERENCE = "heads model, landmarks-106 and pixels"
"""What real faces are compared with, unless another reference is asked for."""

_CONSTANT = "Constant depth and pose"
_METHODS = (
    "Unsup3D",
    "LiftedGAN without L_flip",
    "LiftedGAN without L_perturb",
    "LiftedGAN without L_idt",
    "LiftedGAN without L_regA",
    "LiftedGAN",
    "GAN2Shape (3D)",
)


def _columns(network: str = "", leads: tuple[Column, ...] = ()) -> tuple[Column, ...]:
    return (
        Column("depth", "Depth", digits=3, network=network),
        Column("yaw", "Yaw", unit="deg", digits=2, network=network),
        Column("pitch", "Pitch", unit="deg", digits=2, network=network),
        Column("roll", "Roll", unit="deg", digits=2, network=network),
        *leads,
        LEFT_OUT,
    )


def _reported(table: str) -> tuple[Reported, ...]:
    """Of the row that is no method's own; LiftedGAN's spec has the others of Table 2."""
    numbers = {"depth": 0.472, "yaw": 2.78, "pitch": 4.55, "roll": 0.75}
    return tuple(
        Reported(table, "Unsup3D", metric, number, _TABLE_2, count=1000)
        for metric, number in numbers.items()
    )


SPEC = TableSpec(
    name="depth-pose",
    title="Depth and pose of a single image",
    columns=_columns(leads=(*lead_columns("Depth"), INDIVIDUAL)),
    rows=(_CONSTANT, "Ellipsoid, true view", "Mean head, true view", *_METHODS),
    measure="gan3d_bench.benchmarks.depth_pose.measure:DepthPoseMeasure",
    protocol=(
        "Each method reconstructs held-out test images. Depth: both depth maps in the input view "
        "at zero mean and unit deviation over the pixels they share on the subject, root mean "
        "square difference there, averaged over images; pixels of the subject that a scene leaves"
        " out (last column) count with the nearest depth it gives. Yaw, pitch, roll: mean "
        "absolute error of the input view after the set's mean error is taken away, since methods"
        " differ in what they call frontal. The mean head, of 256 training heads, and the "
        "ellipsoid, GAN2Shape's prior over its outline, are told the true view. "
        f"{LEADS_PROTOCOL}The paper compares with the estimates of a face model on 1000 images "
        "that StyleGAN2 made, and publishes no script: root and mean are our reading."
    ),
    reported=_reported("depth-pose"),
    assets=("heads",),
    versions=(
        "first",
        "pixels that a scene leaves out count; the mean head and the ellipsoid are rows; other "
        "subjects' shapes are compared with the own",
    ),
)

FACES = TableSpec(
    name="depth-pose-ffhq",
    title="Depth and pose of a single real face, against a fitted face model",
    columns=_columns(REFERENCE, leads=(*lead_columns("Depth"), INDIVIDUAL)),
    rows=(_CONSTANT, "Ellipsoid, fitted view", "Mean face, fitted view", *_METHODS),
    measure="gan3d_bench.benchmarks.depth_pose.faces:FaceDepthPoseMeasure",
    protocol=(
        "Faces are samples 0, 1, ... of the test split of MobileStyleGAN-FFHQ, truncation 0.7, at"
        " 256 pixels, without those in which no face is found. The reference: the bundled head "
        "model fitted to the whole picture, first to 106 landmarks, then to landmarks and the "
        "colours of the skin (`--network reference=PATH` fits a Basel Face Model instead); it is "
        "an estimate, and stands for no truth. Each method reconstructs the picture in its own "
        "frame. Depth: both depth maps in that frame and the input view, over the fitted face, at"
        " zero mean and unit deviation, root mean square difference, averaged over faces. Yaw, "
        "pitch, roll: mean absolute difference of the views after the set's mean is taken away. "
        "The mean face of the model and the ellipsoid, GAN2Shape's prior over its outline, are "
        "told pose and size that the fit found. Pixels of the face that a scene leaves out (last "
        f"column) count with the nearest depth it gives. {LEADS_PROTOCOL}"
        "The paper's samples are StyleGAN2's, its reference is another face model, and it "
        "publishes no script: root and mean are our reading."
    ),
    reported=_reported("depth-pose-ffhq"),
    versions=(
        "first",
        "pixels that a scene leaves out count; the mean face and the ellipsoid are rows; other "
        "subjects' shapes are compared with the own",
    ),
    assets=("mobilestylegan-ffhq", "scrfd-500m", "landmarks-106", "heads"),
)
