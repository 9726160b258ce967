"""The light description of table `camera-init`: the numbers of StyleGAN-R, Table A."""

from gan3d_bench.spec import Column, Reported, TableSpec


def _reported(row: str, metric: str, value: float, part: str) -> Reported:
    source = f"StyleGAN-R (Zhang et al., 2021), Table A ({part}), cars"
    return Reported("camera-init", row, metric, value, source)


_KEYPOINTS, _VIEWS = "Keypoints", "12 view bins"
_MEAN, _MAX = "Bins against keypoints, mean", "Bins against keypoints, max"

SPEC = TableSpec(
    name="camera-init",
    title="Cameras that training starts from: coarse view bins against keypoints",
    columns=(
        Column("iou", "2D IoU", higher_is_better=True, digits=3),
        Column("training", "Training", unit="h", digits=0),
        Column("axis", "Axis", unit="deg", digits=2),
        Column("angle", "Angle", unit="deg", digits=2),
    ),
    rows=(_KEYPOINTS, _VIEWS, _MEAN, _MAX),
    measure="",
    protocol=(
        "Cameras start from annotated keypoints and structure from motion (3 to 4 hours of "
        "annotation) or from 12 bins of views (1 minute), and are trained. Axis and angle: how far "
        "the rotations trained from bins then lie from those trained from keypoints, mean and "
        "maximum over cameras. Not measured: no method of the suite trains cameras yet."
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
