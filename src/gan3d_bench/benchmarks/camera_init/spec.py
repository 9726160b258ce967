"""The light description of table `camera-init`: the numbers of StyleGAN-R, Table A, and ours."""

from gan3d_bench.spec import Column, Reported, TableSpec


def _reported(row: str, metric: str, value: float, part: str) -> Reported:
    source = f"StyleGAN-R (Zhang et al., 2021), Table A ({part}), cars"
    return Reported("camera-init", row, metric, value, source)


_KEYPOINTS, _VIEWS = "Keypoints", "12 view bins"
_MEAN, _MAX = "Bins against keypoints, mean", "Bins against keypoints, max"
_TRUTH = "12 view bins against the truth"

SPEC = TableSpec(
    name="camera-init",
    title="Cameras that training starts from: coarse view bins against keypoints",
    columns=(
        Column("iou", "2D IoU", higher_is_better=True, digits=3),
        Column("training", "Training", unit="h", digits=0),
        Column("axis", "Axis", unit="deg", digits=2),
        Column("angle", "Angle", unit="deg", digits=2),
        Column("axis_max", "Axis, max", unit="deg", digits=2),
        Column("angle_max", "Angle, max", unit="deg", digits=2),
        Column("rotation", "Rotation", unit="deg", digits=2),
        Column("rotation_max", "Rotation, max", unit="deg", digits=2),
        Column("rotation_bins", "Rotation of the bins", unit="deg", digits=2),
        Column("gain", "Rotation, bins' less trained", "deg", True, digits=2, difference=True),
    ),
    rows=(_KEYPOINTS, _VIEWS, _MEAN, _MAX, _TRUTH),
    measure="gan3d_bench.benchmarks.camera_init.measure:CameraInitMeasure",
    protocol=(
        "Cameras start from annotated keypoints and structure from motion (3 to 4 hours of "
        "annotation) or from 12 bins of views (1 minute), and are trained. Axis and angle: how far "
        "the rotations trained from bins then lie from those trained from keypoints, mean and "
        "maximum over cameras. Measured: the cameras that a run trained from bins (the bin's "
        "azimuth, elevation 0) against the exact cameras of its pictures, mean over cameras and "
        "maximum. Rotation: angle of the rotation that takes one camera to the other, which "
        "depends on no choice of axes; of the bins, before training, too. One rotation of the "
        "world, which nothing fixes, is removed from all cameras of a run, and from its bins. "
        "Items are cameras. 2D IoU and hours of training are not measured here."
    ),
    reported=(
        _reported(_KEYPOINTS, "iou", 0.953, "a"),
        _reported(_KEYPOINTS, "training", 60, "a"),
        _reported(_VIEWS, "iou", 0.952, "a"),
        _reported(_VIEWS, "training", 60, "a"),
        _reported(_MEAN, "axis", 1.43, "b"),
        _reported(_MEAN, "angle", 0.42, "b"),
        _reported(_MAX, "axis", 2.95, "b"),
        _reported(_MAX, "angle", 1.11, "b"),
    ),
)
